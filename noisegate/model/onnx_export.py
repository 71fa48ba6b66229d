"""Exports a sentence-transformers model to ONNX, in a process of its own: PyTorch is only here.

python -m noisegate.model.onnx_export MODEL_FOLDER EMPTY_FOLDER
"""

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisegate.errors import InputError, NoisegateError
from noisegate.model.onnx_int8 import quantise
from noisegate.model.onnx_model import (
    ONNX_FILE,
    POOLINGS,
    TOKENIZER_FILE,
    ModelFacts,
    Precision,
    pool,
    source_digest,
    tokenize,
)

MIN_COSINE = 0.995
"""Of a vector to PyTorch's: below it on any sample text, int8 is not used."""

_SAMPLE = (
    "kube pod crash looping: pod payments/checkout-* (api) is in waiting state",
    "disk full",
    "host out of memory: node memory is filling up (< * left)",
    "high cpu load on *",
    "http *xx error rate is high for checkout",
    "tls certificate for * expires in *",
    "kafka consumer group lag is growing on topic orders",
    "postgresql replication lag exceeds *",
    "target missing: * of the node exporter targets have disappeared",
    "ping timeout",
    "backup job failed with exit code *",
    "latency high: p99 latency of the api gateway is above its objective",
    "redis missing master",
    "interface eth* is reporting receive errors in the last *",
    "deadlock detected in the database",
    "ceph osd down: one osd of cluster * is down, data is being rebalanced",
    "etcd members down: etcd cluster * members are down (*)",
    "prometheus rule evaluation failures, leading to potentially ignored alerts",
    "*",
    "voltage out of range",
)
"""Texts on which activations are measured and the export is held against PyTorch."""

_MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a sentence-transformers folder asks for."""

    transformer: Path
    pooling: str
    max_tokens: int


def export(model: Path, target: Path) -> ModelFacts:
    """Write the ONNX form, tokenizer and facts of a model into a folder.

    Raises:
        InputError: a part of the model is not supported, or ONNX does not reproduce PyTorch.
    """
    layout = _read_layout(model)
    _write_tokenizer(layout, target / TOKENIZER_FILE)
    encode = tokenize(target / TOKENIZER_FILE)
    tokens = [np.array([encode(text)], np.int64) for text in _SAMPLE]
    reference = _export_float(layout, tokens, target / ONNX_FILE)
    cosine = _smallest_cosine(target / ONNX_FILE, tokens, layout, reference)
    if cosine < MIN_COSINE:
        raise InputError(f"its ONNX form differs from PyTorch (cosine {cosine:.4f})")
    quantised = target / "int8.onnx"
    quantise(target / ONNX_FILE, quantised, tokens)
    precision: Precision = "float32"
    in_int8 = _smallest_cosine(quantised, tokens, layout, reference)
    if in_int8 >= MIN_COSINE:
        precision, cosine = "int8", in_int8
        quantised.replace(target / ONNX_FILE)
    quantised.unlink(missing_ok=True)
    digest = f"{source_digest(model)}-{precision}"
    facts = ModelFacts(digest, reference.shape[1], layout.pooling, precision, cosine)
    facts.write(target)
    return facts


def _read_layout(model: Path) -> _Layout:
    modules = _json(model / "modules.json") or [{"type": "Transformer", "path": ""}]
    names = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    for name in names:
        if name not in _MODULES:
            raise InputError(f"its module {name} is not supported (only {', '.join(_MODULES)})")
    if names[0] != "Transformer" or names.count("Transformer") != 1 or names.count("Pooling") > 1:
        raise InputError(f"its modules {', '.join(names)} are not in an order that is supported")
    paths = dict(zip(names, (model / module["path"] for module in modules), strict=True))
    _refuse_prompt(model)
    transformer = paths["Transformer"]
    pooling = _pooling(paths["Pooling"]) if "Pooling" in paths else "mean"
    return _Layout(transformer, pooling, _max_tokens(transformer))


def _refuse_prompt(model: Path) -> None:
    config = _json(model / "config_sentence_transformers.json") or {}
    name = config.get("default_prompt_name")
    if name and (config.get("prompts") or {}).get(name):
        raise InputError(f"its default prompt {name!r} is not supported")


def _pooling(folder: Path) -> str:
    config = _json(folder / "config.json") or {}
    asked = config.get("pooling_mode") or [
        key.removeprefix("pooling_mode_").removesuffix("_tokens" if "sqrt" not in key else "")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value is True
    ]
    modes = [asked] if isinstance(asked, str) else list(asked)
    names = [{"cls_token": "cls"}.get(mode, mode) for mode in modes]
    if len(names) != 1 or names[0] not in POOLINGS:
        raise InputError(f"its pooling {'+'.join(names) or 'none'} is not supported")
    return names[0]


def _max_tokens(transformer: Path) -> int:
    for path in sorted(transformer.glob("sentence_*_config.json")):
        asked = (_json(path) or {}).get("max_seq_length")
        if asked:
            return int(asked)
    limits = (
        (_json(transformer / "config.json") or {}).get("max_position_embeddings"),
        (_json(transformer / "tokenizer_config.json") or {}).get("model_max_length"),
    )
    return min(int(limit) for limit in (*limits, 512) if limit)


def _write_tokenizer(layout: _Layout, target: Path) -> None:
    from tokenizers import Tokenizer, normalizers

    path = layout.transformer / "tokenizer.json"
    if not path.exists():
        raise InputError("it has no tokenizer.json (save it with a fast tokenizer first)")
    tokenizer = Tokenizer.from_file(str(path))
    config = _json(layout.transformer / "sentence_bert_config.json") or {}
    if config.get("do_lower_case"):
        old = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *old])
    tokenizer.no_padding()
    tokenizer.enable_truncation(layout.max_tokens)
    tokenizer.save(str(target))


def _export_float(
    layout: _Layout, tokens: Sequence[npt.NDArray[np.int64]], target: Path
) -> npt.NDArray[np.float32]:
    """Export in float32; give the vectors that PyTorch makes of the sample."""
    import torch
    from transformers import AutoModel

    class States(torch.nn.Module):
        """Token vectors of unpadded texts: without a mask the graph is half as large."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, input_ids: Any) -> Any:
            return self.inner(input_ids=input_ids, return_dict=False)[0]

    try:
        inner = AutoModel.from_pretrained(
            str(layout.transformer), attn_implementation="eager", dtype=torch.float32
        )
        states = States(inner).eval()
        with torch.no_grad():
            # The exporter of the traced graph: the other takes 7 s longer, for the same graph.
            torch.onnx.export(
                states,
                (torch.ones(2, 7, dtype=torch.long),),
                str(target),
                input_names=["input_ids"],
                output_names=["states"],
                dynamic_axes={
                    "input_ids": {0: "text", 1: "token"},
                    "states": {0: "text", 1: "token"},
                },
                opset_version=18,
                dynamo=False,
            )
            vectors = [pool(states(torch.from_numpy(t)).numpy(), layout.pooling) for t in tokens]
    except Exception as error:  # whatever an architecture that nobody tried may raise
        raise InputError(
            f"PyTorch: {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    return np.concatenate(vectors)


def _smallest_cosine(
    path: Path,
    tokens: Sequence[npt.NDArray[np.int64]],
    layout: _Layout,
    reference: npt.NDArray[np.float32],
) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    vectors = [pool(session.run(None, {"input_ids": t})[0], layout.pooling) for t in tokens]
    return float(np.einsum("ij,ij->i", np.concatenate(vectors), reference).min())


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8")) if path.exists() else None


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    try:
        export(Path(sys.argv[1]), Path(sys.argv[2]))
    except NoisegateError as fault:
        sys.exit(str(fault))
