"""How keys and their values are written: operators, quotes, bare values, placeholders, prose."""

import re

from noisegate.scrub.rule import Span, words

OPERATOR = (
    # A pair of name and value, in JSON, YAML and XML.
    r"""(?:\\{0,3}["']?[ ]?(?:,|:[ ]?\{)?(?:[ ]|\n|\\n){0,16}"""
    r"""\\{0,3}["']?[Vv]al(?:ue)?\\{0,3}["']?[ ]?[=:][ ]?"""
    r"""|(?:(?:\\{0,7}["'`])?\]?(?:[ \t]{0,4}(?:[?:!+.|]{0,3}={1,3}>?|:)[ \t]{0,4}|%3[dD]))"""
    r"""(?:string\(\d{1,4}\)[ ]|""[ ]=>[ ])?"""  # PHP, Terraform
    r"""(?:[bBrRuUfFN@]{1,2}(?=\\?["'])|\[[ ]?(?=\\?["']))?)"""  # Python, SQL, a list
)
"""Between a key and its value, in JSON, YAML, logfmt, query strings, code and dumps of maps."""

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
_SIGHT = 128
_DEEP = r"""\\{2,8}["'](?P<x7>[^"'\\\0\n]{1,256}+)(?=\\{2,8}["']|\0|\Z)"""
"""A value in JSON in JSON in JSON."""


# Not possessive: up to Python 3.11.4 a possessive group that holds a choice matches too much. No
# sign can be read in two ways and nothing follows that could give one back, so this is linear, too.
def _value(sight: int) -> str:
    """A value's first `sight` signs: between quotes (the second may be cut off), or bare."""
    quoted = [
        rf"{quote}(?P<{group}>(?:{_SIGNS[group]}){{1,{sight - 1}}}(?={quote}|\0|\Z)"
        rf"|(?:{_SIGNS[group]}){{{sight}}})"
        for group, quote in _QUOTES.items()
    ]
    return rf"(?:{'|'.join(quoted)}|{_DEEP}|(?:\\?[\"'`])?(?P<x6>{BARE}{{1,{sight}}}))"


VALUE = _value(_SIGHT)
"""A quoted value or a bare one up to a blank or a separator; see `to_its_end`."""
SHORT_VALUE = _value(96)
_REST = {group: re.compile(f"(?:{signs})*") for group, signs in _SIGNS.items()}

_PLACEHOLDER = re.compile(
    r"(?:<[^<>]{0,64}>(?:\\[nrt]|\s){0,4})+|\$\{\{?[^{}\s]{0,96}\}{0,2}|\$(?:[A-Za-z_]{1,64}|\d)?|\$\([^)]{0,64}\)?|\{\{.{0,80}"
    r"|%[({]?\w{0,32}[)}]?s?|\{[\w.]{0,40}\}?|[*xX.#?-]{1,64}"
    r"|\[?(?-i:EMAIL|USER|NAME|PERSON|PHONE|IP)_\d+\]?"
    r"|[\[_*(]{0,3}(?:redacted|filtered|masked|hidden|removed|secret|omitted|scrubbed)[\]_*)]{0,3}"
    r"|<%.{0,64}%>|\[(?-i:[A-Z_ ]{2,32})\]?"
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
    refused rotating mismatched match matches enabled disabled redacted string number length reuse
    history strength complexity rules rule hash hashing manager managers reminder session
    account chauthtok iam amd64 i386 arm64 armhf armel x86_64 ppc64el s390x riscv64 noarch
""")
"""Words that follow `password:` or `password` in a sentence."""
CODE = re.compile(
    r"[A-Za-z_][\w.-]{0,128}[(\[]|\["  # a call, an index, a list
    r"|\([\\.?\[]|\.\*|\^[\[(\\]|<[A-Z_]{2,24}>"  # a pattern
    r"|[A-Z][A-Za-z]{2,64}\{[\da-f]|[a-zA-Z]\w{0,32}(?:\.\w{1,64}){0,8}@[\da-f]{4,8}\Z"  # Java's
)


def is_placeholder(value: str) -> bool:
    """Whether a value stands for another: our own tokens, a template, stars, `null`."""
    return len(value) <= 128 and _PLACEHOLDER.fullmatch(value) is not None


def to_its_end(match: re.Match[str], span: Span) -> Span:
    """An accepted value to its end: only then, so that a refused one costs little."""
    if match.lastgroup not in _REST or span[1] - span[0] < _SIGHT:
        return span
    rest = _REST[match.lastgroup].match(match.string, span[1])
    return span[0], rest.end() if rest else span[1]
