"""Nearest neighbours: exact, the same for every way of asking, blind to the future."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from noisegate.model import neighbours
from noisegate.model.neighbours import TemplateIndex, causal_neighbours

Vectors = npt.NDArray[np.float32]


@st.composite
def vectors(draw: st.DrawFn) -> Vectors:
    """Unit vectors with many exact repeats, for ties are where orders go wrong."""
    size, dim = draw(st.integers(0, 60)), draw(st.sampled_from([1, 3, 8, 384]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    distinct = draw(st.integers(1, 60))
    some = random.normal(size=(distinct, dim)).astype(np.float32)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    return np.asarray(some[random.integers(0, distinct, size)], np.float32)


def plain(made: Vectors, row: int, k: int, least: float) -> list[tuple[int, float]]:
    """The definition, in exact integers."""
    grid = np.rint(made * np.float32(2048)).astype(np.int64)
    products = [(-int(grid[i] @ grid[row]), i) for i in range(row)]
    near = [(i, -units / 2**22) for units, i in sorted(products)[:k]]
    return [(i, similarity) for i, similarity in near if similarity >= np.float32(least)]


def found(ids: npt.NDArray[np.int32], similarity: Vectors) -> list[tuple[int, float]]:
    return [(int(i), float(s)) for i, s in zip(ids, similarity, strict=True) if i >= 0]


@settings(deadline=None)
@given(made=vectors(), k=st.integers(1, 9), least=st.sampled_from([-1.0, 0.0, 0.6, 1.0]))
def test_neighbours_are_the_nearest_earlier_ones_and_equals_by_age(
    made: Vectors, k: int, least: float
) -> None:
    ids, similarity = causal_neighbours(made, k, least)
    assert ids.shape == similarity.shape == (len(made), k)
    assert ids.dtype == np.int32 and similarity.dtype == np.float32
    for row in range(len(made)):
        assert found(ids[row], similarity[row]) == plain(made, row, k, least)
        assert not similarity[row][ids[row] < 0].any()


@settings(deadline=None)
@given(made=vectors(), k=st.integers(1, 9), block=st.integers(1, 70))
def test_blocks_change_no_bit(made: Vectors, k: int, block: int) -> None:
    ids, similarity = causal_neighbours(made, k, 0.0)
    usual = neighbours._BLOCK
    neighbours._BLOCK = block
    try:
        again, as_well = causal_neighbours(made, k, 0.0)
    finally:
        neighbours._BLOCK = usual
    assert np.array_equal(ids, again) and np.array_equal(similarity, as_well)


@settings(deadline=None)
@given(made=vectors(), k=st.integers(1, 9), least=st.sampled_from([-1.0, 0.0, 0.6]))
def test_an_index_that_grows_finds_what_the_history_found(
    made: Vectors, k: int, least: float
) -> None:
    ids, similarity = causal_neighbours(made, k, least)
    index = TemplateIndex(made.shape[1])
    for row in range(len(made)):
        alone = index.search(made[row : row + 1], k, least)
        assert np.array_equal(alone[0][0], ids[row])
        assert np.array_equal(alone[1][0], similarity[row])
        index.add(made[row : row + 1])


@settings(deadline=None)
@given(made=vectors(), k=st.integers(1, 9), data=st.data())
def test_cutting_the_future_changes_nothing_earlier(
    made: Vectors, k: int, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, len(made)), label="templates kept")
    ids, similarity = causal_neighbours(made, k, 0.0)
    early, as_well = causal_neighbours(made[:kept], k, 0.0)
    assert np.array_equal(early, ids[:kept]) and np.array_equal(as_well, similarity[:kept])
