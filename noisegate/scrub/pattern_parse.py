"""Reads a regular expression that somebody else wrote, and refuses one that can run away.

It is judged on Python's own parse of it: every repeat has an end, so one match looks at no more
than `MOST_CHARS` characters, and takes at most `MOST_STEPS` steps (see `pattern_tree`). A bounded
pattern that is exponential all the same goes far over that.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from noisegate.errors import SettingsError
from noisegate.scrub.pattern_tree import (
    BEYOND,
    DIGIT,
    FAR,
    OTHER,
    SPACE,
    WORD,
    WORD_EDGE,
    Choice,
    Look,
    Part,
    Place,
    Repeat,
    Row,
    Sign,
    effort,
    flagged,
    width,
    written,
)
from noisegate.scrub.view import view

# Python's parser: not documented, but the only one that reads exactly what `re` reads.
_parser: Any = re._parser  # type: ignore[attr-defined]

MOST_CHARS = 256
"""The longest match, characters."""
MOST_STEPS = 1_000
"""The most steps of one try: about five microseconds."""
_ENDLESS = int(_parser.MAXREPEAT)
_CATEGORIES = {
    "CATEGORY_DIGIT": (r"\d", DIGIT),
    "CATEGORY_NOT_DIGIT": (r"\D", WORD | SPACE | OTHER),
    "CATEGORY_SPACE": (r"\s", SPACE),
    "CATEGORY_NOT_SPACE": (r"\S", DIGIT | WORD | OTHER),
    "CATEGORY_WORD": (r"\w", DIGIT | WORD),
    "CATEGORY_NOT_WORD": (r"\W", SPACE | OTHER),
}
# Texts are searched joined by NUL: a text starts and ends there. The letter of a JSON escape such
# as `\n` is no part of a word. Each place as it is written, and as it is on the reversed text.
_START, _END = r"(?<![^\0])", r"(?![^\0])"
_PLACES = {
    "AT_BEGINNING": (_START, _END),
    "AT_BEGINNING_STRING": (_START, _END),
    "AT_END": (rf"(?=\n?{_END})", ""),
    "AT_END_STRING": (_END, _START),
    "AT_BOUNDARY": (r"(?:\b|(?<=\\[nrtbf]))", r"(?:\b|(?=[nrtbf]\\))"),
    "AT_NON_BOUNDARY": (r"\B", r"\B"),
}

_ANY_EDGE = Place(*_PLACES["AT_BOUNDARY"])


def parse(pattern: str, ignore_case: bool) -> Row:
    """Read a pattern.

    Raises:
        SettingsError: why it is refused, and how to write it.
    """
    try:
        return _parse(pattern, ignore_case)
    except RecursionError:
        raise SettingsError("it is nested too deeply: write it flatter") from None


def _parse(pattern: str, ignore_case: bool) -> Row:
    require_valid(pattern, "")
    if (folded := view(pattern).text) != pattern:
        odd = next((a for a, b in zip(pattern, folded, strict=False) if a != b), pattern[-1])
        raise SettingsError(
            f"it holds {odd!r}, which is read as a plain letter or as nothing in the texts, too: "
            r"write the plain letter, or \w"
        )
    state = _parser.parse(pattern)
    if state.state.flags & ~re.UNICODE:
        raise SettingsError("it sets flags: leave them out, and use ignore_case = true")
    names = set(state.state.groupdict)
    if names - {"x"}:
        raise SettingsError(
            f"it names a group {min(names - {'x'})!r}: name only x, the part that is scrubbed"
        )
    tree = _row(_part(item, state.state, ignore_case, True) for item in state)
    longest = width(tree)[1]
    if longest > MOST_CHARS:
        raise SettingsError(
            f"it can match {longest:,} characters: make its repeats shorter, {MOST_CHARS} at most"
        )
    require_short(tree)
    return tree


def require_valid(pattern: str, where: str) -> None:
    """Refuse what Python does not compile; `where`: which part of the pattern it is."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise SettingsError(f"it is no regular expression of Python's{where} ({error})") from None


def require_short(tree: Part) -> None:
    """Refuse what can take too many steps."""
    _, steps = effort(tree, 0)
    if steps > MOST_STEPS:
        about = "without end" if steps >= FAR else f"{steps:,} steps at one place"
        raise SettingsError(
            f"it can run away ({about}; {MOST_STEPS:,} are allowed): let no two repeats that stand "
            "beside or inside each other match the same signs, and make them shorter"
        )


def _part(item: Any, state: Any, ignore_case: bool, top: bool) -> Part:
    """One item of Python's parse; `top`: it stands in no repeat, choice or look-around."""
    kind, value = str(item[0]), item[1]

    def row(items: Any, inner_top: bool = False) -> Row:
        return _row(_part(one, state, ignore_case, inner_top) for one in items)

    match kind:
        case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
            return _sign(kind, value, ignore_case)
        case "AT":
            return Place(*_PLACES[str(value)])
        case "ASSERT" | "ASSERT_NOT":
            return Look(row(value[1]), value[0] > 0, kind == "ASSERT")
        case "SUBPATTERN":
            group, added, removed, inner = value
            if added or removed:
                raise SettingsError("it sets flags: leave them out, and use ignore_case = true")
            named = group is not None and state.groupdict.get("x") == group
            if named and not top:
                raise SettingsError("its group x stands in a repeat or choice: put it outside")
            return replace(row(inner, top), scrubbed=named)
        case "BRANCH":
            return Choice(tuple(row(branch) for branch in value[1]))
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, inner = int(value[0]), int(value[1]), row(value[2])
            return _repeat(low, high, inner, kind == "MIN_REPEAT")
    kinds = {"GROUPREF": "refers back to a group", "GROUPREF_EXISTS": "asks for a group"}
    raise SettingsError(
        f"it {kinds.get(kind, 'holds a possessive or atomic part')}: "
        "write it with sets, choices and repeats alone"
    )


def _row(items: Iterable[Part]) -> Row:
    """Parts in a row: where a character stands before a word's edge, no JSON escape does."""
    parts = list(items)
    needed = 0
    for place, part in enumerate(parts):
        if part == _ANY_EDGE and needed:
            parts[place] = WORD_EDGE
        needed += width(part)[0]
    return Row(tuple(parts))


def _repeat(low: int, high: int, inner: Row, lazy: bool) -> Repeat:
    part = inner.parts[0] if len(inner.parts) == 1 else inner
    if high >= _ENDLESS:
        shown = written(part)
        raise SettingsError(
            f"{shown} is repeated without end: write {shown}{{{low},40}}, or another upper limit"
        )
    if high > 1 and not width(part)[0]:
        raise SettingsError("it repeats a part that may be empty: let that part need a character")
    return Repeat(part, low, high, lazy)


def _sign(kind: str, value: Any, ignore_case: bool) -> Sign:
    """A set of characters as one that leaves out NUL, and as bits."""
    items: list[Any] = [(kind, value)] if kind == "LITERAL" else value if kind == "IN" else []
    negated, beyond, full, body = kind in ("NOT_LITERAL", "ANY"), 0, 0, ""
    if kind == "NOT_LITERAL":
        body = re.escape(chr(value))
    elif kind == "ANY":
        body = r"\n"
    for item in items:
        match str(item[0]):
            case "NEGATE":
                negated = True
            case "CATEGORY":
                text, atoms = _CATEGORIES[str(item[1])]
                body, beyond, full = body + text, beyond | atoms, full | atoms
            case "RANGE":
                low, high = item[1]
                body += f"{re.escape(chr(low))}-{re.escape(chr(high))}"
                beyond |= BEYOND if high > 127 else 0
            case "LITERAL":
                body += re.escape(chr(item[1]))
                beyond |= BEYOND if item[1] > 127 else 0
    text = f"[{'^' * negated}{body}]"
    match_one = re.compile(flagged(text, ignore_case)).match
    ascii_signs = sum(1 << code for code in range(1, 128) if match_one(chr(code)))
    beyond = BEYOND & ~full if negated else beyond
    if ignore_case and any(ascii_signs >> code & 1 for code in range(ord("a"), ord("z") + 1)):
        beyond |= WORD  # the long s and the Kelvin sign
    if not ascii_signs | beyond:
        raise SettingsError("it holds a set that no character is in: leave it out")
    if match_one("\0"):
        text = rf"(?!\0){text}"
    elif kind == "LITERAL":
        text = body
    return Sign(ascii_signs | beyond, text)
