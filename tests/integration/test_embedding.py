"""Embedding for real: the bundled model and small ones, held against sentence-transformers."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisegate.errors import InputError, MissingError
from noisegate.model.embed import Embedder, EmbeddingCache
from noisegate.model.onnx_export import export
from noisegate.model.onnx_model import (
    BUNDLED_MODEL,
    ModelFacts,
    find_model,
    make_onnx,
    source_digest,
)

# The exporter's and the libraries' own, which say nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore")

MIN_COSINE = 0.995

TEXTS = [
    "node memory pressure: free memory on node-* fell to * of the total.",
    "api latency high: the slowest hundredth of requests to * takes *.",
    "Database Replica Broken: replication of billing-db stopped after error 1062.",
    "certificate of * runs out in *",
    "Pod payments/checkout-api-* (api) is in waiting state (reason: CrashLoopBackOff).",
    "TargetDown: 25% of the job/exporter targets in monitoring namespace are down.",
    "Prometheus failed to evaluate 3 rules in the last 5m.",
    "down 404",
    "degraded",
    "*",
    "deadlock",
    "Watchdog",
    "",
    "voltage 11.8 V",
    "ORA-00600 internal error code, arguments: [ksm]",
    "Störung im Rechenzentrum, Kühlung ausgefallen",
    "磁盘已满",
    "kernel: BUG: soft lockup - CPU#3 stuck for 23s! [kworker/3:1:19] " * 40,
    "MIB-2 ifOperStatus.10101 = down(2) <IPV4> <EMAIL>",
    "backup of * took * instead of *; exit code *; see runbook",
    "interface eth* is flapping",
    "queue no consumer: no consumer reads the queue of *; * messages wait.",
]


@pytest.fixture(scope="session")
def embedding_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One NOISEGATE_HOME for all workers of a run: the bundled model is exported once."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "embedding-home"


@pytest.fixture(scope="session")
def bundled(embedding_home: Path) -> Embedder:
    return Embedder.open(BUNDLED_MODEL, embedding_home)


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., Path]:
    """Makes a small random sentence-transformers model: its folder."""

    def make(*extra: Any, pooling: str = "mean", max_tokens: int = 64) -> Path:
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling
        from transformers import AutoTokenizer, BertConfig, BertModel

        torch.manual_seed(1)
        inner = tmp_path / "inner"
        config = BertConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
        BertModel(config).save_pretrained(inner)
        AutoTokenizer.from_pretrained(find_model(BUNDLED_MODEL)).save_pretrained(inner)
        transformer = Transformer(str(inner), max_seq_length=max_tokens)
        modules = [transformer, Pooling(32, pooling_mode=pooling), *(extra or (Normalize(),))]
        SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "tiny"))
        return tmp_path / "tiny"

    return make


def exported(model: Path, folder: Path) -> Embedder:
    """What `Embedder.open` does, without a process of its own."""
    folder.mkdir()
    export(model, folder)
    return Embedder(folder)


def cosines(model: Path, embedder: Embedder, texts: Sequence[str]) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(model), device="cpu").encode(
        list(texts), normalize_embeddings=True
    )
    return np.asarray((reference * embedder.embed(texts)).sum(axis=1))


def test_the_bundled_model_says_what_pytorch_says(bundled: Embedder) -> None:
    vectors = bundled.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), bundled.dim) == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert cosines(find_model(BUNDLED_MODEL), bundled, TEXTS).min() >= MIN_COSINE


def test_real_alert_rules_are_embedded_as_pytorch_does(bundled: Embedder) -> None:
    root = Path(__file__).parents[2]
    data = Path(os.environ.get("NOISEGATE_DATA_DIR", root.parent / "shared" / "data"))
    rules = data / "prometheus-rules" / "awesome-rules.yml"
    if not rules.exists():
        pytest.skip(f"no alert rules at {rules}: set NOISEGATE_DATA_DIR")
    lines = rules.read_text().splitlines()
    texts = [line.split(":", 1)[1].strip(' "') for line in lines if " description:" in line]
    assert len(texts) > 500
    assert cosines(find_model(BUNDLED_MODEL), bundled, texts[::8]).min() >= MIN_COSINE


def test_a_vector_depends_on_its_text_alone(bundled: Embedder) -> None:
    together = bundled.embed(TEXTS)
    alone = np.concatenate([bundled.embed([text]) for text in TEXTS])
    assert np.array_equal(together, alone)
    assert np.array_equal(
        bundled.embed(TEXTS[::-1] + TEXTS[:5]), alone[[*range(21, -1, -1), 0, 1, 2, 3, 4]]
    )


def test_threads_change_no_bit(bundled: Embedder, embedding_home: Path) -> None:
    two = Embedder.open(BUNDLED_MODEL, embedding_home, threads=2)
    assert np.array_equal(two.embed(TEXTS), bundled.embed(TEXTS))


def test_nothing_to_embed(bundled: Embedder) -> None:
    assert bundled.embed([]).shape == (0, 384)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens"])
def test_pooling_is_the_model_s_own(
    pooling: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = tiny_model(pooling=pooling, max_tokens=16)
    embedder = exported(model, tmp_path / "export")
    assert embedder.dim == 32
    assert cosines(model, embedder, TEXTS).min() >= MIN_COSINE


def test_a_model_that_does_not_normalise_gives_unit_vectors_all_the_same(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = tiny_model()
    modules = model / "modules.json"
    modules.write_text(modules.read_text().split(',\n  {\n    "idx": 2')[0] + "\n]")
    vectors = exported(model, tmp_path / "export").embed(TEXTS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_module_that_is_not_supported_is_named(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from sentence_transformers.base.modules import Dense

    with pytest.raises(InputError, match=r"module Dense is not supported"):
        Embedder.open(str(tiny_model(Dense(32, 8))), tmp_path / "home")
    assert [path.name for path in (tmp_path / "home" / "embedding").iterdir()] == []


def test_a_pooling_that_is_not_supported_is_named(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"pooling weightedmean is not supported"):
        exported(tiny_model(pooling="weightedmean"), tmp_path / "export")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"nothing cannot be exported: .*tokenizer\.json"):
        Embedder.open(str(tmp_path / "nothing"), tmp_path / "home")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"embedding_model = .*/gone: no such folder"):
        Embedder.open(str(tmp_path / "gone"), tmp_path / "home")


def test_a_changed_file_changes_the_digest_and_others_do_not(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = source_digest(tmp_path)
    (tmp_path / "README.md").write_text("words")
    (tmp_path / ".cache.json").write_text("{}")
    assert source_digest(tmp_path) == before
    (tmp_path / "config.json").write_text("{ }")
    assert source_digest(tmp_path) != before


def test_two_exports_at_once_leave_one(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    model = tiny_model()
    with ThreadPoolExecutor(2) as pool:  # Each export is a process of its own.
        folders = list(pool.map(lambda _: make_onnx(model, tmp_path / "made"), range(2)))
    assert folders[0] == folders[1]
    assert list((tmp_path / "made").iterdir()) == folders[:1]
    assert ModelFacts.read(folders[0]).cosine >= MIN_COSINE


def test_a_damaged_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text("{")
    with pytest.raises(MissingError, match="delete the folder"):
        Embedder(tmp_path)


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pytorch_never_enters_the_process(bundled: Embedder, embedding_home: Path) -> None:
    heavy = ("torch", "transformers", "sentence_transformers", "onnx", "huggingface_hub")
    code = (
        "import sys; from pathlib import Path; from noisegate.model.embed import Embedder; "
        f"Embedder.open({BUNDLED_MODEL!r}, Path({str(embedding_home)!r})).embed(['disk full']); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert python(code).strip() == "[]"


def test_a_hub_name_without_the_hub_says_so(tmp_path: Path) -> None:
    code = (
        "from noisegate.errors import UnreachableError\n"
        "from noisegate.model.onnx_model import find_model\n"
        "try: find_model('nobody/nothing')\n"
        "except UnreachableError as error: print(error)"
    )
    told = python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert told.startswith("embedding_model = nobody/nothing: neither here nor to be had")


def test_faiss_onnx_runtime_lightgbm_and_pytorch_live_in_one_process(
    bundled: Embedder, embedding_home: Path
) -> None:
    code = f"""
import numpy as np, lightgbm, faiss, torch
from pathlib import Path
from noisegate.model.embed import Embedder
from noisegate.model.neighbours import causal_neighbours
embedder = Embedder.open({BUNDLED_MODEL!r}, Path({str(embedding_home)!r}), threads=2)
for _ in range(2):
    vectors = embedder.embed([f"disk {{i}} full" * (i % 5 + 1) for i in range(40)])
    causal_neighbours(vectors, 3, 0.0, threads=2)
    torch.nn.Linear(384, 384)(torch.from_numpy(vectors)).sum().backward()
    data = lightgbm.Dataset(vectors, np.arange(40) % 2)
    lightgbm.train(dict(num_threads=2, verbose=-1, min_data_in_leaf=2), data, 3)
print("fine")
"""
    assert python(code).strip() == "fine"


def test_templates_seen_before_are_not_embedded_again(
    bundled: Embedder, embedding_home: Path, tmp_path: Path
) -> None:
    cache = EmbeddingCache(tmp_path)
    fresh = cache.vectors(TEXTS, lambda: bundled)
    again = Embedder.open(BUNDLED_MODEL, embedding_home)
    mixed = [*TEXTS[::-1], TEXTS[0], TEXTS[0]]
    cached = cache.vectors(mixed, lambda: again)
    assert "_session" not in vars(again), "it loaded the model for texts that it knew"
    assert np.array_equal(fresh, bundled.embed(TEXTS))
    assert np.array_equal(cached, bundled.embed(mixed))
    assert cache.vectors([], lambda: again).shape == (0, 384)


def test_the_cache_keeps_no_text(bundled: Embedder, tmp_path: Path) -> None:
    EmbeddingCache(tmp_path).vectors(["quixotic zeppelin"], lambda: bundled)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "embedding").iterdir())
    assert b"quixotic" not in kept


def test_many_may_read_and_write_at_once(bundled: Embedder, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    shares = [TEXTS[i:] + TEXTS[:i] for i in range(0, 22, 3)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda share: cache.vectors(share, lambda: bundled), shares))
    for share, vectors in zip(shares, made, strict=True):
        assert np.array_equal(vectors, bundled.embed(share))


def test_a_damaged_cache_names_its_file(bundled: Embedder, tmp_path: Path) -> None:
    (tmp_path / "embedding").mkdir()
    (tmp_path / "embedding" / f"vectors-{bundled.digest}.db").write_bytes(b"not a database" * 99)
    with pytest.raises(InputError, match=r"vectors-\w+-\w+\.db: .*delete the file"):
        EmbeddingCache(tmp_path).vectors(["disk full"], lambda: bundled)
