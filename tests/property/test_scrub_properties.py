"""What holds of the scrubber for any text: pieces of PII, near misses, arbitrary Unicode."""

import json

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from noisegate.scrub import Scrubber
from noisegate.scrub.rules import RULES
from noisegate.scrub.view import mend, view

SCRUBBER = Scrubber()
ALONE = [Scrubber(rules=[rule]) for rule in RULES]
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
        whole = find.entity in ("SECRET", "URL_CREDENTIALS", "PRIVATE_KEY")
        for part in parts:
            clear = seen.text[part[0] : part[-1] + 1]
            if len(part) == find.end - find.start or (whole and any(map(str.isalnum, clear))):
                kept.append((part[0], part[-1] + 1, find.entity))
    pieces, at = [], 0
    for start, end, entity in sorted(kept):
        left, right = seen.original((start, end))
        pieces += [text[at:left], f"<{entity}>"]
        at = right
    return "".join([*pieces, text[at:]]), sorted(entity for _, _, entity in kept)


@settings(deadline=None)
@given(st.lists(st.none() | texts, max_size=6))
def test_many_rows_at_once_come_out_as_one_row_at_a_time(rows: list[str | None]) -> None:
    scrubbed, counts = SCRUBBER.texts(rows)

    expected = [None if row is None else one_row_at_a_time(row) for row in rows]
    assert scrubbed == [None if row is None else row[0] for row in expected]
    assert sorted(counts.elements()) == sorted(
        entity for row in expected if row is not None for entity in row[1]
    )


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
