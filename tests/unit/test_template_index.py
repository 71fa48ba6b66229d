"""The index of templates: saved, loaded, searched."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from noisegate.model.neighbours import TemplateIndex, causal_neighbours


def unit_vectors(size: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(size, 384)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    made = unit_vectors(300)
    index = TemplateIndex(384)
    index.add(made)
    index.save(tmp_path / "templates.faiss")
    loaded = TemplateIndex.load(tmp_path / "templates.faiss")
    assert len(loaded) == 300
    for before, after in zip(index.search(made, 5), loaded.search(made, 5), strict=True):
        assert np.array_equal(before, after)
    ids, similarity = loaded.search(made, 1)
    assert ids[:, 0].tolist() == list(range(300))
    assert np.allclose(similarity, 1, atol=1e-3)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "templates.faiss").write_bytes(b"not an index")
    with pytest.raises(ValueError, match=r"\w"):
        TemplateIndex.load(tmp_path / "templates.faiss")


def test_another_kind_of_index_is_refused(tmp_path: Path) -> None:
    faiss.write_index(faiss.IndexFlatL2(8), str(tmp_path / "templates.faiss"))
    with pytest.raises(ValueError, match="flat index of inner products"):
        TemplateIndex.load(tmp_path / "templates.faiss")


def test_an_empty_index_finds_nothing() -> None:
    ids, similarity = TemplateIndex(384).search(unit_vectors(2), 3)
    assert ids.tolist() == [[-1] * 3] * 2
    assert similarity.tolist() == [[0.0] * 3] * 2


def test_threads_change_no_bit_and_are_put_back() -> None:
    before = faiss.omp_get_max_threads()
    made = unit_vectors(2_500)
    one, two = (causal_neighbours(made, 7, 0.0, threads=threads) for threads in (1, 2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    assert faiss.omp_get_max_threads() == before


def test_many_equals_across_blocks_are_ranked_by_age() -> None:
    made = unit_vectors(2_300)
    made[5:2_200:20] = made[3]
    ids, _ = causal_neighbours(made, 4, 0.99)
    assert ids[2_185].tolist() == [3, 5, 25, 45]
