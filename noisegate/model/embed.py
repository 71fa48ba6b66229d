"""Alert text -> template -> vector: few distinct templates, each embedded once, by ONNX Runtime."""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from noisegate.errors import BusyError, InputError
from noisegate.model.onnx_model import (
    ONNX_FILE,
    TOKENIZER_FILE,
    ModelFacts,
    find_model,
    make_onnx,
    pool,
    tokenize,
)

if TYPE_CHECKING:
    import onnxruntime

Vectors = npt.NDArray[np.float32]

MAX_TEXT = 2_000
"""Characters of an alert's text that count: what a model reads ends sooner, stack traces do not."""

MAX_TEMPLATE = 500
"""Characters of a template."""

_LEAST_NAME = 3  # Characters of a service's name that can be told from any other word.

_BATCH_TOKENS = 1_024  # Activations of more no longer fit the second-level cache.
_CHUNK = 4_096  # Texts tokenised, or keys looked up, at a time: memory stays flat.
_KEPT = 512  # Vectors written at a time: what a killed run loses at most.
_POD = "[bcdfghjklmnpqrstvwxz2456789]"  # Kubernetes' alphabet of generated names: no vowels.
_UNITS = (
    "%|percent|[mnuµ]s|s|m|h|d|w|secs?|seconds?|mins?|minutes?|hours?|hrs?|days?|weeks?|months?"
    "|[kmgtpe]i?b?(?:/s|ps)?|b|bytes?|[km]?hz|x"
)

# One placeholder for whatever varies: alerts of one kind share a template even where a host is
# an address in one and a name in the next, and the model reads one token, not three. In order;
# on lower-case text; RE2, so linear time.
_RULES = (
    (r"\{\{[^{}]*\}\}|\$\{[^{}]*\}|\$(?:value|labels)\b[.\w]*", "*"),
    (r"<[a-z][a-z0-9_]*(?:[:#=.-][^<>\s]*)?>", "*"),  # scrubbed: <email>, <ipv4:1f3a>
    (r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>)\]]+", "*"),
    (r"[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}", "*"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "*"),
    (
        r"\b\d{4}[-/]\d\d[-/]\d\d"
        r"(?:[t ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?: ?(?:z|utc|[+-]\d\d:?\d\d))?)?\b",
        "*",
    ),
    (
        r"\b(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? +)?(?:\d{1,2} +)?"
        r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* +\d{1,4}\b",
        "*",
    ),
    (r"\b\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?\b", "*"),
    (rf"-{_POD}{{8,10}}-{_POD}{{5}}\b", "-*"),  # a Deployment's pod
    (rf"-{_POD}{{5}}\b", "-*"),  # a DaemonSet's or Job's pod
    (r"\b0x[0-9a-f]+\b|\b[0-9a-f]{8,}\b", "*"),
    (r"\b(?:[a-z]*\d+[a-z]+\d+[a-z0-9]*[_-]?)+\b", "*"),  # letters and digits in turn: an id
    (rf"\bv?\d+(?:[.,_]\d+)*(?:e[+-]?\d+)?\s?(?:(?:{_UNITS})\b|%)", "*"),
    (r"\bv?\d+(?:[.,_]\d+)*(?:e[+-]?\d+)?\b", "*"),
    (r"\b[a-z]{1,2}\d{3,}\b", "*"),  # e1234,
    (r"\b([a-z]{3,}[_.-]?)\d+\b", r"\1*"),  # eth0, db3, web_01; s3, ec2, p99 stay
    (rf"\*\s?(?:{_UNITS})\b", "*"),
    (r"(^|[\s(=:<>])[-+~]+\*", r"\1*"),
    (r"\*(?:[\s,;:/.|()\[\]_=+-]*\*)+%?", "*"),
    (r"\*%", "*"),
    (r"[\s\x00-\x1f]+", " "),
)


def alert_text(names: pa.Array, messages: pa.Array, services: pa.Array | None = None) -> pa.Array:
    """Put an alert's name, its words apart, before its message: what a template is made of.

    Service and severity are left out on purpose: they are features of their own, and text is there
    to find the same kind of alert in a service that has never fired it. For the same reason the
    service's own name becomes `*` wherever name or message speak of it.

    Args:
        names: alert names, strings, such as `KubePodCrashLooping`.
        messages: messages of the same length; null where there is none.
        services: services of the same length, or None to leave their names where they are.

    Returns:
        Strings, never null.
    """
    if services is not None:
        names, messages = _without(names, services), _without(messages, services)
    words = _on_distinct(names, _words_apart)
    messages = pc.if_else(pc.equal(messages, ""), pa.scalar(None, pa.string()), messages)
    text = pc.binary_join_element_wise(words, messages, ": ", null_handling="skip")
    return pc.fill_null(text, "")


def _words_apart(names: pa.Array) -> pa.Array:
    for pattern, to in (
        (r"([a-z0-9])([A-Z])", r"\1 \2"),
        (r"([A-Z]+)([A-Z][a-z])", r"\1 \2"),
        (r"[_-]+", " "),
    ):
        names = pc.replace_substring_regex(names, pattern, to)
    return names


def _without(texts: pa.Array, services: pa.Array) -> pa.Array:
    """Texts with each row's own service name, where it stands as a word, replaced by `*`."""
    encoded = services.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(-1, len(encoded.dictionary)), "right")
    grouped = texts.take(pa.array(order))
    parts = [grouped.slice(0, ends[0])]
    for start, end, service in zip(ends, ends[1:], encoded.dictionary.to_pylist(), strict=False):
        part = grouped.slice(start, end - start)
        if len(service) >= _LEAST_NAME:
            edges = ("\\b" if service[0].isalnum() else "", "\\b" if service[-1].isalnum() else "")
            pattern = edges[0] + re.escape(service) + edges[1]
            part = pc.replace_substring_regex(part, pattern, "*")
        parts.append(part)
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_arrays(parts).take(pa.array(back))


def template(texts: pa.Array) -> pa.Array:
    """Replace whatever varies between two alerts of one kind by `*`, in lower case.

    Numbers with their units, ids, hashes, times, addresses, scrubbed values, the generated ends of
    pod names and the numbers of hosts vary; words stay.

    Args:
        texts: scrubbed texts, strings or null.

    Returns:
        Templates of at most `MAX_TEMPLATE` characters, null where the text is.
    """
    return _on_distinct(texts, _template)


def _template(texts: pa.Array) -> pa.Array:
    texts = pc.utf8_lower(pc.utf8_slice_codeunits(texts, 0, MAX_TEXT))
    for pattern, to in _RULES:
        texts = pc.replace_substring_regex(texts, pattern, to)
    return pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(texts, 0, MAX_TEMPLATE))


def _on_distinct(values: pa.Array, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    encoded = values.dictionary_encode()
    return function(encoded.dictionary).take(encoded.indices)


class Embedder:
    """A sentence-transformers model in ONNX Runtime; its session comes with the first text.

    A vector depends on its text alone, bit for bit, never on what else is in the call: texts of one
    length share a batch and nothing is padded, and activations are quantised per token.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Take an exported model's folder, as `make_onnx` leaves it."""
        self._folder = folder
        self._threads = threads
        self._facts = ModelFacts.read(folder)
        self.dim = self._facts.dim
        self.digest = self._facts.digest

    @classmethod
    def open(cls, settings_model: str, home: Path, threads: int = 1) -> "Embedder":
        """Open a model, making its ONNX form under the home if this is the first time.

        Args:
            settings_model: setting `embedding_model`: the bundled one, a path or a hub name.
            home: NOISEGATE_HOME.
            threads: of ONNX Runtime; 1 inside a Ray task.

        Raises:
            MissingError: there is no such model here.
            InputError: it is not a model that can be run this way; says which part of it.
            UnreachableError: it is not here, and the hub does not answer.
        """
        return cls(make_onnx(find_model(settings_model), home / "embedding"), threads)

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # Every length is a shape of its own.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not _multiplies_bytes_exactly():
            options.add_session_config_entry("session.x64quantprecision", "1")
        return onnxruntime.InferenceSession(
            str(self._folder / ONNX_FILE), options, providers=["CPUExecutionProvider"]
        )

    @cached_property
    def _encode(self) -> Callable[[str], list[int]]:
        return tokenize(self._folder / TOKENIZER_FILE)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts: float32, shape (texts, dim), unit length."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _CHUNK):
            tokens = [self._encode(text) for text in texts[start : start + _CHUNK]]
            for rows in _batches(np.array([len(t) for t in tokens])):
                ids = np.array([tokens[row] for row in rows], np.int64)
                (states,) = self._session.run(None, {"input_ids": ids})
                vectors[start + rows] = pool(states, self._facts.pooling)
        return vectors


def _multiplies_bytes_exactly() -> bool:
    """Whether the CPU has VNNI: older ones saturate sums of byte products unless told not to."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _batches(lengths: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of one length, so that nothing is padded, in batches of about `_BATCH_TOKENS`."""
    order = np.argsort(lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        step = max(1, _BATCH_TOKENS // int(lengths[same[0]])) if len(same) else 1
        for start in range(0, len(same), step):
            yield same[start : start + step]


class EmbeddingCache:
    """Vectors of templates seen before, on disk: append-only, many readers and writers at once.

    One SQLite file per model digest. Keys are hashes of templates, so no text lies here; vectors
    are kept as they came, float32, so that a cached one equals a fresh one bit for bit.
    """

    def __init__(self, home: Path) -> None:
        """Keep vectors under `home`/embedding."""
        self._folder = home / "embedding"

    def vectors(self, templates: Sequence[str], open_embedder: Callable[[], Embedder]) -> Vectors:
        """Look templates up; embed, and remember, those never seen.

        Args:
            templates: any order, repeats allowed.
            open_embedder: such as `lambda: Embedder.open(model, home)`; called once.

        Returns:
            float32, shape (templates, dim), unit length.

        Raises:
            BusyError: others kept the file locked for a minute.
            InputError: the file is damaged.
        """
        embedder = open_embedder()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"vectors-{embedder.digest}.db"
        texts = {_key(text): text for text in templates}
        rows = {key: row for row, key in enumerate(texts)}
        found = np.empty((len(rows), embedder.dim), np.float32)
        try:
            with closing(_connect(path)) as connection:
                unseen = dict(rows)
                for key, blob in _stored(connection, list(rows)):
                    found[rows[key]] = np.frombuffer(blob, np.float32)
                    del unseen[key]
                keys = list(unseen)
                for start in range(0, len(keys), _KEPT):
                    some = keys[start : start + _KEPT]
                    fresh = embedder.embed([texts[key] for key in some])
                    found[[rows[key] for key in some]] = fresh
                    _store(connection, some, fresh)
        except sqlite3.OperationalError as error:
            raise BusyError(f"{path}: {error}: another process writes to it, try again") from None
        except sqlite3.Error as error:
            raise InputError(f"{path}: {error}: delete the file, it is made again") from None
        return found[[rows[_key(text)] for text in templates]]


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _connect(path: Path) -> sqlite3.Connection:
    # No write-ahead log: turning it on is not safe while others connect, and commits are few.
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'vector'").fetchone():
        connection.execute("BEGIN IMMEDIATE")  # It alone waits its turn; a plain write may not.
        connection.execute(
            "CREATE TABLE IF NOT EXISTS vector (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
        )
        connection.execute("COMMIT")
    return connection


def _stored(connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(keys), _CHUNK):
        some = keys[start : start + _CHUNK]
        marks = ", ".join("?" * len(some))
        yield from connection.execute(
            f"SELECT key, vector FROM vector WHERE key IN ({marks})", some
        )


def _store(connection: sqlite3.Connection, keys: Sequence[bytes], vectors: Vectors) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT OR IGNORE INTO vector VALUES (?, ?)",
        ((key, vector.tobytes()) for key, vector in zip(keys, vectors, strict=True)),
    )
    connection.execute("COMMIT")
