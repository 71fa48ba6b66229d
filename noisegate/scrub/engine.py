"""Scrubbing texts and columns: each distinct text once, many in one scan, one splice."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import itemgetter
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from noisegate.scrub.memory import Memory
from noisegate.scrub.policy import DEFAULT_POLICY, Entity, Policy, Treatment
from noisegate.scrub.rule import Copy, Rule, Span
from noisegate.scrub.rules import RULES, VERSION
from noisegate.scrub.scan import Find, Scanner
from noisegate.scrub.view import View, mend, plain, view

CHUNK_CHARS = 524_288
"""Texts are joined up to this length: a chunk and its copies stay in the processor's cache."""

_ROUNDS = 4
_Item = TypeVar("_Item")
Entities = dict[int, tuple[str, ...]]
"""The entities that were replaced in texts, by the place of the text."""


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
        version: what rows scrubbed by it are marked with; 0 under settings of one's own.

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
        version: int = VERSION,
    ) -> None:
        self.version = version
        self._policy = policy
        self._rules = (*rules, _PERSON)
        self._allow = allow
        self._people = people
        self._scanner = Scanner(self._rules, fast)
        self._memory = Memory()
        self._names = [rule.entity.value for rule in self._rules]
        self._constant = [self._always(rule) for rule in self._rules]

    def texts(self, texts: Sequence[str | None]) -> tuple[list[str | None], Counter[str]]:
        """Scrub texts.

        Args:
            texts: any strings; lone surrogates come out as U+FFFD.

        Returns:
            The scrubbed texts, None where None came, and how many entities were replaced, by
            entity; a text that occurs twice counts twice.
        """
        occurrences = Counter(text for text in texts if text is not None)
        scrubbed, entities = self._distinct(list(occurrences))
        by_text = dict(zip(occurrences, scrubbed, strict=True))
        counts = _counts(entities, list(occurrences.values()))
        return [None if text is None else by_text[text] for text in texts], counts

    def column(self, column: pa.Array) -> tuple[pa.Array, Counter[str]]:
        """Scrub a column of strings.

        Args:
            column: of type string, large_string or a dictionary of strings, shape (rows,).

        Returns:
            A string array, shape (rows,), nulls kept, and the counts of `texts`.
        """
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        scrubbed, entities = self._distinct(encoded.dictionary.to_pylist())
        rows = encoded.indices.drop_null().to_numpy()
        counts = _counts(entities, np.bincount(rows, minlength=len(scrubbed)))
        return pa.array(scrubbed, pa.string()).take(encoded.indices), counts

    def findings(self, text: str) -> list[Finding]:
        """What is found in one text, by which rule, from left to right, disjoint.

        Offsets are those of the text as it came.
        """
        mended = mend(text)
        seen = view(mended)
        found: list[Finding] = []
        named = self._named([mended], [seen])
        for start, rank, end in self._scanner.scan(seen.text, named, self._stays).finds:
            rule = self._rules[rank]
            found.append(
                Finding(
                    *seen.original((start, end)),
                    rule.entity,
                    rule.id,
                    rule.token or rule.entity,
                    rule.why,
                    self._kept(rule, seen.text[start:end]),
                )
            )
        return found

    def lets_stand(self, entity: Entity, text: str) -> bool:
        """Whether such a find stays as it is, by policy or because its text is allowed."""
        return bool(self._kept(Rule("", entity, Copy.TEXT, (), ""), text))

    def _kept(self, rule: Rule, text: str) -> str:
        """Why a find stays, or nothing."""
        if self._policy.treatment(rule.entity, rule.token) is Treatment.KEEP:
            return "policy"
        return "allowed" if self._allow is not None and self._allow(rule.entity, text) else ""

    def _stays(self, rank: int, text: str) -> bool:
        return bool(self._kept(self._rules[rank], text))

    def _always(self, rule: Rule) -> str | None:
        """What is written for each find of a rule, if that does not depend on its text."""
        treatment = self._policy.treatment(rule.entity, rule.token)
        if self._allow is None and treatment in (Treatment.TOKEN, Treatment.DROP):
            return self._policy.replacement(rule.entity, "", rule.token)
        return None

    def _written(self, rank: int, text: str) -> str | None:
        """What is written for a find; None: it stays."""
        if (constant := self._constant[rank]) is not None:
            return constant
        rule = self._rules[rank]
        if self._kept(rule, text):
            return None
        return self._policy.replacement(rule.entity, text, rule.token)

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

    def _distinct(self, texts: list[str]) -> tuple[list[str], Entities]:
        """Scrub distinct texts, those that were scrubbed lately by looking them up."""
        known, entities = self._memory.recall(texts)
        places = [place for place, clean in enumerate(known) if clean is None]
        new = [texts[place] for place in places]
        found, found_entities = self._new(new)
        self._memory.keep(new, found, found_entities)
        if len(new) == len(texts):
            return found, found_entities
        for place, clean in zip(places, found, strict=True):
            known[place] = clean
        entities |= {places[at]: names for at, names in found_entities.items()}
        return [clean for clean in known if clean is not None], entities

    def _new(self, texts: list[str]) -> tuple[list[str], Entities]:
        """Scrub texts.

        A check that refused a candidate may have looked at words that were then replaced. Where
        that can be, the text is scrubbed again: scrubbing what was scrubbed changes nothing.
        """
        scrubbed = list(texts)
        entities: Entities = {}
        rows = list(range(len(texts)))
        for number in range(_ROUNDS):
            if rows:
                rows = self._round(rows, scrubbed, entities, first=number == 0)
        return scrubbed, entities

    def _round(
        self,
        rows: list[int],
        scrubbed: list[str],
        entities: Entities,
        *,
        first: bool,
    ) -> list[int]:
        """Scrub the given rows in place; returns those in which something else was refused."""
        views: dict[int, View] = {}
        for row in rows:
            if not plain(scrubbed[row]):
                scrubbed[row] = mended = mend(scrubbed[row])
                views[row] = view(mended)
        whole = [row for row in rows if row not in views] if views else rows
        again: list[int] = []
        for part in _chunks(whole, [len(scrubbed[row]) for row in whole]):
            again += self._splice(part, {}, scrubbed, entities, first=first)
        for part in _chunks(list(views), [len(seen.text) for seen in views.values()]):
            again += self._splice(part, views, scrubbed, entities, first=first)
        return again

    def _splice(
        self,
        rows: list[int],
        views: Mapping[int, View],
        scrubbed: list[str],
        entities: Entities,
        *,
        first: bool,
    ) -> list[int]:
        """Scrub rows in one scan of their views; a row without a view is its own."""
        seen = [views[row].text if row in views else scrubbed[row] for row in rows]
        joined = "\0".join(seen)
        firsts = list(accumulate((len(text) + 1 for text in seen), initial=0))
        named = []
        if first and self._people is not None:
            originals = [scrubbed[row] for row in rows]
            named = self._named(originals, [views.get(row) or View(scrubbed[row]) for row in rows])
        scan = self._scanner.scan(joined, named, self._stays)
        touched: set[int] = set()
        places = np.searchsorted(firsts, [find[0] for find in scan.finds], "right") - 1
        for place, group in groupby(zip(places.tolist(), scan.finds, strict=True), itemgetter(0)):
            row, offset = rows[place], firsts[place]
            text, sight = scrubbed[row], views.get(row)
            pieces: list[str] = []
            names: list[str] = []
            at = 0
            for _, (start, rank, end) in group:
                written = self._written(rank, joined[start:end])
                if written is None:
                    continue
                left, right = start - offset, end - offset
                if sight is not None:
                    left, right = sight.original((left, right))
                pieces += text[at:left], written
                at = right
                names.append(self._names[rank])
            if pieces:
                entities[row] = entities.get(row, ()) + tuple(names)
                scrubbed[row] = "".join([*pieces, text[at:]])
                touched.add(row)
        refused = {rows[bisect_right(firsts, start) - 1] for start in scan.refused}
        return list(refused & touched)


def _counts(entities: Entities, weights: Sequence[int] | NDArray[np.int64]) -> Counter[str]:
    """How often each entity was replaced, in texts that stand for so many each."""
    counts: Counter[str] = Counter()
    for place, names in entities.items():
        for name in names:
            counts[name] += int(weights[place])
    return counts


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
