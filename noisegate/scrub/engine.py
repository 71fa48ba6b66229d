"""Scrubbing texts and columns: each distinct text once, many in one scan, one splice."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from noisegate.scrub.policy import DEFAULT_POLICY, Entity, Policy, Treatment
from noisegate.scrub.rule import Rule
from noisegate.scrub.rules import RULES
from noisegate.scrub.scan import Find, Scanner
from noisegate.scrub.view import View, mend, plain, view

CHUNK_CHARS = 262_144
"""Texts are joined up to this length: a chunk and its copies stay in the processor's cache."""

_ROUNDS = 4
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Finding:
    """One find in one text: where (offsets in characters), what, and by which rule."""

    start: int
    end: int
    entity: Entity
    rule: str


class Scrubber:
    """Replaces personal data and secrets in texts, in time linear in their length."""

    def __init__(self, policy: Policy = DEFAULT_POLICY, rules: Sequence[Rule] = RULES) -> None:
        self._policy = policy
        self._rules = rules
        self._scanner = Scanner(rules)

    def texts(self, texts: Sequence[str | None]) -> tuple[list[str | None], Counter[str]]:
        """Scrub texts.

        Args:
            texts: any strings; lone surrogates come out as U+FFFD.

        Returns:
            The scrubbed texts, None where None came, and how many entities were replaced, by
            entity; a text that occurs twice counts twice.
        """
        occurrences = Counter(text for text in texts if text is not None)
        distinct = list(occurrences)
        scrubbed, counts = self._distinct(distinct, list(occurrences.values()))
        by_text = dict(zip(distinct, scrubbed, strict=True))
        return [None if text is None else by_text[text] for text in texts], counts

    def column(self, column: pa.Array) -> tuple[pa.Array, Counter[str]]:
        """Scrub a column of strings.

        Args:
            column: of type string, large_string or a dictionary of strings, shape (rows,).

        Returns:
            A string array, shape (rows,), nulls kept, and the counts of `texts`.
        """
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        weights = [0] * len(distinct)
        for seen in pc.value_counts(encoded.indices.drop_null()).to_pylist():
            weights[seen["values"]] = seen["counts"]
        scrubbed, counts = self._distinct(distinct, weights)
        return pa.array(scrubbed, pa.string()).take(encoded.indices), counts

    def findings(self, text: str) -> list[Finding]:
        """What is found in one text, by which rule, from left to right, disjoint.

        Offsets are those of the text as it came.
        """
        seen = view(mend(text))
        return [
            Finding(*seen.original((start, end)), self._rules[rank].entity, self._rules[rank].id)
            for start, rank, end in self._scanner.scan(seen.text).finds
        ]

    def _distinct(self, texts: list[str], weights: Sequence[int]) -> tuple[list[str], Counter[str]]:
        """Scrub distinct texts; what is found in one counts `weights` times.

        A check that refused a candidate may have looked at words that were then replaced. Where
        that can be, the text is scrubbed again: scrubbing what was scrubbed changes nothing.
        """
        scrubbed = list(texts)
        counts: Counter[str] = Counter()
        rows = list(range(len(texts)))
        for _ in range(_ROUNDS):
            if rows:
                rows = self._round(rows, scrubbed, weights, counts)
        return scrubbed, counts

    def _round(
        self, rows: list[int], scrubbed: list[str], weights: Sequence[int], counts: Counter[str]
    ) -> list[int]:
        """Scrub the given rows in place; returns those in which something else was refused."""
        whole: list[int] = []
        folded: list[tuple[int, View]] = []
        for row in rows:
            text = scrubbed[row]
            if plain(text):
                whole.append(row)
            else:
                scrubbed[row] = mended = mend(text)
                folded.append((row, view(mended)))
        again: list[int] = []
        for part in _chunks(whole, [len(scrubbed[row]) for row in whole]):
            again += self._splice_joined(part, scrubbed, weights, counts)
        for views in _chunks(folded, [len(seen.text) for _, seen in folded]):
            again += self._splice_folded(views, scrubbed, weights, counts)
        return again

    def _splice_joined(
        self, rows: list[int], scrubbed: list[str], weights: Sequence[int], counts: Counter[str]
    ) -> list[int]:
        """Scrub texts that are their own views: splice the joined text, then take it apart."""
        joined = "\0".join([scrubbed[row] for row in rows])
        seen = self._scanner.scan(joined)
        if not seen.finds:
            return []
        firsts = list(accumulate((len(scrubbed[row]) + 1 for row in rows), initial=0))
        touched: list[int] = []
        pieces: list[str] = []
        at = 0
        for start, rank, end in seen.finds:
            entity = self._rules[rank].entity
            if self._policy.treatment(entity) is Treatment.KEEP:
                continue
            pieces += joined[at:start], self._policy.replacement(entity, joined[start:end])
            at = end
            touched.append(rows[bisect_right(firsts, start) - 1])
            counts[entity.value] += weights[touched[-1]]
        pieces.append(joined[at:])
        for row, text in zip(rows, "".join(pieces).split("\0"), strict=True):
            scrubbed[row] = text
        refused = {rows[bisect_right(firsts, start) - 1] for start in seen.refused}
        return list(refused.intersection(touched))

    def _splice_folded(
        self,
        folded: list[tuple[int, View]],
        scrubbed: list[str],
        weights: Sequence[int],
        counts: Counter[str],
    ) -> list[int]:
        """Scrub texts through their views: each find is cut out of the original text."""
        joined = "\0".join([seen.text for _, seen in folded])
        scan = self._scanner.scan(joined)
        firsts = list(accumulate((len(seen.text) + 1 for _, seen in folded), initial=0))
        by_place: defaultdict[int, list[Find]] = defaultdict(list)
        for find in scan.finds:
            if self._policy.treatment(self._rules[find[1]].entity) is not Treatment.KEEP:
                by_place[bisect_right(firsts, find[0]) - 1].append(find)
        for place, finds in by_place.items():
            (row, seen), first = folded[place], firsts[place]
            text = scrubbed[row]
            pieces: list[str] = []
            at = 0
            for start, rank, end in finds:
                entity = self._rules[rank].entity
                left, right = seen.original((start - first, end - first))
                pieces += text[at:left], self._policy.replacement(entity, joined[start:end])
                at = right
                counts[entity.value] += weights[row]
            scrubbed[row] = "".join([*pieces, text[at:]])
        refused = {bisect_right(firsts, start) - 1 for start in scan.refused}
        return [folded[place][0] for place in refused.intersection(by_place)]


def _chunks(items: list[_Item], lengths: list[int]) -> Iterator[list[_Item]]:
    """Cut a list into parts of at most CHUNK_CHARS characters, or of one item."""
    first, size = 0, 0
    for place, length in enumerate(lengths):
        if size and size + length > CHUNK_CHARS:
            yield items[first:place]
            first, size = place, 0
        size += length + 1
    if first < len(items):
        yield items[first:]
