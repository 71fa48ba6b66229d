"""The parts of a regular expression, and how much work each can be.

The steps of one match, tried at one place of the worst text, are counted from above: a part that
can be read in `ways` ways lets all that follows it be tried so often. A repeat whose follower
starts with none of its signs has one way, else one for each length.
"""

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from noisegate.errors import SettingsError

FAR = 10**9
"""Counts stop here: nobody needs to know by how much."""
ASCII = (1 << 128) - 1
"""Sets of characters are bits: one for each of ASCII, and for these kinds of all others."""
DIGIT, WORD, SPACE, OTHER = (1 << 128 + bit for bit in range(4))
BEYOND = DIGIT | WORD | SPACE | OTHER
_ALL = ASCII | BEYOND
_WORDS = DIGIT | WORD | sum(1 << ord(sign) for sign in string.ascii_letters + string.digits + "_")


@dataclass(frozen=True, slots=True)
class Sign:
    """One character of a set; `signs` has a bit for each, as above."""

    signs: int
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """A condition on the place, such as a word's end."""

    text: str
    mirrored: str


@dataclass(frozen=True, slots=True)
class Look:
    """A look around: nothing of it is part of the match."""

    part: "Part"
    ahead: bool
    wanted: bool


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part, `low` to `high` times."""

    part: "Part"
    low: int
    high: int
    lazy: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several parts."""

    parts: tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Parts one after the other; `scrubbed`: the group named x."""

    parts: tuple["Part", ...]
    scrubbed: bool = False


WORD_EDGE = Place(r"\b", r"\b")
"""A word's end, or its start: some character of the pattern stands before it."""
Part = Sign | Place | Look | Repeat | Choice | Row


def width(part: Part) -> tuple[int, int]:
    """The fewest and the most characters that a part matches."""
    match part:
        case Sign():
            return 1, 1
        case Place() | Look():
            return 0, 0
        case Repeat(inner, low, high, _):
            least, most = width(inner)
            return low * least, high * most
        case Choice(parts):
            widths = [width(one) for one in parts]
            return min(w[0] for w in widths), max(w[1] for w in widths)
        case Row(parts):
            widths = [width(one) for one in parts]
            return sum(w[0] for w in widths), sum(w[1] for w in widths)


def first_signs(part: Part, follow: int) -> int:
    """The signs that a part, or what follows if it is empty, can start with.

    A condition says nothing of the next sign, so behind it every sign may stand.
    """
    match part:
        case Sign(signs):
            return signs
        case Place() | Look():
            return _ALL
        case Repeat(inner, low, _, _):
            return first_signs(inner, follow) if low else first_signs(inner, follow) | follow
        case Choice(parts):
            return reduce(or_, (first_signs(one, follow) for one in parts))
        case Row(parts):
            return _follows(parts, follow)[1]


def _follows(parts: Sequence[Part], follow: int) -> tuple[list[int], int]:
    """What can follow each part of a row, and what the row can start with."""
    follows: list[int] = []
    for place in reversed(range(len(parts))):
        follows.append(follow)
        if parts[place] == WORD_EDGE and not _last_signs(parts[:place]) & ~_WORDS:
            follow = _ALL & ~_WORDS  # behind a word it is the word's end
        else:
            follow = first_signs(parts[place], follow)
    return follows[::-1], follow


def _last_signs(parts: Sequence[Part]) -> int:
    """The signs that a row can end with; all, if it can be empty or ends in a condition."""
    signs = 0
    for part in reversed(parts):
        match part:
            case Sign(one):
                signs |= one
            case Row(inner):
                signs |= _last_signs(inner)
            case Choice(inner):
                signs |= reduce(or_, (_last_signs([one]) for one in inner))
            case Repeat(inner):
                signs |= _last_signs([inner])
            case _:
                return _ALL
        if width(part)[0]:
            return signs
    return _ALL


def effort(part: Part, follow: int) -> tuple[int, int]:
    """Upper bounds: in how many ways a part leads on to what follows, and in how many steps.

    Args:
        part: what is matched, at one place of any text.
        follow: the signs that what follows can start with; 0: nothing follows, the match is done.
    """
    match part:
        case Sign():
            return 1, 1
        case Place():
            return 1, 2
        case Look(inner):
            return 1, 1 + effort(inner, 0)[1]
        case Repeat():
            return _effort_of_repeat(part, follow)
        case Choice(parts):
            efforts = [effort(one, follow) for one in parts]
            steps = sum(steps + 1 for _, steps in efforts)
            seen = 0
            for first in (first_signs(one, follow) for one in parts):
                if seen & first:
                    return min(FAR, sum(ways for ways, _ in efforts)), min(FAR, steps)
                seen |= first
            return max(ways for ways, _ in efforts), min(FAR, steps)
        case Row(parts):
            ways, steps = 1, 0
            for one, behind in zip(parts, _follows(parts, follow)[0], strict=True):
                more_ways, more_steps = effort(one, behind)
                steps = min(FAR, steps + ways * more_steps)
                ways = min(FAR, ways * more_ways)
            return ways, steps


def _effort_of_repeat(part: Repeat, follow: int) -> tuple[int, int]:
    """A repeat goes on or leaves: both may lead on, unless their first signs differ."""
    first = first_signs(part.part, follow)
    ways_once, steps_once = effort(part.part, first | follow if part.high > 1 else follow)
    either = bool(first & follow)
    ways = steps = 0
    paths = 1
    for count in range(part.high + 1):
        if count >= part.low:
            steps = min(FAR, steps + paths)
            ways = min(FAR, ways + paths) if either else paths
        if count < part.high:
            steps = min(FAR, steps + paths * steps_once)
            paths = min(FAR, paths * ways_once)
    return ways, steps


def written(part: Part) -> str:
    """A part as a regular expression; its only group is x."""
    match part:
        case Sign(_, text) | Place(text, _):
            return text
        case Look(inner, ahead, wanted):
            return f"(?{'' if ahead else '<'}{'=' if wanted else '!'}{written(inner)})"
        case Repeat(inner, low, high, lazy):
            text = written(inner)
            one = isinstance(inner, Sign) and not text.startswith("(")
            count = f"{{{low}}}" if low == high else f"{{{low},{high}}}"
            return (text if one else f"(?:{text})") + count + "?" * lazy
        case Choice(parts):
            return f"(?:{'|'.join(map(written, parts))})"
        case Row(parts, scrubbed):
            text = "".join(map(written, parts))
            return f"(?P<x>{text})" if scrubbed else text


def flagged(text: str, ignore_case: bool) -> str:
    """A regular expression, with or without regard to case."""
    return f"(?i:{text})" if ignore_case else text


def backwards(part: Part) -> Part:
    """The part that matches the reversed text."""
    match part:
        case Sign():
            return part
        case Place(text, mirrored):
            if not mirrored:
                raise SettingsError("a $ stands before its fixed text: put it at the end")
            return Place(mirrored, text)
        case Look(inner, ahead, wanted):
            return Look(backwards(inner), not ahead, wanted)
        case Repeat(inner):
            return replace(part, part=backwards(inner))
        case Choice(parts):
            return Choice(tuple(map(backwards, parts)))
        case Row(parts):
            return Row(tuple(backwards(one) for one in reversed(parts)))


def all_parts(part: Part) -> Iterator[Part]:
    """A part and all within it."""
    yield part
    match part:
        case Repeat(inner) | Look(inner):
            yield from all_parts(inner)
        case Choice(parts) | Row(parts):
            for one in parts:
                yield from all_parts(one)
