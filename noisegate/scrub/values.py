"""Keys and their values: how they are written, what a key promises, what a value looks like."""

import math
import re
from collections import Counter

from noisegate.scrub.rule import Span, words

OPERATOR = (
    r"""(?:(?:\\?["'`])?\]?(?:[ \t]{0,4}(?::=|=>|==?|:)[ \t]{0,4}|%3[dD])"""
    r"""|\\?"[ ]?,[ ]?\\?"value\\?"[ ]?:[ ]?)"""
)
"""Between a key and its value, in JSON, YAML, logfmt, query strings, code and Go's map print."""

_NO_JSON = r"""(?!"\s{0,2}(?:[,:}\]]|\Z))"""  # a double quote that ends a JSON string
_SIGNS = {
    "x1": r"""(?:[^"\\\0\n]|\\[^"\0\n])""",
    "x2": _NO_JSON + r"""(?:[^'\\\0\n]|\\[^'\0\n])""",
    "x3": r"""(?:[^"\\\0\n]|\\[^\0\n])""",
    "x4": _NO_JSON + r"""(?:[^'\\\0\n]|\\[^\0\n])""",
    "x5": _NO_JSON + r"""[^`\0\n]""",
    "x6": (
        r"""(?:[^\s"'`&,;)}\]\\\0]|\\(?![nrtbf"'\\])|\\\\(?=[^\s"'\\\0])|['`](?=[0-9A-Za-z])"""
        r"""|[,;&](?![\s"'{\\\0]|[\w .-]{0,40}[=:]|\Z)|[)}\]](?=[0-9A-Za-z!#$%^*_+-]))"""
    ),
}
_QUOTES = {"x1": r"\\\"", "x2": r"\\'", "x3": '"', "x4": "'", "x5": "`"}
"""What a value holds, by its group in VALUE: between \" \", \' \', " ", ' ', ` `, or bare."""
BARE = _SIGNS["x6"]
"""One sign of a bare value: nothing that ends one, and no half of an escape."""
_SIGHT = 256


# Not possessive: up to Python 3.11.4 a possessive group that holds a choice matches too much. No
# sign can be read in two ways and nothing follows that could give one back, so this is linear, too.
def _value(sight: int) -> str:
    """A value's first `sight` signs: between quotes (the second may be cut off), or bare."""
    quoted = [
        rf"{quote}(?P<{group}>(?:{_SIGNS[group]}){{1,{sight - 1}}}(?={quote}|\0|\Z)"
        rf"|(?:{_SIGNS[group]}){{{sight}}})"
        for group, quote in _QUOTES.items()
    ]
    return rf"(?:{'|'.join(quoted)}|(?:\\?[\"'`])?(?P<x6>{BARE}{{1,{sight}}}))"


VALUE = _value(_SIGHT)
"""A quoted value or a bare one up to a blank or a separator; see `to_its_end`."""
SHORT_VALUE = _value(96)
_REST = {group: re.compile(f"(?:{signs})*") for group, signs in _SIGNS.items()}

_PLACEHOLDER = re.compile(
    r"(?:<[^<>]{0,64}>)+|\$\{[\w.:-]{0,64}\}?|\$(?:[A-Za-z_]{1,64}|\d)?|\$\([^)]{0,64}\)?|\{\{.{0,80}"
    r"|%[({]?\w{0,32}[)}]?s?|\{[\w.]{0,40}\}?|[*xX.#?-]{1,64}"
    r"|\[?(?-i:EMAIL|USER|NAME|PERSON|PHONE|IP)_\d+\]?"
    r"|[\[_*(]{0,3}(?:redacted|filtered|masked|hidden|removed|secret|omitted|scrubbed)[\]_*)]{0,3}"
    r"|(?:none|null|nil|true|false|yes|no|on|off|undefined|empty|unset|set|n/?a|todo|changeme)"
    r"|your[-_ ].{0,40}",
    re.IGNORECASE,
)
PROSE = words("""
    a an and any are as at attempt attempts auth authentication based be been but by can
    cannot change changed check do does error expired expires failed failure file for from has
    have if in incorrect input invalid is it length less login mismatch missing must needed
    new not of only or policy prompt protected rejected required requires reset rotated
    rotation should that the this to too unknown update updated user was when will with wrong
    found given accepted denied option options parameter argument flag value field provided
    refused rotating mismatched match matches enabled disabled
""")
"""Words that follow `password:` or `password` in a sentence."""
_WORDS = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+|\d+")
_PASSWORD = words("""
    password passwd passphrase passwort passcode pwd pass pw dbpass userpass mysqlpwd sshpass
    authpass
""")
_SECRET_AFTER = words("""
    api access secret private account auth encryption signing master shared license licence
    client app application session hmac consumer storage subscription webhook integration
    routing service bot refresh bearer id csrf xsrf jwt oauth security vault deploy personal
    registry admin root db database slack github gitlab telegram pagerduty opsgenie datadog
    grafana
""")
_JOINED = words("""
    apikey accesskey secretkey privatekey accountkey authkey sharedaccesskey apitoken
    authtoken accesstoken refreshtoken clientsecret appsecret sessiontoken licensekey
    apisecret idtoken encryptionkey signingkey masterkey bottoken sharedsecret
""")
_NOUNS = words("key token secret credential credentials")
_ALONE = words("secret token credential credentials signature sig sas apikey auth")
_TRAILING = words("base hash value enc encrypted b64 base64 plain text old new raw")
CODE = re.compile(r"[A-Za-z_][\w.]{0,128}[(\[]")  # a call, an index
KNOWN_FORM = re.compile(
    r"[\w-]*(?:\.[\w-]+){1,8}(?::\d+)?|[~./\\].*|\w+://.*|[\d.,:TZ+-]+"  # host, path, URL, number
    r"|[a-z]+(?:[-_/:.][a-z0-9]{1,10})*"  # a resource's name
    r"|[A-Z]+(?:_[A-Z]+)*"
)


def _entropy_bits(text: str) -> float:
    """Shannon's entropy of a text's characters, bits a character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())


def looks_random(text: str) -> bool:
    """Whether a value looks drawn at random rather than written: mixed, long, and no known form."""
    if len(text) < 8 or " " in text:
        return False
    if KNOWN_FORM.fullmatch(text):
        return False
    kinds = sum(bool(re.search(kind, text)) for kind in ("[a-z]", "[A-Z]", "[0-9]", r"[^\w.:/-]"))
    return kinds >= 2 and _entropy_bits(text) >= 2.5


def is_placeholder(value: str) -> bool:
    """Whether a value stands for another: our own tokens, a template, stars, `null`."""
    return len(value) <= 128 and _PLACEHOLDER.fullmatch(value) is not None


def key_words(key: str) -> list[str]:
    """The words of a key in camel or snake case, in lower case."""
    return [word.lower() for word in _WORDS.findall(key)]


def strength(key: str) -> int:
    """How much a key's name promises: 3 a password, 2 a named secret, 1 perhaps one, 0 nothing."""
    parts = key_words(key)
    while len(parts) > 1 and (parts[-1] in _TRAILING or parts[-1].isdigit()):
        parts.pop()
    if not parts:
        return 0
    last, previous = parts[-1], parts[-2] if len(parts) > 1 else ""
    if last in _PASSWORD or last.endswith(("password", "passwd")):
        return 3
    if last in _JOINED or (last in _NOUNS and previous in _SECRET_AFTER):
        return 2
    return 1 if last in _ALONE else 0


def to_its_end(match: re.Match[str], span: Span) -> Span:
    """An accepted value to its end: only then, so that a refused one costs little."""
    if match.lastgroup not in _REST or span[1] - span[0] < _SIGHT:
        return span
    rest = _REST[match.lastgroup].match(match.string, span[1])
    return span[0], rest.end() if rest else span[1]
