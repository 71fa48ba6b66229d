"""What happens to a found entity: one action per entity, and the key of the pseudonyms."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from noisegate.errors import SettingsError


class Entity(StrEnum):
    """Every kind of personal data or secret that is looked for; the value is the token's name."""

    PRIVATE_KEY = "PRIVATE_KEY"
    JWT = "JWT"
    URL_CREDENTIALS = "URL_CREDENTIALS"
    AWS_KEY = "AWS_KEY"
    SECRET = "SECRET"
    EMAIL = "EMAIL"
    IBAN = "IBAN"
    CREDIT_CARD = "CREDIT_CARD"
    PHONE = "PHONE"
    SSN = "SSN"
    MAC = "MAC"
    IPV6 = "IPV6"
    IPV4 = "IPV4"
    USER = "USER"
    NATIONAL_ID = "NATIONAL_ID"


class Treatment(StrEnum):
    """What is written in the place of an entity."""

    TOKEN = "token"
    """`<EMAIL>`"""
    PSEUDONYM = "pseudonym"
    """`<EMAIL:1f0c9b2ad4e7>`: the same text and key give the same twelve hex digits."""
    DROP = "drop"
    """Nothing."""
    KEEP = "keep"
    """The text as it came."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One treatment for all entities, others by entity.

    Raises:
        SettingsError: a pseudonym is asked for without a key of at least 16 bytes.
    """

    default: Treatment = Treatment.TOKEN
    by_entity: Mapping[Entity, Treatment] = field(default_factory=lambda: MappingProxyType({}))
    key: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        wanted = {self.default, *self.by_entity.values()}
        if Treatment.PSEUDONYM in wanted and not 16 <= len(self.key) <= 64:
            raise SettingsError(
                f"scrub key has {len(self.key)} bytes: pseudonyms need a secret key of 16 to 64"
            )

    def treatment(self, entity: Entity) -> Treatment:
        """The treatment of one entity."""
        return self.by_entity.get(entity, self.default)

    def replacement(self, entity: Entity, text: str, token: str = "") -> str:
        """What is written for `text`, found to be an `entity` that is not kept.

        Its token is named after the entity, or as `token` says.
        """
        name = token or entity
        match self.treatment(entity):
            case Treatment.TOKEN:
                return f"<{name}>"
            case Treatment.PSEUDONYM:
                digest = hashlib.blake2b(
                    text.encode("utf-8", "replace"), key=self.key, digest_size=6
                )
                return f"<{name}:{digest.hexdigest()}>"
            case Treatment.DROP:
                return ""
            case Treatment.KEEP:
                return text


DEFAULT_POLICY = Policy()
