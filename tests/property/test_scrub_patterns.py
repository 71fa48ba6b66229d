"""A pattern that is accepted takes few steps on every text; what it finds is what `re` finds."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from noisegate.errors import SettingsError
from noisegate.scrub import Entity, Scrubber
from noisegate.scrub.bounded import bounded
from noisegate.scrub.pattern_parse import MOST_STEPS, parse
from noisegate.scrub.pattern_tree import effort
from noisegate.scrub.rule import Rule

SIGNS = "ab-1"
counts = st.tuples(st.integers(0, 3), st.integers(1, 12)).map(lambda n: f"{{{n[0]},{sum(n)}}}")
atoms = st.sampled_from(["a", "b", "-", "1", "ab", "a-", "[ab]", "[^a]", ".", r"\w", r"\d", r"\b"])
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda found: f"(?:{'|'.join(found)})"),
        st.tuples(inner, counts).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        inner.map(lambda one: f"(?:{one})?"),
    ),
    max_leaves=8,
)
# With fixed text in the middle: it is where they are looked for.
found_patterns = st.tuples(
    st.sampled_from(["", "a", r"\b", r"\d{1,3}", "[ab]{1,4}", "(?:a|1b){1,3}", "b?", r"\w{2}-?"]),
    st.sampled_from(["-", "a-", "-1b", "b1"]),
    st.one_of(st.just(""), patterns),
).map("".join)
texts = st.one_of(
    st.text(SIGNS, max_size=60),
    st.tuples(st.text(SIGNS, min_size=1, max_size=3), st.integers(5, 20)).map(
        lambda pair: pair[0] * pair[1]
    ),
)


class TooManyError(Exception):
    pass


class Matcher:
    """Backtracks as `re` does, in Python, and counts every part that is tried."""

    def __init__(self, pattern: str, text: str, most: int) -> None:
        self.parsed: Any = list(re._parser.parse(pattern))  # type: ignore[attr-defined]
        self.text = text
        self.most = most
        self.steps = 0

    def tried_at(self, place: int) -> int:
        self.steps = 0
        self.row(self.parsed, 0, place, lambda _: True)
        return self.steps

    def row(self, items: Any, number: int, at: int, then: Callable[[int], bool]) -> bool:
        if number == len(items):
            return then(at)
        self.steps += 1
        if self.steps > self.most:
            raise TooManyError
        kind, value = str(items[number][0]), items[number][1]

        def on(end: int) -> bool:
            return self.row(items, number + 1, end, then)

        match kind:
            case "AT":
                word = [0 <= p < len(self.text) and self.text[p] != "-" for p in (at - 1, at)]
                return word[0] != word[1] and on(at)
            case "SUBPATTERN":
                return self.row(value[3], 0, at, on)
            case "BRANCH":
                return any(self.row(branch, 0, at, on) for branch in value[1])
            case "MAX_REPEAT":
                low, high, inner = value
                return self.repeat(inner, low, high, 0, at, on)
        return at < len(self.text) and self.holds(kind, value, self.text[at]) and on(at + 1)

    def repeat(
        self, inner: Any, low: int, high: int, done: int, at: int, on: Callable[[int], bool]
    ) -> bool:
        def again(end: int) -> bool:
            return self.repeat(inner, low, high, done + 1, end, on)

        if done < high and self.row(inner, 0, at, again):
            return True
        return done >= low and on(at)

    def holds(self, kind: str, value: Any, sign: str) -> bool:
        match kind:
            case "LITERAL":
                return ord(sign) == value
            case "NOT_LITERAL":
                return ord(sign) != value
            case "RANGE":
                return value[0] <= ord(sign) <= value[1]
            case "CATEGORY":
                return sign.isdigit() if "DIGIT" in str(value) else sign.isalnum()
            case "IN":
                return any(self.holds(str(one), what, sign) for one, what in value)
        return kind == "ANY"


@given(pattern=patterns, text=texts)
def test_no_text_takes_more_steps_than_were_counted_when_it_was_accepted(
    pattern: str, text: str
) -> None:
    try:
        _, most = effort(parse(pattern, False), 0)
    except SettingsError:
        assume(False)
    assert most <= MOST_STEPS
    matcher = Matcher(pattern, text, 20 * MOST_STEPS)
    # A row or a group is a step of the matcher's own, in each of at most a few that are nested.
    assert max(map(matcher.tried_at, range(len(text) + 1))) <= 4 * most + 20


def test_the_matcher_sees_a_pattern_run_away() -> None:
    with pytest.raises(TooManyError):
        Matcher("(?:a|a){1,40}b", "a" * 40, 20 * MOST_STEPS).tried_at(0)


@given(pattern=found_patterns, texts=st.lists(texts, min_size=1, max_size=3))
def test_all_that_re_finds_is_found_in_each_text_by_itself(pattern: str, texts: list[str]) -> None:
    try:
        made = bounded(pattern)
    except SettingsError:
        assume(False)
    rule = Rule("own", Entity.CUSTOM, made.on, made.anchors, made.pattern, head=made.head)
    scrubber = Scrubber(rules=[rule])

    scrubbed, _ = scrubber.texts(texts)

    for text, after in zip(texts, scrubbed, strict=True):
        found = [(one.start, one.end) for one in scrubber.findings(text)]
        wanted = [match.span() for match in re.finditer(pattern, text)]
        assert ("<CUSTOM>" in (after or "")) == bool(found)
        if made.head:  # where matches overlap, all of their letters and digits are found
            covered = {place for start, end in found for place in range(start, end)}
            places = {place for span in wanted for place in range(*span)}
            assert covered.issuperset(place for place in places if text[place].isalnum())
        else:
            assert found == wanted
