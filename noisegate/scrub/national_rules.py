"""Rules for national ids: alone where form and check digits tell, else behind their names."""

import re
from collections.abc import Callable
from functools import lru_cache

from stdnum.be import nn as belgian
from stdnum.br import cpf as brazilian
from stdnum.ch import ssn as swiss
from stdnum.cl import rut as chilean
from stdnum.es import dni as spanish
from stdnum.es import nie as spanish_foreign
from stdnum.fi import hetu as finnish
from stdnum.fr import nir as french
from stdnum.in_ import aadhaar as indian
from stdnum.it import codicefiscale as italian
from stdnum.mx import curp as mexican
from stdnum.nl import bsn as dutch
from stdnum.pl import pesel as polish
from stdnum.se import personnummer as swedish

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, found

_EDGE = r"(?<![0-9A-Za-z_.,/+-])"
_END = r"(?![0-9A-Za-z_]|[-.,/+]\w)"


def _passes(*validators: Callable[[str], bool]) -> Callable[[re.Match[str]], Span | None]:
    """A check: any of the validators takes the text."""

    # They take some 30 us: a text that holds one number a thousand times stays cheap.
    @lru_cache(maxsize=256)
    def valid(text: str) -> bool:
        return any(validator(text) for validator in validators)

    def check(match: re.Match[str]) -> Span | None:
        start, end = found(match)
        return (start, end) if valid(match.string[start:end]) else None

    return check


_DOTTED = {
    "x1": _passes(brazilian.is_valid),
    "x2": _passes(chilean.is_valid),
    "x3": _passes(belgian.is_valid),
}


def _check_dotted(match: re.Match[str]) -> Span | None:
    return _DOTTED[match.lastgroup or ""](match)


def _check_named(match: re.Match[str]) -> Span | None:
    """Behind a name that says it all, any number; behind a short one, a valid one."""
    start, end = found(match)
    text = re.sub(r"(?:[ ./-][A-Z]{2,})+\Z", "", match.string[start:end])
    if sum(map(str.isdigit, text)) < 6 or len(set(text)) < 3:
        return None
    valid = _SHORT.get(match["name"].lower())
    if valid is not None and not any(validator(text) for validator in valid):
        return None
    return start, start + len(text)


_SHORT: dict[str, tuple[Callable[[str], bool], ...]] = {
    "bsn": (dutch.is_valid,),
    "dni": (spanish.is_valid, spanish_foreign.is_valid),
    "pesel": (polish.is_valid,),
    "aadhaar": (indian.is_valid,),
    "personnummer": (swedish.is_valid,),
}

NATIONAL_RULES = (
    Rule(
        "national_dotted",
        Entity.NATIONAL_ID,
        Copy.SHAPE,
        (r"\.0{1,3}\.",),  # that of IPv4 addresses: costs no scan of its own
        _EDGE + r"(?:(?P<x1>\d{3}\.\d{3}\.\d{3}-\d\d)|(?P<x2>\d{1,2}\.\d{3}\.\d{3}-[0-9Kk])"
        r"|(?P<x3>\d\d\.\d\d\.\d\d-\d{3}[. ]\d\d))" + _END,
        head=r"\d{1,3}",
        check=_check_dotted,
        why="written as the ids of Brazil, Chile or Belgium, and its check digits are right",
        examples=("cpf ⟦390.533.447-05⟧", "RUT ⟦12.531.909-2⟧.", "nn ⟦85.07.30-033 28⟧"),
        counter_examples=(
            "390.533.447-06",
            "12.531.909-3",
            "10.240.100-12.el9",
            "85.07.30-033 29",
            "v1.12.531.909-2",
        ),
    ),
    Rule(
        "national_swiss",
        Entity.NATIONAL_ID,
        Copy.TEXT,
        (r"\.[0-9A-Fa-f]{4}\.",),  # that of MAC addresses
        _EDGE + r"(?P<x>756\.\d{4}\.\d{4}\.\d\d)" + _END,
        head=r"657",
        check=_passes(swiss.is_valid),
        why="written as the Swiss AHV number, and its check digit is right",
        examples=("insured ⟦756.9217.0769.85⟧ not found",),
        counter_examples=("756.9217.0769.84", "757.9217.0769.85"),
    ),
    Rule(
        "national_italian_mexican",
        Entity.NATIONAL_ID,
        Copy.SHAPE,
        ("AAAA(?:AA00A00A000A|000000AAAAAA)",),
        _EDGE
        + r"(?P<x>[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]|[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d)"
        + _END,
        check=_passes(italian.is_valid, mexican.is_valid),
        why="written as the codice fiscale or the CURP, with its check character",
        examples=("payee ⟦RSSMRA85T10A562S⟧ unknown", "CURP ⟦BOXW310820HNERXN09⟧"),
        counter_examples=("RSSMRA85T10A562T", "BOXW310820HNERXN08", "pod-RSSMRA85T10A562S"),
    ),
    Rule(
        "national_finnish",
        Entity.NATIONAL_ID,
        Copy.SHAPE,
        ("000000[-+A]000A",),
        _EDGE + r"(?P<x>\d{6}[-+A]\d{3}[A-Y])" + _END,
        check=_passes(finnish.is_valid),
        why="written as the Finnish id, a day of birth and the right check letter",
        examples=("customer ⟦131052-308T⟧ not found",),
        counter_examples=("131052-308U", "991352-308T"),
    ),
    Rule(
        "national_french",
        Entity.NATIONAL_ID,
        Copy.SHAPE,
        ("0 00 00 0[0A] 000 000",),
        _EDGE + r"(?P<x>[12478] \d\d \d\d \d[0-9AB] \d{3} \d{3}(?: \d\d))" + _END,
        check=_passes(french.is_valid),
        why="written as the French NIR, and its check digits are right",
        examples=("assuré ⟦2 95 10 99 126 111 93⟧ inconnu",),
        counter_examples=("2 95 10 99 126 111 94", "1 22 33 44 555 666"),
    ),
    Rule(
        "national_british",
        Entity.NATIONAL_ID,
        Copy.SHAPE,
        ("AA 00 00 00 A",),
        _EDGE
        + r"(?P<x>(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d\d \d\d \d\d [A-D])"
        + _END,
        why="written as the British National Insurance number, with a prefix that is issued",
        examples=("employee ⟦AB 12 34 56 C⟧ not found",),
        counter_examples=("GB 12 34 56 C", "AB 12 34 56 E", "QQ 12 34 56 C"),
    ),
    Rule(
        "national_named",
        Entity.NATIONAL_ID,
        Copy.LOWER,
        (
            "national",
            "tax",
            "insurance",
            "fiscal",
            "aadhaar",
            "pesel",
            "personnummer",
            "bsn",
            "dni",
        ),
        r"(?i:(?<![0-9a-z])(?P<name>"
        r"national[ _](?:id|identity|identification|insurance)(?:[ _]card)?"
        r"|tax[ _](?:id|identification|file)|social[ _]insurance|codice[ _]fiscale|numero[ _]fiscal"
        r"|aadhaar|pesel|personnummer|bsn|dni)(?:[ _](?:number|no|num|nr))?\.?)"
        r"(?:[\"'\\]{0,2}[ ]?[:=#][ ]?[\"'\\]{0,2}|[ ](?:is[ ]|of[ ])?)"
        r"(?P<x>[0-9A-Z]{1,11}(?:[ ./-]?[0-9A-Z]{1,11}){0,6})(?![0-9A-Za-z_])",
        head=r"(?i:[ _](?:ecidoc|laicos|oremun))?",
        check=_check_named,
        why="behind the name of a national id; behind a short name only a valid one",
        examples=(
            "National ID: ⟦NID-838500868⟧",
            "BSN ⟦111222333⟧ rejected",
            "dni: ⟦54362315K⟧",
            "social insurance number ⟦046 454 286⟧",
            "Tax ID=⟦12-3456789⟧, x",
            "National Insurance number is ⟦AB123456C⟧.",
        ),
        counter_examples=("bsn 111222334", "tax id lookup failed", "pesel 12 of 12345678"),
    ),
)
"""National ids other than the US social security number; most by the rules of python-stdnum."""
