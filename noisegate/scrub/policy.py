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
    PERSON = "PERSON"
    CUSTOM = "CUSTOM"
    """What a pattern of the settings finds; its token has a name of its own."""


class Treatment(StrEnum):
    """What is written in the place of an entity."""

    TOKEN = "token"
    """`<EMAIL>`"""
    PSEUDONYM = "pseudonym"
    """`<EMAIL:k1:1f0c9b2ad4e7>`: the same text and key give the same twelve hex digits."""
    DROP = "drop"
    """Nothing."""
    KEEP = "keep"
    """The text as it came."""


KEY_BYTES = range(16, 65)
"""How long a pseudonym key may be, bytes: at most what BLAKE2b takes (RFC 7693)."""
KEY_ID = r"[a-z][a-z0-9]{0,11}"
"""Names a key in every pseudonym made with it; no hex digits alone are one."""
PSEUDONYM = rf":(?:{KEY_ID}:)?[0-9a-f]{{12}}"
"""What stands behind the name in a pseudonym, such as `:k1:1f0c9b2ad4e7`, as a pattern."""
PSEUDONYM_CHARS = 26
"""The most characters of it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One treatment for all entities, others by entity, others again by the name of a token.

    Attributes:
        default: for every entity not named in `by_entity`.
        by_entity: the treatment of single entities.
        by_token: the treatment of finds with a token of their own, by its name.
        key: makes the pseudonyms; 16 to 64 bytes where one is asked for.
        key_id: names the key in them, so that it shows with which one each was made; may be empty.

    Raises:
        SettingsError: a pseudonym is asked for without such a key.
    """

    default: Treatment = Treatment.TOKEN
    by_entity: Mapping[Entity, Treatment] = field(default_factory=lambda: MappingProxyType({}))
    key: bytes = field(default=b"", repr=False)
    key_id: str = ""
    by_token: Mapping[str, Treatment] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        wanted = {self.default, *self.by_entity.values(), *self.by_token.values()}
        if Treatment.PSEUDONYM in wanted and len(self.key) not in KEY_BYTES:
            raise SettingsError(
                f"scrub key has {len(self.key)} bytes: pseudonyms need a secret key of 16 to 64"
            )

    def treatment(self, entity: Entity, token: str = "") -> Treatment:
        """The treatment of one entity, or of finds whose token has a name of its own."""
        return self.by_token.get(token) or self.by_entity.get(entity, self.default)

    def shown(self, entity: Entity, token: str) -> str:
        """What is written for such a find, for people: of a pseudonym all but its digits."""
        if self.treatment(entity, token) is not Treatment.PSEUDONYM:
            return self.replacement(entity, "...", token)
        return f"<{token}:{self.key_id + ':' if self.key_id else ''}...>"

    def replacement(self, entity: Entity, text: str, token: str = "") -> str:
        """What is written for `text`, found to be an `entity` that is not kept.

        Its token is named after the entity, or as `token` says.
        """
        name = token or entity
        match self.treatment(entity, token):
            case Treatment.TOKEN:
                return f"<{name}>"
            case Treatment.PSEUDONYM:
                digest = hashlib.blake2b(
                    text.encode("utf-8", "replace"), key=self.key, digest_size=6
                )
                key_id = f":{self.key_id}" if self.key_id else ""
                return f"<{name}{key_id}:{digest.hexdigest()}>"
            case Treatment.DROP:
                return ""
            case Treatment.KEEP:
                return text


DEFAULT_POLICY = Policy()
