"""Where rules look: every place of many anchors in one text, found together.

An anchor is read as its *forms*: rows of character sets that each of its matches starts with, all
of one length. Forms are found for all anchors at once, and where a form does not say everything the
anchor itself is matched. An anchor without a form that says enough is searched for by itself.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
_MOST_FORMS = 32
_MOST_SIGNS = 24
# How often a character stands in operational text, about, in thousandths.
_SHARES = dict.fromkeys(range(128), 5) | dict.fromkeys(_CAPITALS, 4) | dict.fromkeys(_SMALL, 20)
_SHARES |= dict.fromkeys(_DIGITS, 25) | dict.fromkeys(b"aeinorst", 50) | {ord(" "): 130}
# A form is worth the search if at most about this share of places has it.
_WORTH = 0.02
_BEYOND = 0x80
"""Stands for every character beyond ASCII in the encoded text; no form has it."""


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

    def places(self, text: str) -> dict[int, Places]:
        """Where each anchor matches, in order; anchors that match nowhere are left out."""
        copies, codes = _Copies(text), encoded(text)
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
    worth = [_share(form.in_text()) < _WORTH for form in forms]
    return tuple(dict.fromkeys(forms)) if all(worth) else ()


def _share(row: Iterable[Iterable[int]]) -> float:
    """About the share of places in a text that have such a row of sets."""
    return prod(min(1.0, sum(_SHARES[code] for code in signs) / 1000) for signs in row)


def _rows(items: Any) -> list[tuple[tuple[Signs, ...], bool]]:
    """How a row of parsed items can start, and whether that is all that it says."""
    rows: list[tuple[tuple[Signs, ...], bool]] = [((), True)]
    for kind, value in items:
        ways = _ways(str(kind), value)
        if sum(done for _, done in rows) * len(ways) > _MOST_FORMS:
            ways = [((), False)]
        rows = [
            (row + more, done_too) if done else (row, False)
            for (row, done), (more, done_too) in product(rows, ways)
        ]
    return list(dict.fromkeys(rows))


def _ways(kind: str, value: Any) -> list[tuple[tuple[Signs, ...], bool]]:
    """How one item can start."""
    if kind == "LITERAL" and 0 < value < 128:
        return [((frozenset({value}),), True)]
    if kind == "IN" and (signs := _set(value)):
        return [((signs,), True)]
    if kind == "SUBPATTERN" and not value[1] and not value[2]:
        return _rows(value[3])
    if kind == "BRANCH":
        return [row for branch in value[1] for row in _rows(branch)]
    if kind == "ASSERT" and value[0] > 0:
        return [(row, False) for row, _ in _rows(value[1])]
    if kind == "MAX_REPEAT":
        low, high, inner = int(value[0]), value[1], _rows(value[2])
        if len(inner) == 1 and inner[0][1]:
            row = inner[0][0]
            if int(high) - low < 4:
                return [(row * count, True) for count in range(low, int(high) + 1)]
            return [(row * low, False)]
    return [((), False)]


def _set(items: Any) -> Signs | None:
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
            case _:
                return None
    # Not NUL, which separates texts.
    return frozenset(signs) if min(signs) > 0 and max(signs) < 128 else None


# Finding forms without an extra

_LOOK = 4
"""Characters of a form that the first look takes in."""
_SIGHT = 8
"""Characters of a form that are looked at before the anchor itself is matched."""
_ANY = frozenset(range(128))


class Sieve:
    """Finds forms by tables of bits: the first look for groups of forms, the second for each.

    The table of a place in a form has, for each byte, the bits of the groups (forms) that may have
    it there. A place in the text can start a form of a group if all its entries have the group's
    bit: Hyperscan's Teddy, with `bytes.translate` as the shuffle. So a hundred anchors take hardly
    longer than one.
    """

    def __init__(self, forms: tuple[Form, ...]) -> None:
        self._forms = [
            form if len(form.signs) <= _SIGHT else replace(form, exact=False) for form in forms
        ]
        rows = [form.in_text() for form in forms]
        groups = _grouped(rows)
        self._looks = [_bits(groups, place).astype(np.uint8).tobytes() for place in range(_LOOK)]
        # Of each 64 forms: one table for every two characters, read as one little-endian number.
        self._pairs = [
            [
                (_bits(some, place + 1)[:, None] & _bits(some, place)[None, :]).ravel()
                for place in range(0, _SIGHT, 2)
            ]
            for some in [
                [[row] for row in rows[first : first + 64]] for first in range(0, len(rows), 64)
            ]
        ]

    def __call__(self, codes: bytes) -> Iterable[tuple[Form, Places]]:
        """All places of forms in an encoded text, in order."""
        padded, size = codes + bytes(_SIGHT), len(codes)
        seen = np.frombuffer(padded.translate(self._looks[0]), np.uint8)[:size]
        for place, table in enumerate(self._looks[1:], 1):
            seen = seen & np.frombuffer(padded.translate(table), np.uint8)[place : size + place]
        starts = np.flatnonzero(seen.view(np.bool_))
        ahead = np.ndarray(size, "<u8", padded, strides=(1,))[starts]
        pairs = ahead.view("<u2").reshape(-1, _SIGHT // 2)
        for number, tables in enumerate(self._pairs):
            bits = tables[0].take(pairs[:, 0])
            for place, bits_of in enumerate(tables[1:], 1):
                bits &= bits_of.take(pairs[:, place])
            kept = np.flatnonzero(bits)
            bits, places = bits[kept], starts[kept]
            present = int(np.bitwise_or.reduce(bits))
            for bit in range(present.bit_length()):
                if present >> bit & 1:
                    found = places[(bits & np.uint64(1 << bit)) != 0]
                    yield self._forms[64 * number + bit], found


def _grouped(rows: Sequence[tuple[Signs, ...]]) -> list[list[tuple[Signs, ...]]]:
    """Eight groups of forms that start alike: each joins the one that it makes least wider."""
    groups: list[list[tuple[Signs, ...]]] = [[] for _ in range(8)]
    unions: list[list[Signs]] = [[frozenset()] * _LOOK for _ in groups]
    heads = {row: [*row[:_LOOK], *[_ANY] * (_LOOK - len(row))] for row in rows}
    for row in sorted(heads, key=lambda row: -_share(heads[row])):
        wider = [[a | b for a, b in zip(union, heads[row], strict=True)] for union in unions]
        best = min(range(8), key=lambda group: _share(wider[group]) - _share(unions[group]))
        groups[best].append(row)
        unions[best] = wider[best]
    return groups


def _bits(groups: Sequence[Sequence[tuple[Signs, ...]]], place: int) -> NDArray[np.uint64]:
    """For each byte, shape (256,), the bits of the groups that may have it at a place."""
    table = np.zeros(256, np.uint64)
    for number, rows in enumerate(groups):
        for row in rows:
            codes = list(row[place]) if place < len(row) else slice(None)
            table[codes] |= np.uint64(1 << number)
    return table
