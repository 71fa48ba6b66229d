"""Scrubbing texts and columns: each distinct text once, many in one scan, one splice."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from noisegate.scrub.policy import DEFAULT_POLICY, Entity, Policy, Treatment
from noisegate.scrub.rule import Copy, Rule, Span
from noisegate.scrub.rules import RULES
from noisegate.scrub.scan import Find, Scanner
from noisegate.scrub.view import View, mend, plain, view

CHUNK_CHARS = 262_144
"""Texts are joined up to this length: a chunk and its copies stay in the processor's cache."""

_ROUNDS = 4
_Item = TypeVar("_Item")


Allow = Callable[[Entity, str], bool]
"""Whether a find with this text is to stay as it is."""
People = Callable[[Sequence[str]], list[list[Span]]]
"""Finds names of persons: texts in; of each text the spans (start, end), in characters."""

_PERSON = Rule(
    "person",
    Entity.PERSON,
    Copy.TEXT,
    (),
    "",
    why="the recogniser of names takes it for a person's",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One find in one text.

    Attributes:
        start: where it starts, in characters of the text as it came.
        end: where it ends.
        entity: what was found.
        rule: the id of the rule that found it.
        token: the name that is written for it, `<TOKEN>`.
        why: what made it a find, in a clause.
        kept: why it stays as it is: "policy" or "allowed"; empty: it is replaced.
    """

    start: int
    end: int
    entity: Entity
    rule: str
    token: str
    why: str
    kept: str = ""


class Scrubber:
    """Replaces personal data and secrets in texts, in time linear in their length.

    Args:
        policy: what is written for each entity.
        rules: what is looked for, in the order of priority.
        allow: finds with these texts stay as they are, and are not counted.
        people: finds names of persons, in distinct texts only; a rule's find goes before its.
        fast: find the anchors by Hyperscan (True), by the standard library (False), or by
            whichever is there (None); the results are the same.

    Raises:
        SettingsError: `fast` is asked for and Hyperscan is not installed.
    """

    def __init__(
        self,
        policy: Policy = DEFAULT_POLICY,
        rules: Sequence[Rule] = RULES,
        *,
        allow: Allow | None = None,
        people: People | None = None,
        fast: bool | None = None,
    ) -> None:
        self._policy = policy
        self._rules = (*rules, _PERSON)
        self._allow = allow
        self._people = people
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
        mended = mend(text)
        seen = view(mended)
        found: list[Finding] = []
        for start, rank, end in self._scanner.scan(seen.text, self._named([mended], [seen])).finds:
            rule = self._rules[rank]
            found.append(
                Finding(
                    *seen.original((start, end)),
                    rule.entity,
                    rule.id,
                    rule.token or rule.entity,
                    rule.why,
                    self._kept(rule.entity, seen.text[start:end]),
                )
            )
        return found

    def _kept(self, entity: Entity, text: str) -> str:
        """Why a find stays, or nothing."""
        if self._policy.treatment(entity) is Treatment.KEEP:
            return "policy"
        return "allowed" if self._allow is not None and self._allow(entity, text) else ""

    def _named(self, texts: Sequence[str], views: Sequence[View]) -> list[Find]:
        """Names of persons in texts, as finds in their views joined by NUL."""
        if self._people is None:
            return []
        finds: list[Find] = []
        first = 0
        for spans, seen in zip(self._people(texts), views, strict=True):
            for span in spans:
                start, end = seen.seen(span)
                if start < end:
                    finds.append((first + start, len(self._rules) - 1, first + end))
            first += len(seen.text) + 1
        return finds

    def _distinct(self, texts: list[str], weights: Sequence[int]) -> tuple[list[str], Counter[str]]:
        """Scrub distinct texts; what is found in one counts `weights` times.

        A check that refused a candidate may have looked at words that were then replaced. Where
        that can be, the text is scrubbed again: scrubbing what was scrubbed changes nothing.
        """
        scrubbed = list(texts)
        counts: Counter[str] = Counter()
        rows = list(range(len(texts)))
        for number in range(_ROUNDS):
            if rows:
                rows = self._round(rows, scrubbed, weights, counts, first=number == 0)
        return scrubbed, counts

    def _round(
        self,
        rows: list[int],
        scrubbed: list[str],
        weights: Sequence[int],
        counts: Counter[str],
        *,
        first: bool,
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
            again += self._splice_joined(part, scrubbed, weights, counts, first=first)
        for views in _chunks(folded, [len(seen.text) for _, seen in folded]):
            again += self._splice_folded(views, scrubbed, weights, counts, first=first)
        return again

    def _splice_joined(
        self,
        rows: list[int],
        scrubbed: list[str],
        weights: Sequence[int],
        counts: Counter[str],
        *,
        first: bool,
    ) -> list[int]:
        """Scrub texts that are their own views: splice the joined text, then take it apart."""
        texts = [scrubbed[row] for row in rows]
        joined = "\0".join(texts)
        named = self._named(texts, [View(text) for text in texts]) if first else []
        seen = self._scanner.scan(joined, named)
        if not seen.finds:
            return []
        firsts = list(accumulate((len(scrubbed[row]) + 1 for row in rows), initial=0))
        touched: list[int] = []
        pieces: list[str] = []
        at = 0
        for start, rank, end in seen.finds:
            rule, text = self._rules[rank], joined[start:end]
            if self._kept(rule.entity, text):
                continue
            written = self._policy.replacement(rule.entity, text, rule.token)
            pieces += joined[at:start], written
            at = end
            touched.append(rows[bisect_right(firsts, start) - 1])
            counts[rule.entity.value] += weights[touched[-1]]
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
        *,
        first: bool,
    ) -> list[int]:
        """Scrub texts through their views: each find is cut out of the original text."""
        joined = "\0".join([seen.text for _, seen in folded])
        views = [seen for _, seen in folded]
        named = self._named([scrubbed[row] for row, _ in folded], views) if first else []
        scan = self._scanner.scan(joined, named)
        firsts = list(accumulate((len(seen.text) + 1 for _, seen in folded), initial=0))
        by_place: defaultdict[int, list[Find]] = defaultdict(list)
        for find in scan.finds:
            if not self._kept(self._rules[find[1]].entity, joined[find[0] : find[2]]):
                by_place[bisect_right(firsts, find[0]) - 1].append(find)
        for place, finds in by_place.items():
            (row, seen), place_at = folded[place], firsts[place]
            text = scrubbed[row]
            pieces: list[str] = []
            at = 0
            for start, rank, end in finds:
                rule = self._rules[rank]
                left, right = seen.original((start - place_at, end - place_at))
                written = self._policy.replacement(rule.entity, joined[start:end], rule.token)
                pieces += text[at:left], written
                at = right
                counts[rule.entity.value] += weights[row]
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
