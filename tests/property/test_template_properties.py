"""What holds for every text."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from noisegate.model.embed import MAX_TEMPLATE, template

WORDS = (
    "disk full on node pod pay-api db web- HTTP <EMAIL> <IPV4:1f3a> 7d9f8b6c5-x2x4z / : , ( ) % ms "
    "GiB * ** -1 1.5 3h 0x1f deadbeef01 s3 eth0 2026-11-24 21:16:01 $value Nov"
)
PIECES = st.one_of(
    st.sampled_from(WORDS.split()),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.uuids().map(str),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
)
TEXTS = st.lists(st.tuples(PIECES, st.sampled_from(["", " "])), max_size=20).map(
    lambda pairs: "".join(piece + gap for piece, gap in pairs)
)


@settings(deadline=None)
@given(texts=st.lists(TEXTS, max_size=8))
def test_a_text_s_template_does_not_depend_on_other_texts(texts: list[str]) -> None:
    together = template(pa.array(texts, pa.string())).to_pylist()
    assert together == [template(pa.array([text])).to_pylist()[0] for text in texts]


@settings(deadline=None)
@given(number=st.integers(0, 10**12), other=st.integers(0, 10**12), unit=st.sampled_from("%smh"))
def test_numbers_never_tell_two_alerts_apart(number: int, other: int, unit: str) -> None:
    both = [f"Disk of web-{n} is {n}{unit} full, {n} left, id {n}" for n in (number, other)]
    assert len(set(template(pa.array(both)).to_pylist())) == 1


@settings(deadline=None)
@given(text=TEXTS)
def test_a_template_is_short_lower_case_and_one_line(text: str) -> None:
    made = template(pa.array([text])).to_pylist()[0]
    assert len(made) <= MAX_TEMPLATE
    assert made == made.lower().strip()
    assert "  " not in made and "\n" not in made
