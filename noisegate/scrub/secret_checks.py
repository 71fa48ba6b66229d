"""The checks of the rules for secrets: what only looks like one is refused here."""

import base64
import binascii
import json
import re
from collections import Counter

from noisegate.scrub.rule import Span, before, found, words
from noisegate.scrub.secret_values import (
    Promise,
    key_words,
    known_form,
    looks_random,
    mixed,
    promise_of,
    promise_said,
    spoken,
    surely_random,
    told,
)
from noisegate.scrub.values import CODE, PROSE, is_placeholder, to_its_end


def check_keyword(match: re.Match[str]) -> Span | None:
    """A key with an operator and a value: what the key promises decides what the value must be."""
    key, (start, end) = match["key"], found(match)
    value = match.string[start:end]
    quoted = match.lastgroup != "x6"
    if key.lower() in ("key", "token", "secret"):  # api key: ...
        key = f"{before(match, 12).rstrip().rpartition(' ')[2]}_{key}"
    promise = promise_of(key)
    if key_words(key)[-2:] == ["secret", "id"] and _UUID.fullmatch(value):  # as of Vault's AppRole
        promise = Promise.NAMED
    if promise is Promise.NOTHING or _in_name(match):
        return None
    if not quoted:
        value = value.partition("</")[0].rstrip(".:") or value[:1]
    # A PEM block is the business of its own rule, the scope of a signed request is none.
    if is_placeholder(value) or "-BEGIN " in value or "4_request" in value:
        return None
    if not quoted and (CODE.match(value) or _is_next_field(match) or _is_variable(key, value)):
        return None
    if not _keeps(promise, key, value, match, quoted=quoted):
        return None
    whole = to_its_end(match, (start, end))
    return whole if whole[1] > end else (start, start + len(value))


def _keeps(promise: Promise, key: str, value: str, match: re.Match[str], *, quoted: bool) -> bool:
    """Whether a value is all that the promise of its key asks for."""
    if promise is not Promise.PASSWORD and (_NO_VALUE.match(value) or _once(key, value)):
        return False
    match promise:
        case Promise.PASSWORD:
            return _may_be_password(match, key, value, quoted)
        case Promise.NAMED:
            if (quoted or "=" in match["op"]) and spoken(key) and len(value) >= 8:
                return value[0] not in "/~.$" and value.lower() not in PROSE
            return len(value) >= 6 and ((mixed(value) and not known_form(value)) or _long(value))
        case Promise.LIKELY:
            if re.search("(?i:sig|signature|hmac)", key) and len(value) < 16:
                return False
            return looks_random(value) and max(map(len, value.split("/"))) >= min(12, len(value))
        case _:
            return surely_random(value)


_NO_VALUE = re.compile(
    r"[$({|]|(?:pass|env|file|fd|id|src|type|name):|(?:id|src|type|name)=|\d{1,3}(?:\.\d{1,3}){3}:"
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _once(key: str, value: str) -> bool:
    """Whether a token only makes a request count once, as AWS's `clientToken`."""
    names = (["client", "token"], ["request", "token"])
    return key_words(key)[-2:] in names and bool(_UUID.search(value))


def _long(value: str) -> bool:
    constant = re.fullmatch(r"[A-Z]+(?:_[A-Z]+)+", value)
    return len(value) >= 20 and value[0] not in "/~." and "://" not in value and not constant


def _in_name(match: re.Match[str]) -> bool:
    """Whether the key is part of a name, `arn:aws:secretsmanager:eu:1:secret:x`, or of a URL's."""
    before_it, op = match.string[max(0, match.start() - 1) : match.start()], match["op"]
    if op == ":":
        ahead = match.string[match.end("op") : match.end("op") + 1]
        return ahead == ":" or re.match(r"[\w:/.-]", before_it) is not None
    return (before_it, op) == ("/", ": ")


def _is_next_field(match: re.Match[str]) -> bool:
    """Whether the key is empty and what follows is the next field, as in `password= user=x`."""
    op = match["op"]
    start = found(match)[0]
    ahead = match.string[start : start + 48]
    empty = op[-1] in " \t" and op[0] not in " \t"
    return empty and re.match(r"[A-Za-z_]{1,40}=[\w/\"]", ahead) is not None


def _is_variable(key: str, value: str) -> bool:
    """Whether the value is code that hands the key on, as in `password=self.password`."""
    last = (key_words(key) or [key])[-1]
    handed_on = rf"(?:\w{{1,40}}\.){{1,4}}\w{{0,40}}{re.escape(last)}"
    return value == key or re.fullmatch(handed_on, value, re.IGNORECASE) is not None


# What follows a quote that ends a JSON string instead of opening a value.
_JSON_GOES_ON = re.compile(r"[\s.;()]*(?:[,:}\]]\s*(?:[\"\d{}\[\],tfn-]|\Z)|\Z)")


def _may_be_password(match: re.Match[str], key: str, value: str, quoted: bool) -> bool:
    lower = key.lower()
    if (lower.endswith("pwd") and value[:1] in "/~\\") or re.fullmatch(r"[A-Za-z]:\\.*", value):
        return False
    if lower == "nopasswd" or value in ("0", "1"):
        return False
    if lower in ("pass", "pw") and re.fullmatch(r"[\d.,%/]{1,6}", value):
        return False
    if key == "PASS" and match["op"] == ": " and known_form(value):  # a test's result
        return False
    if quoted:
        return value.lower() not in PROSE and not _JSON_GOES_ON.match(value)
    spaced = match.string[match.start() : found(match)[0]][-1:] in " \t"
    if "=" in match["op"] or not spaced:
        return value.lower() not in PROSE and re.search(r"[^\W_]", value) is not None
    # `password: word` may be prose.
    if value.lower() in PROSE:
        return False
    ends = match.string[found(match)[1] : found(match)[1] + 1] in ("", "\n", "\r", "\0", ",", "}")
    return bool(re.search(r"[0-9]|[a-z][A-Z]|[^\w'.,-]", value)) or ends


def check_pair(match: re.Match[str]) -> Span | None:
    """A key and a value as two arguments, two items or an element: `("TOKEN", "x")`, `<k>v</k>`."""
    value, promise = match.string[slice(*found(match))], promise_of(match["key"])
    if is_placeholder(value) or CODE.match(value) or not re.search(r"[^\W_]", value):
        return None
    if match.lastgroup == "x1":  # an element: as sure as an operator
        if promise is Promise.PASSWORD:
            return found(match) if value.lower() not in PROSE else None
        sure = promise is Promise.NAMED and (mixed(value) or len(value) >= 20)
        sure = sure or (promise is Promise.LIKELY and not known_form(value))
    else:
        first = match.string[match.start() - 2 : match.start()][:1] in "("
        sure = promise is Promise.PASSWORD and (told(value) or (first and value not in PROSE))
        sure = sure or (promise >= Promise.LIKELY and looks_random(value) and told(value))
    sure = sure or (promise is Promise.KEY and surely_random(value))
    return found(match) if sure else None


_TOKEN_REST = re.compile(r"[\w.~+/=:-]*+")
_SCHEMES = words("""
    bearer token apikey api-key digest negotiate ntlm aws4-hmac-sha256 key geniekey splunk basic jwt
    oauth hmac ssws access_token session bot
""")


def check_authorization(match: re.Match[str]) -> Span | None:
    """For values after a word such as Bearer: prose has no digits."""
    start, end = found(match)
    value = match.string[start:end].rstrip(".")
    some = re.search(r"[0-9]", value) or (re.search(r"[a-z][A-Z]", value) and len(value) >= 16)
    if not some or is_placeholder(value) or "4_request" in value:
        return None
    if re.match(r"[a-z_]{2,24}=[^=]", value):  # token_type=Bearer expires_in=3600
        return None
    scheme = (match["scheme"] or "").strip().lower()
    if scheme and scheme not in _SCHEMES and not (len(value) >= 16 and looks_random(value)):
        return None
    rest = _TOKEN_REST.match(match.string, end)
    return start, rest.end() if rest and rest[0] else start + len(value)


def check_basic(match: re.Match[str]) -> Span | None:
    """RFC 7617: base64 of a user, a colon and a password."""
    value = match["x"]
    try:
        clear = base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return found(match) if b":" in clear else None


def check_jwt(match: re.Match[str]) -> Span | None:
    """RFC 7519: the first part is a JSON object, base64url-encoded; it names an algorithm."""
    header = match["header"]
    if len(header) > 4096:
        return found(match)
    try:
        clear = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (binascii.Error, ValueError):
        return found(match) if match["payload"].startswith("eyJ") else None
    return found(match) if isinstance(clear, dict) and {"alg", "typ", "enc"} & set(clear) else None


def check_encoded_key(match: re.Match[str]) -> Span | None:
    """Base64 of a PEM block: which one says its first line."""
    value = match["x"][:80]
    try:
        clear = base64.b64decode(value[: len(value) // 4 * 4])
    except (binascii.Error, ValueError):
        return None
    return found(match) if b"PRIVATE" in clear else None


def check_credentials(match: re.Match[str]) -> Span | None:
    """User and password before a URL's host, or a token alone."""
    user, colon, password = match["x"].partition(":")
    if not colon:
        token = len(user) >= 20 and looks_random(user) and told(user)
        return found(match) if token else None
    if is_placeholder(password) and (not user or is_placeholder(user)):
        return None
    return found(match)


def check_vendor(match: re.Match[str]) -> Span | None:
    """A maker's token, but for a template such as `ghp_xxxxxxxx`."""
    (_, most), *others = Counter(match["x"][6:]).most_common()
    return found(match) if len(others) >= 5 and most * 2 <= len(match["x"]) else None


def check_webhook(match: re.Match[str]) -> Span | None:
    """The secret part of a webhook's address."""
    start, _ = found(match)
    value = match["x"].rstrip("/:")
    return (start, start + len(value)) if re.search(r"\d", value) else None


def check_word(match: re.Match[str]) -> Span | None:
    """A word where only a password or a token stands."""
    start, end = found(match)
    value = match.string[start:end]
    prose = value.lower().rstrip(".,;:)") in PROSE or "://" in value
    return None if prose or is_placeholder(value) else (start, end)


_DIRECTIVES = words("requirepass masterauth bindpw rootpw adminpw bindpwd rootpwd")


def check_flag(match: re.Match[str]) -> Span | None:
    """A command's option whose name promises a secret, and its value after a blank."""
    promise, value = promise_of(match["key"]), match.string[slice(*found(match))]
    if " " in value and not (match["dash"] and promise is Promise.PASSWORD):
        return None
    if is_placeholder(value) or value.lower() in PROSE or _NO_VALUE.match(value):
        return None
    if not match["dash"]:  # as in a configuration file: `requirepass x`
        sure = len(key_words(match["key"])) > 1 or match["key"].lower() in _DIRECTIVES
        sure = sure and promise >= Promise.NAMED and len(value) >= 6 and told(value)
        sure = sure and re.match(r"[\w-]{1,40}=\w", value) is None
        sure = sure and (promise is Promise.PASSWORD or len(value) >= 16)
        return found(match) if sure and not CODE.match(value) else None
    if promise is Promise.PASSWORD:
        return None if value.isdigit() and len(value) < 4 else found(match)
    if promise is Promise.KEY:
        return found(match) if surely_random(value) else None
    return found(match) if promise and not known_form(value) and told(value) else None


# Which commands take a secret after which option.
_COMMANDS = {
    "p": r"sshpass|(?:mongo\w*|plink|pscp|psexec\w*|influx\w*|clickhouse-client)\b.*"
    r"|(?:cqlsh|rpk|mosquitto_\w+)\b.*"
    r"|(?:docker|podman|nerdctl|skopeo|helm|oras|buildah|az|oc|cf|tsh|argocd|skopeo)\b.*\blogin\b.*",
    "p+": r"(?:mysql|mariadb)[\w-]*\b.*|sshpass|7z\w?\b.*",
    "a": r"redis-cli\b.*|http\b.*",
    "u": r"curl\b.*",
    "w": r"ldap\w+\b.*",
    "k": r"openssl[ ](?:enc|aes[\w-]*|des[\w-]*)\b.*",
    "K": r"openssl[ ](?:enc|aes[\w-]*|des[\w-]*)\b.*",
    "c": r"snmp\w+\b.*",
    "A": r"snmp\w+\b.*",
    "X": r"snmp\w+\b.*",
    "P": r"\w*mosquitto\w*\b.*|(?:un)?zip\b.*|(?:sqlcmd|bcp|isql|kinit|keytool|ipmitool)\b.*",
    "U": r"(?:smbclient|rpcclient|smbmap|net|mount\.cifs|wmic|winexe|crackmapexec)\b.*|curl\b.*",
}
_COMMAND = {
    flag: re.compile(rf"(?:\A|[^\w.-])(?:{commands})\Z") for flag, commands in _COMMANDS.items()
}
_PAIRED = frozenset("uU")


def check_argument(match: re.Match[str]) -> Span | None:
    """A command's short option, and the value: the command before it decides."""
    flag, joined, value = match["flag"], not match["gap"], match["x"]
    if flag in ("-user", "-proxy-user"):
        flag = "u"
    command = _COMMAND.get("p+" if flag == "p" and joined else flag)
    if command is None or (joined and flag != "p" and flag not in _PAIRED):
        return None
    line = re.split(r"[\n\0|;]", match.string[max(0, match.start() - 160) : match.start()])[-1]
    if command.search(line) is None or is_placeholder(value) or value[0] in "$({|<":
        return None
    if flag in _PAIRED:
        _, sign, password = value.partition("%" if "%" in value and ":" not in value else ":")
        if not sign or not password or is_placeholder(password) or password[0] in "${<":
            return None
    return found(match)


def check_said(match: re.Match[str]) -> Span | None:
    """A secret told in a sentence: `password is x`, `token x`."""
    start, end = found(match)
    value = match.string[start:end].partition("</")[0].rstrip(".,;:!?)")
    word, promise = match["word"].lower(), promise_said(match["lead"] or "", match["word"])
    if promise < (Promise.NAMED if word == "key" else Promise.LIKELY) or is_placeholder(value):
        return None
    if _once(f"{match['lead']}_{word}", value):
        return None
    if promise is Promise.PASSWORD and match["is"]:
        sure = len(value) >= 6 and _mixed_word(value)
    elif not told(value) or CODE.match(value) or re.search(r"[=&?:]\w|/\Z", value):
        return None
    elif promise is Promise.PASSWORD:
        sure = len(value) >= 8
    elif match["is"] or match["q"]:
        sure = len(value) >= 12 and looks_random(value)
    else:
        sure = surely_random(value) or re.fullmatch(r"[0-9a-f]{32,128}", value) is not None
    return (start, start + len(value)) if sure else None


def _mixed_word(value: str) -> bool:
    """Whether a word has letters of both cases inside, or letters and digits, and is no URL."""
    some = re.search("[a-z][A-Z]|[A-Za-z].*[0-9]|[0-9].*[A-Za-z]", value) is not None
    return some and "://" not in value and not value.startswith("0x")


def check_code(match: re.Match[str]) -> Span | None:
    """An authorization code in a query string."""
    return found(match) if told(match["x"]) and mixed(match["x"]) else None


def check_sasl(match: re.Match[str]) -> Span | None:
    """RFC 4616: base64 of names and a password between NULs; after LOGIN, base64 of words."""
    try:
        clear = base64.b64decode(match["x"] + "=" * (-len(match["x"]) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if match["login"]:
        return found(match) if clear.isascii() and clear.decode().isprintable() else None
    return found(match) if b"\0" in clear else None
