"""What holds of the scrubber for any text: pieces of PII, near misses, arbitrary Unicode."""

import importlib.util
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisegate.scrub import Entity, Scrubber
from noisegate.scrub import scan as scan_module
from noisegate.scrub.anchors import Anchors, Opening, encoded
from noisegate.scrub.rule import Copy, Rule
from noisegate.scrub.rules import RULES
from noisegate.scrub.view import mend, view

SCRUBBER = Scrubber()
needs_hyperscan = pytest.mark.skipif(
    importlib.util.find_spec("hyperscan") is None, reason="the extra [fast] is not installed"
)
backends = pytest.mark.parametrize(
    "fast",
    [
        pytest.param(False, id="standard library"),
        pytest.param(True, id="Hyperscan", marks=needs_hyperscan),
    ],
)
ALONE = [Scrubber(rules=[rule], fast=False) for rule in RULES]
PIECES = sorted(
    {
        piece.replace("⟦", "").replace("⟧", "")
        for rule in RULES
        for text in rule.examples + rule.counter_examples
        for piece in (text, *text.split())
    }
)
JOINTS = [
    "",
    " ",
    "",
    "\n",
    "\\n",
    '"',
    "'",
    "=",
    ": ",
    ",",
    "@",
    ".",
    "/",
    "%40",
    "\0",
    "<",
    ">",
    "-",
]
pieces = st.sampled_from(PIECES)
anything = st.text(st.characters(exclude_categories=()), max_size=12)
texts = st.lists(
    st.one_of(pieces, pieces, st.sampled_from(JOINTS), st.sampled_from(JOINTS), anything),
    max_size=9,
).map("".join)


def one_row_at_a_time(text: str) -> tuple[str, list[str]]:
    """The plain reference: until nothing changes any more."""
    text = mend(text)
    entities: list[str] = []
    while (after := one_pass(text))[1]:
        text = after[0]
        entities += after[1]
    return text, entities


def one_pass(text: str) -> tuple[str, list[str]]:
    """No joining, no sharing; each rule alone, overlaps by looking at every character."""
    seen = view(text)
    taken = [find for alone in ALONE for find in alone.findings(seen.text)]  # by priority
    kept: list[tuple[int, int, str]] = []
    for find in taken:
        free = [
            place
            for place in range(find.start, find.end)
            if not any(start <= place < end for start, end, _ in kept)
        ]
        parts: list[list[int]] = []
        for place in free:
            if parts and parts[-1][-1] == place - 1:
                parts[-1].append(place)
            else:
                parts.append([place])
        whole = find.entity in ("SECRET", "URL_CREDENTIALS", "PRIVATE_KEY", "CUSTOM")
        for part in parts:
            if len(part) < find.end - find.start:
                clear = seen.text[part[0] : part[-1] + 1]
                if not whole or not any(map(str.isalnum, clear)):
                    continue
                while seen.text[part[0]].isspace():
                    del part[0]
                while seen.text[part[-1]].isspace():
                    del part[-1]
            kept.append((part[0], part[-1] + 1, find.entity))
    pieces, at = [], 0
    for start, end, entity in sorted(kept):
        left, right = seen.original((start, end))
        pieces += [text[at:left], f"<{entity}>"]
        at = right
    return "".join([*pieces, text[at:]]), sorted(entity for _, _, entity in kept)


@backends
@settings(deadline=None)
@given(rows=st.lists(st.none() | texts, max_size=6))
def test_many_rows_at_once_come_out_as_one_row_at_a_time(
    rows: list[str | None], fast: bool
) -> None:
    scrubbed, counts = Scrubber(fast=fast).texts(rows)

    expected = [None if row is None else one_row_at_a_time(row) for row in rows]
    assert scrubbed == [None if row is None else row[0] for row in expected]
    assert sorted(counts.elements()) == sorted(
        entity for row in expected if row is not None for entity in row[1]
    )


ANCHORS = list(dict.fromkeys((rule.on, anchor) for rule in RULES for anchor in rule.anchors))
# Each way to write an anchor: what is read as forms, and what has to be searched for by itself.
WAYS = [
    *[(Copy.TEXT, anchor) for anchor in (
        "ab{2}c?", "a[b-d]{1,3}e", "(?:ab|a)b", "a(?=b|c)", "ab*c", "ab+", "a{2,}b", "[^a]b", "a.b",
        r"\bab", "(?<=a)bc", "(?i:ab)c", "a(?!b)c", "(a)b", "a?b", r"a\wb", "é+a", "aa",
        "abcabcabcabca", "x[ab]{9}", r"\x01a", "[é]a",
    )],
    (Copy.LOWER, "a-b[=:]"), (Copy.SHAPE, "A0{1,3}a"), (Copy.SHAPE, "[0A][^0]"), (Copy.RUN, "wwww"),
]  # fmt: skip
odd = st.text(st.sampled_from("aAbBcCdex019-_=: \0\x01é€"), max_size=60)


def anchors(some: tuple[tuple[Copy, str], ...], fast: bool) -> Anchors:
    return scan_module._anchors(some, fast)


def plainly(on: Copy, anchor: str, text: str) -> list[int]:
    """Where an anchor is, by trying it at every place of the text's copy."""
    if on is Copy.RUN:
        run = rf"(?<![0-9A-Za-z_-])[0-9A-Za-z_-]{{{len(anchor)}}}"
        return [match.start() for match in re.finditer(run, text)]
    kinds = {Copy.LOWER: "[A-Z]", Copy.SHAPE: "[0-9A-Za-z]"}

    def copied(match: re.Match[str]) -> str:
        sign = match[0]
        shape = "0" if sign.isdigit() else "A" if sign.isupper() else "a"
        return sign.lower() if on is Copy.LOWER else shape

    copy = re.sub(kinds[on], copied, text) if on in kinds else text
    found = re.compile(anchor)
    return [place for place in range(len(copy) + 1) if found.match(copy, place)]


@backends
@settings(deadline=None)
@given(text=texts.map(lambda text: view(mend(text)).text))
def test_every_anchor_of_the_rules_is_found_wherever_it_is(text: str, fast: bool) -> None:
    found = anchors(tuple(ANCHORS), fast).places(text, encoded(text))

    for number, (on, anchor) in enumerate(ANCHORS):
        assert list(found.get(number, ())) == plainly(on, anchor, text), anchor


@backends
@settings(deadline=None)
@given(text=odd | st.lists(odd, max_size=4).map("abcab".join))
def test_every_way_to_write_an_anchor_is_found(text: str, fast: bool) -> None:
    found = anchors(tuple(WAYS), fast).places(text, encoded(text))

    for number, (on, anchor) in enumerate(WAYS):
        assert list(found.get(number, ())) == plainly(on, anchor, text), anchor


OPENINGS = [
    ("(?P<x>ab{2,9}c?|x[0-9]{3})", ""),
    ("(?<![a-z])(?:é|a)b", ""),
    (r"(?=a)\w{2}-", r"(?:\.(?:a|bc)|:\d{1,3})?"),
    ("(?i:ab)", ""),
    ("a?", ""),
    ("ab", "[a-z]*"),
    *[(rule.pattern, rule.head) for rule in RULES if rule.on is Copy.RUN],
]


@settings(deadline=None)
@given(text=texts.map(lambda text: view(mend(text)).text) | odd)
def test_no_place_is_passed_over_at_which_a_pattern_matches(text: str) -> None:
    every = np.arange(len(text))
    for pattern, head in OPENINGS:
        kept = Opening(pattern, head).of(encoded(text), every).tolist()
        for place in every.tolist():
            walk = re.compile(head).match(text[::-1], len(text) - place)
            if walk is not None and re.compile(pattern).match(text, len(text) - walk.end()):
                assert place in kept, (pattern, place)


def test_no_anchor_of_our_rules_has_to_be_searched_for_by_itself() -> None:
    assert anchors(tuple(ANCHORS), False)._alone == []


@settings(deadline=None)
@given(texts)
def test_a_text_scrubbed_under_rules_with_their_own_tokens_is_left_as_it_is(text: str) -> None:
    custom = Rule("badge", Entity.CUSTOM, Copy.TEXT, ("Bd",), r"(?P<x>Bd\d+)", token="CARD_PHONE")
    scrubber = Scrubber(rules=(custom, *RULES))

    once, _ = scrubber.texts([text.replace(" ", " Bd7 "), f"Bd1{text}", f"{text}Bd1"])
    twice, counts = scrubber.texts(once)

    assert (twice, counts) == (once, {})


@settings(deadline=None)
@given(st.lists(st.none() | texts.map(mend), max_size=6))
def test_a_column_comes_out_as_its_texts(rows: list[str | None]) -> None:
    column, counts = SCRUBBER.column(pa.array(rows, pa.string()))

    assert (column.to_pylist(), counts) == SCRUBBER.texts(rows)


@settings(deadline=None)
@given(texts)
def test_a_scrubbed_text_is_left_as_it_is(text: str) -> None:
    once, _ = SCRUBBER.texts([text])
    twice, counts = SCRUBBER.texts(once)

    assert twice == once
    assert not counts


@settings(deadline=None)
@given(texts)
def test_findings_are_in_order_inside_the_text_and_never_overlap(text: str) -> None:
    ends = [0]
    for find in SCRUBBER.findings(text):
        assert ends[-1] <= find.start < find.end <= len(text)
        ends.append(find.end)


@settings(deadline=None)
@given(texts)
def test_what_no_finding_covers_stays_byte_for_byte(text: str) -> None:
    (scrubbed,), _ = SCRUBBER.texts([text])

    rest, at = [], 0
    for find in SCRUBBER.findings(text):
        rest += [mend(text[at : find.start]), f"<{find.entity}>"]
        at = find.end
    assert scrubbed == "".join([*rest, mend(text[at:])])


@settings(deadline=None)
@given(st.dictionaries(anything, texts, max_size=4), st.booleans())
def test_json_stays_json(labels: dict[str, str], ascii_only: bool) -> None:
    labels = {mend(key): mend(value) for key, value in labels.items()}
    (scrubbed,), _ = SCRUBBER.texts([json.dumps(labels, ensure_ascii=ascii_only)])

    assert scrubbed is not None
    assert all(isinstance(value, str) for value in json.loads(scrubbed).values())


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_unicode_comes_out_writable(text: str) -> None:
    (scrubbed,), _ = SCRUBBER.texts([text])

    assert scrubbed is not None
    scrubbed.encode()
