"""Finding the forms of anchors by tables of bits: what is used without Hyperscan."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from noisegate.scrub.anchors import Form, Places, Signs, share

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
    for row in sorted(heads, key=lambda row: -share(heads[row])):
        wider = [[a | b for a, b in zip(union, heads[row], strict=True)] for union in unions]
        best = min(range(8), key=lambda group: share(wider[group]) - share(unions[group]))
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
