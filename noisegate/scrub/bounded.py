"""A regular expression that somebody else wrote, made a rule's: checked, and where to look for it.

A match is tried only where an anchor stands, at most once for each character; so the steps for a
whole text are at most `MOST_STEPS` times its length.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from noisegate.errors import SettingsError
from noisegate.scrub.pattern_parse import MOST_CHARS, parse, require_short, require_valid
from noisegate.scrub.pattern_tree import (
    BEYOND,
    DIGIT,
    WORD,
    Choice,
    Look,
    Part,
    Place,
    Repeat,
    Row,
    Sign,
    all_parts,
    backwards,
    flagged,
    width,
    written,
)
from noisegate.scrub.rule import Copy

MOST_ANCHORS = 16
_LEAST_LETTERS, _LEAST_SHAPE = 2, 3

Letters = Callable[[Part, bool], str]
"""The characters that a part can be; empty where that is not one of a few."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """A checked pattern, in the form of a rule (see `Rule` for what each is)."""

    on: Copy
    anchors: tuple[str, ...]
    pattern: str
    head: str = ""


def checked(pattern: str, *, ignore_case: bool = False) -> str:
    """A pattern to match whole texts with: as it was given, if it cannot run away.

    Raises:
        SettingsError: why it is refused, and how to write it.
    """
    return flagged(written(parse(pattern, ignore_case)), ignore_case)


def bounded(pattern: str, *, anchor: str = "", ignore_case: bool = False) -> Bounded:
    """Make a pattern one that is searched for.

    Args:
        pattern: what is scrubbed, or the part of it in a group named x: `key=(?P<x>...)`.
        anchor: fixed text in it that says where to look; empty: chosen here.
        ignore_case: A-Z and a-z are alike.

    Raises:
        SettingsError: why it is refused, and how to write it.
    """
    tree = _opened(parse(pattern, ignore_case))
    named = sum(isinstance(part, Row) and part.scrubbed for part in all_parts(tree))
    if not named:
        tree = Row((replace(tree, scrubbed=True),))
    whole = flagged(written(tree), ignore_case)
    if not width(_only_scrubbed(tree))[0]:
        raise SettingsError("it can match nothing at all: let at least one character be needed")
    flat = list(_flat(tree))
    if not anchor and (start := _starts(flat, ignore_case)):
        return Bounded(*start, whole)
    place, found = _fixed(flat, anchor, ignore_case)
    on = Copy.LOWER if ignore_case else Copy.TEXT
    before = backwards(Row(tuple(flat[:place])))
    head = flagged(written(before), ignore_case) if place else ""
    if place:
        require_short(before)
        require_valid(head, " read backwards: put look-aheads behind its fixed text")
    return Bounded(on, (re.escape(found),), whole, head)


def _only_scrubbed(tree: Part) -> Part:
    return next(p for p in all_parts(tree) if isinstance(p, Row) and p.scrubbed)


def _flat(part: Part) -> Iterator[Part]:
    """The parts of a row, and of rows in it, one after the other."""
    if isinstance(part, Row):
        for one in part.parts:
            yield from _flat(one)
    elif isinstance(part, Repeat) and part.low == part.high and part.high <= MOST_CHARS:
        for _ in range(part.low):
            yield from _flat(part.part)
    else:
        yield part


def _opened(tree: Row) -> Row:
    """`(?<=key=)value` as `key=(?P<x>value)`: then the key is there to be looked for."""
    first = tree.parts[0] if tree.parts else None
    if not isinstance(first, Look) or first.ahead or not first.wanted or not width(first.part)[0]:
        return tree
    if any(isinstance(part, Row) and part.scrubbed for part in all_parts(tree)):
        return Row((first.part, *tree.parts[1:]))
    return Row((first.part, Row(tree.parts[1:], scrubbed=True)))


def _letters(part: Part, ignore_case: bool) -> str:
    """The characters that a sign can be, small ones only if case is ignored; "": too many."""
    if not isinstance(part, Sign) or (part.signs & BEYOND & ~(WORD if ignore_case else 0)):
        return ""
    codes = [code for code in range(128) if part.signs >> code & 1]
    found = dict.fromkeys(chr(code).lower() if ignore_case else chr(code) for code in codes)
    return "".join(found) if len(found) <= 3 else ""


def _shape(part: Part, _: bool) -> str:
    """What a sign is on the copy SHAPE, if always the same; "" if not."""
    if not isinstance(part, Sign) or part.signs & BEYOND & ~DIGIT:
        return ""  # a digit beyond ASCII is looked at as the plain one
    signs = [chr(code) for code in range(128) if part.signs >> code & 1]
    shapes = {
        "0" if s.isdigit() else "A" if s.isupper() else "a" if s.islower() else s for s in signs
    }
    return shapes.pop() if len(shapes) == 1 else ""


def _starts(flat: Sequence[Part], ignore_case: bool) -> tuple[Copy, tuple[str, ...]] | None:
    """The copy of the text and the fixed texts there that a match starts with, if it has any."""
    on = Copy.LOWER if ignore_case else Copy.TEXT
    ways = ((on, _letters, _LEAST_LETTERS), (Copy.SHAPE, _shape, _LEAST_SHAPE))
    for copy, letters, least in ways:
        starts, _ = _spelt(flat, letters, ignore_case)
        if min(map(len, starts)) >= least:
            return copy, tuple(map(re.escape, dict.fromkeys(starts)))
    return None


def _spelt(parts: Sequence[Part], letters: Letters, ignore_case: bool) -> tuple[list[str], bool]:
    """How rows of parts can start, spelt as far as that is sure; whether to their end."""
    starts = [""]
    for place, part in enumerate(parts):
        if isinstance(part, Place | Look) and not any(starts):
            continue  # a condition before the first sign
        whole = True
        match part:
            case Choice(branches):
                spelt = [_spelt(list(_flat(one)), letters, ignore_case) for one in branches]
                more = [start for some, _ in spelt for start in some]
                whole = all(done for _, done in spelt)
            case Repeat(inner, low, _, _) if low:
                more, whole = _spelt(list(_flat(inner)) * low, letters, ignore_case)[0], False
            case _:
                more = list(letters(part, ignore_case)) or [""]
                whole = more != [""]
        if len(starts) * len(more) > MOST_ANCHORS:
            return starts, False
        starts = [start + one for start in starts for one in more]
        if not whole or max(map(len, starts)) > 32:
            return starts, whole and place == len(parts) - 1
    return starts, True


def _fixed(flat: Sequence[Part], anchor: str, ignore_case: bool) -> tuple[int, str]:
    """Where fixed text stands in a pattern, and the text: `anchor`, else the longest."""
    letters = [found if len(found := _letters(p, ignore_case)) == 1 else "\0" for p in flat]
    spelt = "".join(letters)
    if anchor:
        wanted = anchor.lower() if ignore_case else anchor
        place = spelt.find(wanted)
        if place < 0 or "\0" in wanted:
            raise SettingsError(
                f"its anchor {anchor!r} does not stand in it as fixed text: take a piece that "
                "every match holds, outside of sets, choices and optional parts"
            )
        return place, wanted
    longest = max(spelt.split("\0"), key=len)
    if not longest:
        raise SettingsError(
            "nothing in it is fixed text that says where to look: add what stands before or "
            "behind it, such as `badge=` or `-X`, to the pattern (and put the part that is "
            "scrubbed into a group `(?P<x>...)`), and name it in anchor"
        )
    return spelt.index(longest), longest
