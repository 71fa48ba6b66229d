"""Presidio as a peer: its pattern recognisers of our entities, without a language model."""

from collections.abc import Callable

import tldextract
from presidio_analyzer import EntityRecognizer
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    MacAddressRecognizer,
    PhoneRecognizer,
    UsSsnRecognizer,
)

Found = tuple[int, int, str]
"""Start, end, entity by our name."""

_NAMES = {
    "EMAIL_ADDRESS": "EMAIL",
    "CREDIT_CARD": "CREDIT_CARD",
    "IBAN_CODE": "IBAN",
    "MAC_ADDRESS": "MAC",
    "PHONE_NUMBER": "PHONE",
    "US_SSN": "SSN",
}


def presidio() -> Callable[[str], list[Found]]:
    """A function that finds what Presidio finds in one text, at any score."""
    # Its e-mail check knows public suffixes from the copy in the package: nothing is fetched.
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
    recognisers: list[EntityRecognizer] = [
        EmailRecognizer(),
        IpRecognizer(),
        CreditCardRecognizer(),
        IbanRecognizer(),
        PhoneRecognizer(),
        UsSsnRecognizer(),
        MacAddressRecognizer(),
    ]

    def find(text: str) -> list[Found]:
        results = [
            result
            for recogniser in recognisers
            for result in recogniser.analyze(text, recogniser.supported_entities, None)
        ]
        return [
            (found.start, found.end, _named(found.entity_type, text[found.start : found.end]))
            for found in EntityRecognizer.remove_duplicates(results)
        ]

    return find


def _named(entity: str, value: str) -> str:
    return _NAMES.get(entity) or ("IPV6" if ":" in value else "IPV4")
