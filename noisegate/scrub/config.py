"""From the `[scrub]` settings to a scrubber: checked as a whole, refused in one line."""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import MappingProxyType

from noisegate.errors import SettingsError
from noisegate.scrub.bounded import bounded, checked
from noisegate.scrub.engine import Allow, Scrubber
from noisegate.scrub.policy import (
    KEY_BYTES,
    KEY_ID,
    PSEUDONYM,
    PSEUDONYM_CHARS,
    Entity,
    Policy,
    Treatment,
)
from noisegate.scrub.rule import Check, Rule, Span, found
from noisegate.scrub.rules import RULES, VERSION
from noisegate.settings import SETTINGS_FILE, ScrubPattern, ScrubSettings

KEY_VARIABLE = "NOISEGATE_SCRUB_KEY"
"""Holds the key of the pseudonyms, where no file does."""
_TOKEN_NAME = re.compile("[A-Z][A-Z0-9_]{1,31}")
_RULE_ID = re.compile("[a-z][a-z0-9_-]{0,39}")
_MARKED = re.compile("⟦(.*?)⟧", re.DOTALL)
_MAKE_KEY = "`(umask 077; openssl rand -hex 32 > FILE)` makes one"


def load_scrubber(settings: ScrubSettings, where: str = SETTINGS_FILE) -> Scrubber:
    """The scrubber that the settings ask for.

    Args:
        settings: the tables `[scrub]`.
        where: the file that they are from, for messages.

    Raises:
        SettingsError: what is wrong, in one line: file, table, key, value, and the way out.
    """
    policy = load_policy(settings, where)
    rules = _custom_rules(settings, where)
    people = None
    if settings.names != "off":
        from noisegate.scrub.names import load_names

        try:
            people = load_names(settings.names, settings.names_model)
        except SettingsError as error:
            raise SettingsError(f"{where}: [scrub] {error}") from None
    # Last: where a rule of ours covers a part, it wins, and the rest is scrubbed all the same.
    version = VERSION if scrub_digest(settings, where) == DEFAULT_DIGEST else 0
    return Scrubber(
        policy, (*RULES, *rules), allow=_allow(settings, where), people=people, version=version
    )


def scrub_digest(settings: ScrubSettings, where: str = SETTINGS_FILE) -> str:
    """Digest of what changes what comes out: sixteen hex digits; of no settings always the same.

    Raises:
        SettingsError: the key cannot be read.
    """
    policy = load_policy(settings, where)
    key = hashlib.blake2b(b"which key", key=policy.key, digest_size=8).hexdigest()
    content = [
        settings.model_dump(include={"allow", "names", "names_model"}),
        {entity: policy.treatment(entity) for entity in Entity},
        [
            p.model_dump(exclude={"examples", "counter_examples", "treatment"})
            | {"treatment": _treatment(p, settings)}
            for p in settings.patterns
        ],
        [settings.key_id, key] if policy.key else [],
    ]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(settings: ScrubSettings) -> str:
    """What the settings ask for, in a line for people."""
    treated: dict[str, list[str]] = {}
    for name, treatment in sorted(settings.treatment.items()):
        treated.setdefault(treatment, []).append(name)
    said = [f"treatment {settings.default}"]
    said += [f"{treatment}: {', '.join(names)}" for treatment, names in sorted(treated.items())]
    if settings.patterns:
        said.append(f"patterns: {', '.join(pattern.id for pattern in settings.patterns)}")
    if allowed := sum(map(len, settings.allow.values())):
        said.append(f"{allowed} allowed")
    if _wants_key(settings):
        said.append(f"key {settings.key_id}")
    return "; ".join([*said, f"names {settings.names}"])


def custom_tokens(settings: ScrubSettings) -> frozenset[str]:
    """The names of the tokens that patterns of the settings write."""
    return frozenset(pattern.token for pattern in settings.patterns)


def _wants_key(settings: ScrubSettings) -> bool:
    wanted = {
        Treatment(treatment) for treatment in (settings.default, *settings.treatment.values())
    }
    wanted |= {_treatment(pattern, settings) for pattern in settings.patterns}
    return Treatment.PSEUDONYM in wanted


def _treatment(pattern: ScrubPattern, settings: ScrubSettings) -> Treatment:
    """Of what a pattern finds: whatever the default, it is never kept."""
    treatment = Treatment(pattern.treatment or settings.default)
    return Treatment.TOKEN if treatment is Treatment.KEEP else treatment


def load_policy(settings: ScrubSettings, where: str = SETTINGS_FILE) -> Policy:
    """What the settings ask to be written for each entity.

    Raises:
        SettingsError: as `load_scrubber`.
    """
    default = Treatment(settings.default)
    by_entity = {
        _entity(name, f"{where}: [scrub.treatment] {name} = {value!r}"): Treatment(value)
        for name, value in settings.treatment.items()
    }
    if Entity.CUSTOM in by_entity:
        raise SettingsError(
            f"{where}: [scrub.treatment] CUSTOM: say it in each of [[scrub.patterns]] as treatment"
        )
    by_token: dict[str, Treatment] = {}
    for pattern in settings.patterns:
        treatment = _treatment(pattern, settings)
        if by_token.setdefault(pattern.token, treatment) is not treatment:
            raise SettingsError(
                f"{where}: [[scrub.patterns]] {pattern.id!r}: token {pattern.token!r} has the "
                f"treatment {by_token[pattern.token]!s} in another pattern: give both the same"
            )
    by_entity[Entity.CUSTOM] = Treatment.TOKEN
    if not re.fullmatch(KEY_ID, settings.key_id):
        raise SettingsError(
            f"{where}: [scrub] key_id = {settings.key_id!r}: write up to 12 small letters and "
            "digits, a letter first, such as 'k2'"
        )
    key = _key(settings, where) if _wants_key(settings) else b""
    return Policy(
        default, MappingProxyType(by_entity), key, settings.key_id, MappingProxyType(by_token)
    )


def _entity(name: str, what: str) -> Entity:
    try:
        return Entity(name.upper())
    except ValueError:
        near = difflib.get_close_matches(name.upper(), list(Entity), 1, 0.0)[0]
        raise SettingsError(
            f"{what}: there is no entity {name}; the nearest is {near}, all are: "
            f"{', '.join(Entity)}"
        ) from None


def _key(settings: ScrubSettings, where: str) -> bytes:
    """The key of the pseudonyms: of the file if one is named, else of the variable."""
    path = settings.key_file
    if path is None:
        key = os.environ.get(KEY_VARIABLE, "").strip().encode(errors="surrogateescape")
        named = KEY_VARIABLE
        if not key:
            raise SettingsError(
                f"{where}: [scrub] pseudonyms need a secret key: set {KEY_VARIABLE}, or key_file "
                f"to a file of mode 0600; {_MAKE_KEY}"
            )
    else:
        named = f"{where}: [scrub] key_file = {str(path)!r}"
        try:
            mode = path.stat().st_mode & 0o777
            key = path.read_bytes().strip()
        except OSError as error:
            raise SettingsError(
                f"{named} cannot be read ({error.strerror}): name one that can; {_MAKE_KEY}"
            ) from None
        if mode & 0o077:
            raise SettingsError(f"{named} is readable by others (mode {mode:o}): chmod 600 it")
    if len(key) not in KEY_BYTES:
        raise SettingsError(
            f"{named} holds {len(key)} bytes: a key has {KEY_BYTES[0]} to {KEY_BYTES[-1]}; "
            f"{_MAKE_KEY}"
        )
    return key


def _custom_rules(settings: ScrubSettings, where: str) -> list[Rule]:
    taken = {rule.id for rule in RULES} | {"person"}
    rules: list[Rule] = []
    check = _beside_tokens({*Entity, *custom_tokens(settings)})
    for number, pattern in enumerate(settings.patterns, 1):
        what = f"{where}: [[scrub.patterns]] {pattern.id!r} (number {number})"
        if not _RULE_ID.fullmatch(pattern.id) or pattern.id in taken:
            raise SettingsError(
                f"{what}: id is {'taken' if pattern.id in taken else 'no name'}: write another, "
                "of small letters, digits, - and _"
            )
        taken.add(pattern.id)
        if not _TOKEN_NAME.fullmatch(pattern.token) or pattern.token in list(Entity):
            raise SettingsError(
                f"{what}: token = {pattern.token!r}: write a name of its own, 2 to 32 capitals, "
                "digits and _, such as 'EMPLOYEE_ID'; no built-in entity's"
            )
        rules.append(_custom_rule(pattern, what, check))
    return rules


def _custom_rule(pattern: ScrubPattern, what: str, check: Check) -> Rule:
    try:
        made = bounded(pattern.pattern, anchor=pattern.anchor, ignore_case=pattern.ignore_case)
    except SettingsError as error:
        raise SettingsError(f"{what}: pattern = {pattern.pattern!r}: {error}") from None
    rule = Rule(
        pattern.id,
        Entity.CUSTOM,
        made.on,
        made.anchors,
        made.pattern,
        head=made.head,
        check=check,
        token=pattern.token,
        why=f"the settings' pattern {pattern.pattern}",
    )
    alone = Scrubber(rules=[rule], fast=False)
    for text in pattern.examples:
        plain = _MARKED.sub(r"\1", text)
        marked = _MARKED.findall(text) or [text]
        taken = [plain[one.start : one.end] for one in alone.findings(plain)]
        if taken != marked:
            raise SettingsError(
                f"{what}: its example {text!r} is not found as marked (found: {taken or 'nothing'})"
                ": mend the pattern, or put ⟦ and ⟧ around what it is to find"
            )
    for text in pattern.counter_examples:
        if alone.findings(text):
            raise SettingsError(
                f"{what}: its counter-example {text!r} is found: make the pattern narrower"
            )
    return rule


def _beside_tokens(names: Collection[str]) -> Check:
    """Accepts what overlaps none of our own tokens: they are never scrubbed again."""
    token = re.compile(rf"<(?:{'|'.join(sorted(names))})(?:{PSEUDONYM})?>")
    longest = max(map(len, names)) + PSEUDONYM_CHARS + len("<>")

    def check(match: re.Match[str]) -> Span | None:
        start, end = span = found(match)
        near = token.finditer(match.string, max(0, start - longest), end + longest)
        if any(one.start() < end and start < one.end() for one in near):
            return None
        return span

    return check


def _allow(settings: ScrubSettings, where: str) -> Allow | None:
    """What may stay, as one question; None: nothing."""
    anywhere: list[re.Pattern[str]] = []
    by_entity: dict[Entity, Callable[[str], bool]] = {}
    for name, values in settings.allow.items():
        what = f"{where}: [scrub.allow] {name}"
        if name == "patterns":
            anywhere = [_allowed_pattern(value, what) for value in values]
        else:
            entity = _entity(name, what)
            by_entity[entity] = _allowed_values(entity, values, what)
    if not settings.allow:
        return None

    def allow(entity: Entity, text: str) -> bool:
        asked = by_entity.get(entity)
        if asked is not None and asked(text):
            return True
        return any(pattern.fullmatch(text) for pattern in anywhere)

    return allow


def _allowed_pattern(pattern: str, what: str) -> re.Pattern[str]:
    try:
        return re.compile(checked(pattern))
    except SettingsError as error:
        raise SettingsError(f"{what} = {pattern!r}: {error}") from None


def _allowed_values(entity: Entity, values: Iterable[str], what: str) -> Callable[[str], bool]:
    if entity in (Entity.IPV4, Entity.IPV6):
        return _allowed_networks(entity, values, what)
    if entity is not Entity.EMAIL:
        exact = frozenset(values)
        return exact.__contains__
    whole, domains, above = set(), set(), []
    for value in map(str.lower, values):
        local, at, domain = value.rpartition("@")
        if at and local:
            whole.add(value)
        elif at and domain:
            domains.add(domain)
        elif value.startswith(".") and len(value) > 1:
            above.append(value)
        else:
            raise SettingsError(
                f"{what} = {value!r}: write an address, '@example.com' for a domain, or "
                "'.example.com' for all below it"
            )
    suffixes = tuple(above)

    def allowed(text: str) -> bool:
        address = text.lower()
        domain = address.rpartition("@")[2]
        return address in whole or domain in domains or domain.endswith(suffixes)

    return allowed


def _allowed_networks(entity: Entity, values: Iterable[str], what: str) -> Callable[[str], bool]:
    networks: list[IPv4Network | IPv6Network] = []
    for value in values:
        try:
            networks.append(ip_network(value))
        except ValueError as error:
            raise SettingsError(
                f"{what} = {value!r} is no network ({error}): write it as '10.0.0.0/8'"
            ) from None
        if f"IPV{networks[-1].version}" != entity:
            raise SettingsError(
                f"{what} = {value!r}: write it under IPV{networks[-1].version} instead"
            )

    def allowed(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False  # part of a text that only held an address
        return any(address in network for network in networks)

    return allowed


DEFAULT_DIGEST = scrub_digest(ScrubSettings())
"""Of no settings at all: rows scrubbed under it bear the rules' VERSION, all others 0."""
