"""Nearest templates by cosine similarity: FAISS, exact, and causal for a history."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
_Keys = npt.NDArray[np.int64]

_BLOCK = 1_024
_SPARE = 4  # Looked at beyond k, so that equals at the k-th place are rare to be cut.

# Components are rounded to multiples of 2^-11. Products are then multiples of 2^-22, and no partial
# sum of two unit vectors' products passes 2: float32 holds every one exactly. So a similarity is
# the same bit for bit in any order of addition, on any machine, alone or in a block, and equals
# are equal. It costs 4e-6 of cosine.
_GRID = np.float32(2**11)
_UNITS = 2**22
_NONE = np.iinfo(np.int64).min


class TemplateIndex:
    """Templates by vector; ids count up from 0 in the order in which they were added."""

    def __init__(self, dim: int, threads: int = 1) -> None:
        """Make an empty index for vectors of `dim` components, searched by `threads` threads."""
        self._index = faiss.IndexFlatIP(dim)
        self._threads = threads

    def __len__(self) -> int:
        """How many templates it holds."""
        return int(self._index.ntotal)

    def add(self, vectors: Vectors) -> None:
        """Add vectors of unit length, shape (m, dim)."""
        self._index.add(_on_grid(vectors))

    def search(self, vectors: Vectors, k: int, min_similarity: float = -1.0) -> tuple[Ids, Vectors]:
        """Find the k nearest of each vector; of equally near ones those with the smaller id.

        Args:
            vectors: unit length, shape (q, dim).
            k: how many.
            min_similarity: less similar ones are left out.

        Returns:
            Ids (-1: none) and similarities (0 there), nearest first, both of shape (q, k).
        """
        return _unpack(_nearest(self._keys(_on_grid(vectors), k), k), k, min_similarity)

    def _keys(self, gridded: Vectors, k: int) -> _Keys:
        """Keys of at least the k nearest of each vector, in no order."""
        total = len(self)
        width = min(k + _SPARE, total)
        if width == 0 or len(gridded) == 0:
            return np.empty((len(gridded), 0), np.int64)
        with _threads(self._threads):
            similarity, ids = self._index.search(gridded, width)
        keys = _keys(similarity, ids)
        if width < total:
            # FAISS cuts equals where it likes: where they reach from the k-th place to the last,
            # look at every template.
            ranked = np.sort(similarity, axis=1)[:, ::-1]
            torn = np.flatnonzero(ranked[:, k - 1] == ranked[:, -1])
            stored = faiss.rev_swig_ptr(self._index.get_xb(), total * self._index.d)
            stored = stored.reshape(total, -1)
            for row in torn:
                every = _keys(stored @ gridded[row], np.arange(total))
                keys[row] = np.partition(every, total - width)[total - width :]
        return keys

    def save(self, path: Path) -> None:
        """Write the index to a file."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> "TemplateIndex":
        """Read what `save` wrote.

        Raises:
            ValueError: it is damaged, or no index of this kind.
        """
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from None
        if not isinstance(index, faiss.IndexFlatIP):
            raise ValueError(f"{path.name} is no flat index of inner products")
        made = cls(index.d, threads)
        made._index = index
        return made


def causal_neighbours(
    vectors: Vectors, k: int, min_similarity: float, threads: int = 1
) -> tuple[Ids, Vectors]:
    """The nearest of each template among those that came before it: no later one changes an answer.

    Row i is, bit for bit, what `TemplateIndex.search` finds for vector i among the first i.

    Args:
        vectors: unit length, in order of first appearance, shape (m, dim).
        k: how many.
        min_similarity: less similar ones are left out.
        threads: of FAISS.

    Returns:
        Ids (-1: none) and similarities (0 there), nearest first, both of shape (m, k).
    """
    ids = np.full((len(vectors), k), -1, np.int32)
    similarity = np.zeros((len(vectors), k), np.float32)
    index = TemplateIndex(vectors.shape[1], threads)
    for start in range(0, len(vectors), _BLOCK):
        block = _on_grid(vectors[start : start + _BLOCK])
        here = slice(start, start + len(block))
        inside = _keys(block @ block.T, np.arange(here.start, here.stop))
        inside[np.triu_indices(len(block))] = _NONE
        keys = np.concatenate([index._keys(block, k), inside], axis=1)
        ids[here], similarity[here] = _unpack(_nearest(keys, k), k, min_similarity)
        index._index.add(block)
    return ids, similarity


def _on_grid(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(np.rint(vectors * _GRID) / _GRID, np.float32)


def _keys(similarity: Vectors, ids: npt.NDArray[np.int64]) -> _Keys:
    """One integer for each candidate, unique, larger for nearer, then for smaller ids."""
    units = np.rint(similarity.astype(np.float64) * _UNITS).astype(np.int64)
    return (units << 32) - ids


def _nearest(keys: _Keys, k: int) -> _Keys:
    if keys.shape[1] > k:
        keys = np.partition(keys, keys.shape[1] - k, axis=1)[:, -k:]
    return np.sort(keys, axis=1)[:, ::-1]


def _unpack(keys: _Keys, k: int, min_similarity: float) -> tuple[Ids, Vectors]:
    ids = np.full((len(keys), k), -1, np.int32)
    similarity = np.zeros((len(keys), k), np.float32)
    units = -(-keys >> 32)  # Rounds up: a key lies at most 2^32 - 1 under its similarity.
    near = (units / _UNITS).astype(np.float32)
    good = (keys != _NONE) & (near >= np.float32(min_similarity))
    ids[:, : keys.shape[1]] = np.where(good, (units << 32) - keys, -1)
    similarity[:, : keys.shape[1]] = np.where(good, near, 0)
    return ids, similarity


@contextmanager
def _threads(count: int) -> Iterator[None]:
    # FAISS has one number for the calling thread: set for the search, then put back.
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
