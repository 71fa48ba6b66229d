"""A second opinion on scrubbed text: other people's detectors, and addresses by plain patterns.

It shares no rule with the scrubber, so that a fault of one is seen by the other. It is chosen by
what it says of clean text, for a detector that cries wolf would stop every promotion; left out of
detect-secrets 1.5 are

- the entropy detectors: they flag the hashes and ids that are kept on purpose;
- KeywordDetector: names of Kubernetes secrets (`secret: "db-login"`), counts (`secrets="12"`) and
  placeholders are no secrets, and it takes twice as long as all that are used together;
- IPPublicDetector: versions such as `Chrome/141.0.0.0`, and 0.0.0.0;
- ArtifactoryDetector, TelegramBotTokenDetector, TwilioKeyDetector: host names in capitals
  (`APFRONTEND01`), ids such as `1700000000:<40 hex digits>`, account ids.

docs/privacy.md has the figures. Nothing is sent anywhere: detectors that can ask a maker whether a
token is valid are never asked to.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.cloudant import CloudantDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.ibm_cloud_iam import IbmCloudIamDetector
from detect_secrets.plugins.ibm_cos_hmac import IbmCosHmacDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.softlayer import SoftlayerDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import words

_DETECTORS = (
    (AWSKeyDetector(), Entity.AWS_KEY),
    (BasicAuthDetector(), Entity.URL_CREDENTIALS),
    (JwtTokenDetector(), Entity.JWT),
    (PrivateKeyDetector(), Entity.PRIVATE_KEY),
    *(
        (detector(), Entity.SECRET)
        for detector in (
            AzureStorageKeyDetector,
            CloudantDetector,
            DiscordBotTokenDetector,
            GitHubTokenDetector,
            GitLabTokenDetector,
            IbmCloudIamDetector,
            IbmCosHmacDetector,
            MailchimpDetector,
            NpmDetector,
            OpenAIDetector,
            PypiTokenDetector,
            SendGridDetector,
            SlackDetector,
            SoftlayerDetector,
            SquareOAuthDetector,
            StripeDetector,
        )
    ),
)

OUR_TOKEN = re.compile(r"<[A-Z][A-Z0-9_]{1,63}(?::[a-z0-9:]{1,40})?>")
_WINDOW, _OVERLAP = 2_000, 256
"""Characters that a detector sees at once: some of their patterns are quadratic."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """What looks like an entity, and to whom; never shown with its text."""

    entity: Entity
    by: str
    text: str = field(repr=False)


def suspects(text: str) -> Iterator[Suspect]:
    """What looks like personal data or a secret in a scrubbed text; our own tokens do not.

    Time is linear in the length of the text.
    """
    left = OUR_TOKEN.sub("<>", text)
    for start in range(0, max(1, len(left) - _OVERLAP), _WINDOW - _OVERLAP):
        window = left[start : start + _WINDOW]
        for detector, entity in _DETECTORS:
            for secret in detector.analyze_string(window):
                yield Suspect(entity, type(detector).__name__, str(secret))
        for name, entity, pattern, accepts in _ADDRESSES:
            for match in pattern.finditer(window):
                if accepts(match[1]):
                    yield Suspect(entity, name, match[1])


def _is_mailbox(address: str) -> bool:
    local, _, host = address.rpartition("@")
    return local != "git" and host.rpartition(".")[2] not in _UNIT_KINDS


def _is_host(address: str) -> bool:
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (host.is_loopback or host.is_unspecified or host.is_multicast or host.is_reserved)


def _is_card(address: str) -> bool:
    """Whether hardware can have this address: not a row of numbers, nor everybody's."""
    return not address.replace(":", "").isdigit() and set(address.upper()) != {"F", ":"}


_UNIT_KINDS = words("service socket timer mount target slice scope path device")
"""`getty@tty1.service` is a unit of systemd."""
_ADDRESSES: tuple[tuple[str, Entity, re.Pattern[str], Callable[[str], bool]], ...] = (
    (
        "PlainEmail",
        Entity.EMAIL,
        re.compile(
            r"(?<![\w.+-])([\w.+-]{2,64}@[A-Za-z0-9-]{2,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}"
            r"\.[A-Za-z]{2,12})\b"
        ),
        _is_mailbox,
    ),
    # With a port: four numbers alone may be a version.
    (
        "PlainIPv4",
        Entity.IPV4,
        re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d{1,3}){3}):\d{2,5}\b"),
        _is_host,
    ),
    ("PlainIPv6", Entity.IPV6, re.compile(r"\[([0-9A-Fa-f:]{4,45})\]"), _is_host),
    (
        "PlainMAC",
        Entity.MAC,
        re.compile(r"(?<![\w:])([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})(?![\w:])"),
        _is_card,
    ),
)
