"""Where rules look: every place of many anchors in one text, found together.

An anchor is read as its *forms*: rows of character sets that each of its matches starts with, all
of one length. Forms are found for all anchors at once, and where a form does not say everything the
anchor itself is matched. An anchor without a form that says enough is searched for by itself.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from noisegate.scrub.rule import Copy

# Python's parser: not documented, but the only one that reads exactly what `re` reads.
_parser: Any = re._parser  # type: ignore[attr-defined]

Signs = frozenset[int]
"""Characters by their ASCII codes."""
Places = NDArray[np.int64]
"""Places in a text, in order, each once; shape (places,)."""

_DIGITS = frozenset(range(ord("0"), ord("9") + 1))
_CAPITALS = frozenset(range(ord("A"), ord("Z") + 1))
_SMALL = frozenset(range(ord("a"), ord("z") + 1))
_WORD = _DIGITS | _CAPITALS | _SMALL | {ord("_")}
_MOST_FORMS = 32
_MOST_OPENINGS = 1024
_MOST_SIGNS = 24
_OPENING = 16
"""Characters at the start of a pattern that say whether it can match."""
_BEYOND = 0x80
"""Stands for every character beyond ASCII in the encoded text; no form has it."""
# How often a character stands in operational text, about, in thousandths.
_SHARES = (
    dict.fromkeys(range(_BEYOND + 1), 5) | dict.fromkeys(_CAPITALS, 4) | dict.fromkeys(_SMALL, 20)
)
_SHARES |= dict.fromkeys(_DIGITS, 25) | dict.fromkeys(b"aeinorst", 50) | {ord(" "): 130}
# A form is worth the search if at most about this share of places has it.
_WORTH = 0.02


def _table(on: Copy) -> bytes:
    """What each ASCII code is on a copy, as a table for `bytes.translate`."""
    codes = bytearray(range(256))
    for code in range(128):
        if on is Copy.LOWER and code in _CAPITALS:
            codes[code] = code + 32
        elif on is Copy.SHAPE:
            kind = [sign for sign, kind in zip(b"0Aa", _KINDS, strict=True) if code in kind]
            codes[code] = kind[0] if kind else code
    return bytes(codes)


_KINDS = (_DIGITS, _CAPITALS, _SMALL)
_IN_RUN = bytes(code < 128 and (chr(code).isalnum() or code in b"_-") for code in range(256))
TABLES: dict[Copy, bytes] = {on: _table(on) for on in Copy if on is not Copy.RUN}
_STR_TABLES = {on: {code: chr(table[code]) for code in range(128)} for on, table in TABLES.items()}


def encoded(text: str) -> bytes:
    """One byte a character, so that places are the same: ASCII as it is, all else as one byte."""
    if text.isascii():
        return text.encode()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return np.minimum(codes, _BEYOND).astype(np.uint8).tobytes()


@dataclass(frozen=True, slots=True)
class Form:
    """A row of sets of characters, on the anchor's copy of the text.

    Attributes:
        anchor: which anchor starts with it.
        on: the copy.
        signs: the characters that each place may have.
        exact: wherever the form is, the anchor matches.
    """

    anchor: int
    on: Copy
    signs: tuple[Signs, ...]
    exact: bool

    def in_text(self) -> tuple[Signs, ...]:
        """The sets on the text as it came."""
        table = TABLES[self.on]
        return tuple(
            frozenset(code for code in range(128) if table[code] in signs) for signs in self.signs
        )


class Finder(Protocol):
    """Finds forms."""

    def __call__(self, codes: bytes) -> Iterable[tuple[Form, Places]]:
        """All places of forms in an encoded text, in order; forms without any may be left out."""


class Anchors:
    """Finds all places of many anchors.

    Args:
        anchors: copy of the text and pattern of each.
        finder: made from the forms; what it finds is the same whichever it is.
    """

    def __init__(
        self,
        anchors: Sequence[tuple[Copy, str]],
        finder: Callable[[tuple[Form, ...]], Finder],
    ) -> None:
        self._compiled = [(on, re.compile(anchor)) for on, anchor in anchors]
        forms: list[Form] = []
        self._alone: list[tuple[int, Copy, re.Pattern[str]]] = []
        self._runs: list[tuple[int, int]] = []
        for number, (on, anchor) in enumerate(anchors):
            if on is Copy.RUN:
                self._runs.append((number, _run_length(anchor)))
            elif found := _forms(number, on, anchor):
                forms += found
            else:
                self._alone.append((number, on, re.compile(f"(?={anchor})")))
        self._finder = finder(tuple(forms))

    def places(self, text: str, codes: bytes) -> dict[int, Places]:
        """Where each anchor matches, in order; anchors that match nowhere are left out.

        Args:
            text: what is searched.
            codes: the text, encoded.
        """
        copies = _Copies(text)
        places: dict[int, Places] = {}
        for form, starts in self._finder(codes):
            if not form.exact:
                on, anchor = self._compiled[form.anchor]
                copy, match = copies.of(on), anchor.match
                starts = np.array([at for at in starts.tolist() if match(copy, at)], np.int64)
            if len(starts):
                before = places.get(form.anchor)
                places[form.anchor] = starts if before is None else merged([before, starts])
        for number, least in self._runs:
            starts = _run_starts(codes, least)
            if len(starts):
                places[number] = starts
        for number, on, ahead in self._alone:
            if found := [match.start() for match in ahead.finditer(copies.of(on))]:
                places[number] = np.array(found, np.int64)
        return places


def merged(places: Sequence[Places]) -> Places:
    """Places of several kinds as one."""
    if len(places) == 1:
        return places[0]
    every: Places = np.concatenate(places)
    every.sort()
    new: Places = every[np.append(True, every[1:] != every[:-1])]
    return new


class Opening:
    """Tells at which places a pattern can match at all, by the characters that it can start with.

    Args:
        pattern: what is matched.
        head: what may stand before the place, written backwards; it matches nothing, too.
    """

    def __init__(self, pattern: str, head: str) -> None:
        rows = {signs[:_OPENING] for signs, _ in _rows(_parser.parse(pattern), loose=True)}
        behind = _rows(_parser.parse(head), loose=True)
        self._useful = () not in rows and all(signs or done for signs, done in behind)
        self._ahead = np.zeros((_OPENING, 256), np.uint64)
        self._behind = np.zeros(256, np.bool_)
        if not self._useful:
            return
        # The widest have a bit each; of the others some share one.
        for number, row in enumerate(sorted(rows, key=share, reverse=True)):
            bit = np.uint64(1 << (number if number < 32 else 32 + number % 32))
            for place in range(_OPENING):
                codes = list(row[place]) if place < len(row) else slice(None)
                self._ahead[place, codes] |= bit
        for signs, _ in behind:
            self._behind[list(signs[0]) if signs else []] = True

    def of(self, codes: bytes, places: Places) -> Places:
        """Those of some places of an encoded text."""
        if not self._useful:
            return places
        text = np.frombuffer(codes + bytes(_OPENING), np.uint8)
        bits = self._ahead[0].take(text[places])
        for place in range(1, _OPENING):
            bits &= self._ahead[place].take(text[places + place])
        can = (bits != 0) | (self._behind[text[places - 1]] & (places > 0))
        few: Places = places[can]
        return few


def _run_starts(codes: bytes, least: int) -> Places:
    """Where runs of at least so many letters, digits, `_` and `-` start."""
    inside = np.frombuffer(codes.translate(_IN_RUN), np.uint8)
    done = 1
    while done < least:  # inside[i]: a run of `done` goes on from i
        step = min(done, least - done)
        inside = inside[:-step] & inside[step:]
        done += step
    starts = inside.copy()
    starts[1:] &= inside[:-1] ^ 1
    return np.flatnonzero(starts.view(np.bool_))


def _run_length(anchor: str) -> int:
    if not re.fullmatch("w+", anchor):
        raise RuntimeError(f"anchor {anchor!r} on runs: write as many w as a run has at least")
    return len(anchor)


class _Copies:
    """Copies of one text, each made when it is asked for."""

    def __init__(self, text: str) -> None:
        self._copies = {Copy.TEXT: text}

    def of(self, on: Copy) -> str:
        if on not in self._copies:
            text = self._copies[Copy.TEXT]
            plain = on is Copy.LOWER and text.isascii()
            self._copies[on] = text.lower() if plain else text.translate(_STR_TABLES[on])
        return self._copies[on]


# Reading an anchor


@cache
def _forms(number: int, on: Copy, anchor: str) -> tuple[Form, ...]:
    """The forms of an anchor; none if some match has no form that is worth the search."""
    rows = _rows(_parser.parse(anchor))
    forms = [Form(number, on, signs[:_MOST_SIGNS], done and len(signs) <= _MOST_SIGNS)
             for signs, done in rows]  # fmt: skip
    worth = [share(form.in_text()) < _WORTH for form in forms]
    return tuple(dict.fromkeys(forms)) if all(worth) else ()


def share(row: Iterable[Iterable[int]]) -> float:
    """About the share of places in a text that have such a row of sets."""
    return prod(min(1.0, sum(_SHARES[code] for code in signs) / 1000) for signs in row)


def _rows(items: Any, loose: bool = False) -> list[tuple[tuple[Signs, ...], bool]]:
    """How a row of parsed items can start, and whether that is all that it says.

    Loosely, what is asked of a place's surroundings is left out, and nothing is all.
    """
    rows: list[tuple[tuple[Signs, ...], bool]] = [((), True)]
    for kind, value in items:
        ways = _ways(str(kind), value, loose)
        if sum(done for _, done in rows) * len(ways) > (_MOST_OPENINGS if loose else _MOST_FORMS):
            ways = [((), False)]
        rows = [
            (row + more, done_too) if done else (row, False)
            for (row, done), (more, done_too) in product(rows, ways)
        ]
        rows = list(dict.fromkeys(rows))
        if loose:
            rows = [(row, done and len(row) < _OPENING) for row, done in rows]
    return rows


def _ways(kind: str, value: Any, loose: bool) -> list[tuple[tuple[Signs, ...], bool]]:
    """How one item can start."""
    if kind == "LITERAL" and 0 < value < 128:
        return [((frozenset({value}),), True)]
    if kind == "IN" and (signs := _set(value, loose)):
        return [((signs,), True)]
    if kind == "SUBPATTERN" and not value[1] and not value[2]:
        return _rows(value[3], loose)
    if kind == "BRANCH":
        return [row for branch in value[1] for row in _rows(branch, loose)]
    if kind in ("ASSERT", "ASSERT_NOT", "AT") and loose:
        return [((), True)]
    if kind == "ASSERT" and value[0] > 0:
        return [(row, False) for row, _ in _rows(value[1])]
    if kind == "MAX_REPEAT":
        low, high, inner = int(value[0]), value[1], _rows(value[2], loose)
        if (low, int(high)) == (0, 1):
            return [((), True), *inner]
        if len(inner) == 1 and inner[0][1]:
            row = inner[0][0]
            if int(high) - low < 4:
                return [(row * count, True) for count in range(low, int(high) + 1)]
            return [(row * low, False)]
        if low:
            return [(row, False) for row, _ in inner]
    return [((), False)]


def _set(items: Any, loose: bool) -> Signs | None:
    """A set of ASCII characters, or None. Digits are plain: the view of a text has no others."""
    signs: set[int] = set()
    for kind, value in items:
        match str(kind):
            case "LITERAL":
                signs.add(value)
            case "RANGE":
                signs.update(range(value[0], value[1] + 1))
            case "CATEGORY" if str(value) == "CATEGORY_DIGIT":
                signs |= _DIGITS
            case "CATEGORY" if str(value) == "CATEGORY_WORD" and loose:
                signs |= _WORD | {_BEYOND}
            case _:
                return None
    # Not NUL, which separates texts.
    return frozenset(signs) if min(signs) > 0 and max(signs) <= _BEYOND - (not loose) else None
