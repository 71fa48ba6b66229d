"""Embedding: texts a second beside sentence-transformers on PyTorch, on the same cores, in one run.

    python benchmarks/embedding.py [--texts N] [--rounds N] [--home FOLDER] [--json]

The texts are the templates of a simulated history, each once. Rounds of all candidates take turns,
and the best of each counts, so that a busy machine hurts them alike.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisegate.model.embed import Embedder, EmbeddingCache, alert_text, template
from noisegate.model.onnx_model import BUNDLED_MODEL, find_model
from noisegate.simulate import SimulationPlan, simulate

os.environ["HF_HUB_OFFLINE"] = "1"


def templates(count: int) -> list[str]:
    alerts = pa.Table.from_batches(list(simulate(SimulationPlan(alerts=20_000))))
    columns = (alerts[name].combine_chunks() for name in ("name", "message", "service"))
    return list(pc.unique(template(alert_text(*columns))).to_pylist()[:count])


def texts_per_second(
    candidates: dict[str, Callable[[], object]], count: int, rounds: int
) -> dict[str, float]:
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: count / seconds for name, seconds in best.items()}


def one_by_one_ms(embedder: Embedder, texts: Sequence[str]) -> list[float]:
    times = []
    for text in texts:
        start = time.perf_counter()
        embedder.embed([text])
        times.append(1_000 * (time.perf_counter() - start))
    return times


def measure(count: int, rounds: int, home: Path) -> dict[str, float]:
    import torch
    from sentence_transformers import SentenceTransformer

    texts = templates(count)
    cores = len(os.sched_getaffinity(0))
    ours = {n: Embedder.open(BUNDLED_MODEL, home, threads=n) for n in sorted({1, cores})}
    reference = SentenceTransformer(str(find_model(BUNDLED_MODEL)), device="cpu")

    def pytorch(threads: int) -> np.ndarray:
        torch.set_num_threads(threads)
        return np.asarray(reference.encode(texts, normalize_embeddings=True))

    cache = EmbeddingCache(home)
    cosine = (pytorch(cores) * cache.vectors(texts, lambda: ours[1])).sum(axis=1)  # warms both up
    candidates: dict[str, Callable[[], object]] = {
        "seen before": lambda: cache.vectors(texts, lambda: ours[1])
    }
    for n, embedder in ours.items():
        embedder.embed(texts[:32])
        candidates[f"sentence-transformers, {n} threads"] = lambda n=n: pytorch(n)
        candidates[f"noisegate, {n} threads"] = lambda e=embedder: e.embed(texts)
    speeds = texts_per_second(candidates, len(texts), rounds)
    alone = one_by_one_ms(ours[1], texts[: 100 * rounds])
    return {
        "texts": len(texts),
        **{f"texts/s: {name}": speed for name, speed in speeds.items()},
        **{
            f"times faster, {n} threads": speeds[f"noisegate, {n} threads"]
            / speeds[f"sentence-transformers, {n} threads"]
            for n in ours
        },
        "cosine to PyTorch, least": float(cosine.min()),
        "cosine to PyTorch, mean": float(cosine.mean()),
        "one text, P50, ms": float(np.percentile(alone, 50)),
        "one text, P99, ms": float(np.percentile(alone, 99)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=512, help="distinct templates")
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts")
    parser.add_argument("--home", type=Path, help="where the exported model is kept")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(options.texts, options.rounds, options.home or Path(scratch))
    if options.json:
        print(json.dumps(figures))
        return
    width = max(map(len, figures))
    for name, figure in figures.items():
        print(
            f"{name:{width}}  {figure:>12,.{4 if 'cosine' in name else 2 if figure < 100 else 0}f}"
        )


if __name__ == "__main__":
    main()
