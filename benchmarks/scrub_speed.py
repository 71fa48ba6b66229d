"""Speed of the scrubber beside Presidio, plain `re` and a memory scan, and on slow lines.

    python -m benchmarks.scrub_speed [--quick] [--rows N] [--sample N] [--rounds N] [--units N]

Processor time of one core, the best of some rounds that take turns, so that a busy machine hurts
all alike. Three sets of texts: simulated alerts (`noisegate simulate`; service, name, message and
each label a column, as the import scrubs them), mixed texts made here (one in seven repeated, three
in ten with personal data or a secret, all of it invented), and the texts under the shared data
(`NOISEGATE_DATA_DIR`). "Cold" is a new scrubber, "again" the same one on the same texts.

Presidio is its seven pattern recognisers of our entities, without a language model. Plain `re` is
one pass for each of our patterns, without anchors or checks. Both are slow: they see a random
sample of the alerts, every value of each, and their time is that for all.

Slow lines repeat a unit: those below, and units drawn from the rules' own examples.
"""

import argparse
import gzip
import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from benchmarks.presidio import presidio
from benchmarks.slo_queries import table
from benchmarks.steps import measured
from noisegate.scrub import Scrubber
from noisegate.scrub.rules import RULES

DATA = Path(os.environ.get("NOISEGATE_DATA_DIR") or Path(__file__).parents[2] / "shared" / "data")
SEED = 7
ENGINES = {"ours": False, "ours, Hyperscan": True}
LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
UNITS = [
    "a@", "1.", "a.a@a.", "::", "a1:", "0a-", "1::2:", "0", "0000 ", "4111-1111-", "+1(", "(4",
    "GB29 ", "http://a:", "://", "://_://key", "password=", "password:'", "password:0", "key",
    "=uth", "cret=-/", 'token\\":\\"', "eyJa.", "eyJ", "-----BEGIN RSA PRIV" + "ATE KEY-----",
    "bearer ", "basic ", "user ", "user=", "/home/", " for user ", "] a - 1.1.1.1 ", "phone 1 ",
    "ssn ", "cookie: a=", "mysql -u a ", "\\", "\\njane@x", "%25", "%40a%2e", "\x1b[", "\uff11.",
    "\ud800@", "\"'", "a1b2c3d4e5f6g7h8-", " ", "<EMAIL>.", "é@", "user=a\r\n", "\\u0041@",
]  # fmt: skip

# Made-up texts. In braces: what stands there.

TEMPLATES = (
    "[FIRING:1] {service} error rate is {number} % over the last 5 minutes (limit 1 %) at {time}",
    "CRITICAL Pod {namespace}/{pod} has been restarting {number} times / 10 minutes, see {url}",
    "High request latency on {host}: P99 is {number} seconds for job {service} in {namespace}",
    "{time} {host} kernel: Out of memory: Killed process {number} ({service}) total-vm:8241764kB",
    "Disk usage of /dev/nvme0n1p1 on {host} is {number} % and grows by {number} MB/h since {time}",
    "warn PersistentVolumeClaim data-{pod} in {namespace} is expected to fill up within four days",
    '{"level":"error","ts":"{time}","trace":"{uuid}","msg":"deadline exceeded","by":"{service}"}',
    '{time} level=warn component={service} revision={hash} msg="retry 3 of 5" took={number}s',
    "Deployment {namespace}/{service} has not matched the expected number of replicas for 15m",
    "Kafka lag of group {service} on topic {namespace}.events.v2 is {number}, partition 12, {host}",
    "Certificate of {host}:443 expires in {number} days; issuer CN=internal-ca, serial {hash}",
    "arn:aws:rds:eu-west-1:123456789012:db:{service} CPU {number} % (baseline {number} %) {time}",
    "postgres {host} replication lag {number}s, slot {uuid}, timeline 7, lsn 3F/A81C2B00, {time}",
    "HTTP probe of {url} failed: status 503 after {number} ms, 3 attempts, from {host} at {time}",
    "etcd member {hash} on {host}: leader changed {number} times, apply took {number} ms",
)  # fmt: skip
PERSONAL = (
    "from {a}.{b}.{c}.{d}:9100", "user=u{n}x", "mail to jane{n}@example.com", "password=Zx{n}q{a}",
    "call +1 (415) 555-0{h}", "2001:db8::{h}:1", "mac 00:16:3e:{x}:{x}:{x}",
    "postgres://app{n}:s{n}T{a}@db.internal/x", "card 4111 1111 1111 1111", "/home/u{n}x/.ssh",
    "Authorization: Bearer aB{n}cD{n}eF{n}", "Invalid user u{n}x from {a}.{b}.{c}.{d} port 22",
)  # fmt: skip


def mixed(rows: int) -> list[str]:
    """Texts about 150 characters long, the same for the same number."""
    draw = random.Random(SEED)
    fields: dict[str, Callable[[], str]] = {
        "service": lambda: draw.choice(("checkout", "payments", "search-api", "node-exporter")),
        "namespace": lambda: draw.choice(("prod", "default", "kube-system", "monitoring")),
        "number": lambda: f"{draw.random() * 10 ** draw.randrange(1, 5):.2f}",
        "time": lambda: f"2026-0{draw.randrange(1, 10)}-1{draw.randrange(10)}T0"
        f"{draw.randrange(10)}:{draw.randrange(10, 60)}:{draw.randrange(10, 60)}Z",
        "host": lambda: f"ip-10-{draw.randrange(256)}-{draw.randrange(256)}.ec2.internal",
        "pod": lambda: f"checkout-{draw.randbytes(5).hex()[:9]}-{draw.randbytes(3).hex()[:5]}",
        "uuid": lambda: "-".join(draw.randbytes(n).hex() for n in (4, 2, 2, 2, 6)),
        "hash": lambda: draw.randbytes(20).hex(),
        "url": lambda: f"https://grafana.example.net/d/{draw.randbytes(5).hex()}?from=now-1h",
    }  # fmt: skip
    texts: list[str] = []
    while len(texts) < rows:
        text = re.sub(r"{(\w+)}", lambda m: fields[m[1]](), draw.choice(TEMPLATES))
        if draw.random() < 0.3:
            numbers = {letter: draw.randrange(1, 255) for letter in "abcd"}
            n, h, x = draw.randrange(10**6), draw.randrange(100, 1000), draw.randbytes(1).hex()
            text += " " + draw.choice(PERSONAL).format(**numbers, n=n, h=h, x=x)
        texts += [text] * (1 + (draw.random() < 0.16))
    return texts[:rows]


def simulated(rows: int) -> dict[str, pa.Array]:
    """The columns of simulated alerts that the import scrubs, each of shape (rows,)."""
    from noisegate.simulate import SimulationPlan, simulate
    from noisegate.store.prepare import labels_to_columns

    history = pa.Table.from_batches(simulate(SimulationPlan(alerts=rows, seed=SEED)))
    columns = {name: history[name].combine_chunks() for name in ("service", "name", "message")}
    return columns | labels_to_columns(history["labels"].combine_chunks())


def shared() -> list[str]:
    """Labelled texts of the shared data and lines of real alert rules."""
    texts: list[str] = []
    for path in sorted((DATA / "pii").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = map(json.loads, file)
            texts += [line.get("text") or line["input"] for line in lines]
    for path in sorted((DATA / "prometheus-rules").rglob("*.y*ml")):
        texts += filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines()))
    return texts


# Measuring


def best_s(work: Callable[[], object], rounds: int = 1) -> float:
    """The least processor time of some rounds, seconds."""
    took: list[float] = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def scrub_all(scrubber: Scrubber, columns: Iterable[pa.Array]) -> None:
    for column in columns:
        scrubber.column(column)


def line_s(line: str, fast: bool) -> float:
    """How long one line takes, by a scrubber that has not seen it, seconds."""
    one, other = Scrubber(fast=fast), Scrubber(fast=fast)
    return min(best_s(partial(one.texts, [line])), best_s(partial(other.texts, [line])))


def compare(name: str, columns: dict[str, pa.Array], sample: int, rounds: int) -> list[list[str]]:
    """One set of texts: a row of the table for each way to search it."""
    rows = len(next(iter(columns.values())))
    every = [text for c in columns.values() for text in c.drop_null().to_pylist()]
    size = sum(len(text.encode()) for text in every)
    joined = "\n".join(every).encode()
    few = pa.table(columns).take(random.Random(SEED).sample(range(rows), min(sample, rows)))
    values = [text for column in few.columns for text in column.drop_null().to_pylist()]
    share = few.num_rows / rows
    find, patterns = presidio(), [re.compile(rule.pattern) for rule in RULES]
    list(map(find, values[:20]))  # its first texts load tables

    took: dict[str, float] = {}
    for _ in range(rounds):
        turn: dict[str, float] = {}
        for engine, fast in ENGINES.items():
            scrubber = Scrubber(fast=fast)
            work = partial(scrub_all, scrubber, columns.values())
            turn[f"{engine}, cold"], turn[f"{engine}, again"] = best_s(work), best_s(work)
        turn["Presidio"] = best_s(lambda: list(map(find, values))) / share
        turn["memory scan"] = best_s(lambda: joined.count(b"\xff"), 3)
        took = {way: min(seconds, took.get(way, seconds)) for way, seconds in turn.items()}
    few_values = values[: max(1, len(values) // 5)]
    took["plain re"] = (
        best_s(lambda: [len(p.findall(text)) for text in few_values for p in patterns])
        / share * len(values) / len(few_values)
    )  # fmt: skip
    return [
        [name, way, f"{seconds:.3f} s", f"{size / seconds / 1e6:,.1f}", f"{rows / seconds:,.0f}",
         f"{took['Presidio'] / seconds:,.1f}"]
        for way, seconds in sorted(took.items(), key=lambda item: item[1])
    ]  # fmt: skip


def units(count: int) -> Iterator[str]:
    """What slow lines repeat: known units, and pieces of the rules' examples joined by signs."""
    yield from UNITS
    draw = random.Random(SEED)
    examples = [t.translate({ord("⟦"): None, ord("⟧"): None}) for r in RULES
                for t in r.examples + r.counter_examples]  # fmt: skip
    signs = ["", " ", "@", ".", ":", "-", "=", '"', "\\", "/", "%40", "\n", "\r\n", "\u200b", "é"]
    for _ in range(count):
        example, length = draw.choice(examples), draw.randrange(1, 16)
        first = draw.randrange(max(1, len(example) - length))
        yield example[first : first + length] + draw.choice(signs)


def slowest(count: int, shown: int) -> list[list[str]]:
    """The units whose lines of 10 kB cost most, with their time at all lengths, both engines."""
    costs = [(line_s(unit * (10_000 // len(unit)), fast=False), unit) for unit in units(count)]
    rows: list[list[str]] = []
    for _, unit in sorted(costs, reverse=True)[:shown]:
        for engine, fast in ENGINES.items():
            times = [line_s(unit * (length // len(unit)), fast) for length in LENGTHS]
            per_byte_us = 1e6 * times[-1] / LENGTHS[-1]
            rows.append(
                [ascii(unit), engine, *(f"{1e3 * t:.1f}" for t in times), f"{per_byte_us:.2f}"]
            )
    return rows


def peak_mb(rows: int, fast: bool) -> float:
    """The most memory that scrubbing mixed texts takes over what was held before it, MB."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scrub_speed",
        "--peak",
        str(int(fast)),
        "--rows",
        str(rows),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def print_peak(rows: int, fast: bool) -> None:
    column = pa.array(mixed(rows), pa.string())
    Scrubber(fast=fast).texts(["at 10.0.0.1"])
    with measured() as facts:
        Scrubber(fast=fast).column(column)
    print(facts["peak_mb"])


def main(options: argparse.Namespace) -> None:
    print(
        f"Python {platform.python_version()}, {platform.machine()}, one core; {len(RULES)} rules\n"
    )
    sets: dict[str, dict[str, pa.Array]] = {
        f"{options.rows:,} simulated alerts": simulated(options.rows),
        f"{options.rows:,} mixed texts": {"text": pa.array(mixed(options.rows), pa.string())},
    }
    if texts := shared():
        sets[f"{len(texts):,} real texts"] = {"text": pa.array(texts, pa.string())}
    else:
        print(f"No real texts: nothing at {DATA}; set NOISEGATE_DATA_DIR\n")
    lines: list[list[str]] = []
    for name, columns in sets.items():
        lines += compare(name, columns, options.sample, options.rounds)
    table(["texts", "by", "time", "MB/s", "alerts/s", "x Presidio"], lines)
    print()
    for engine, fast in ENGINES.items():
        print(f"Peak memory over the texts, {engine}: {peak_mb(options.rows, fast):.0f} MB")
    print()
    head = ["line of", "by", *(f"{n // 1000:,} kB, ms" for n in LENGTHS), "us/byte"]
    table(head, slowest(options.units, options.shown))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrub_speed")
    parser.add_argument("--quick", action="store_true", help="small: a minute")
    parser.add_argument("--rows", type=int, help="alerts and mixed texts (100,000)")
    parser.add_argument("--sample", type=int, help="alerts that Presidio and re see (1,000)")
    parser.add_argument("--rounds", type=int, help="rounds, of which the best counts (4)")
    parser.add_argument("--units", type=int, help="units drawn from the rules' examples (400)")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    usual = {"rows": 10_000, "sample": 150, "rounds": 2, "units": 40, "shown": 4}
    if not options.quick:
        usual = {"rows": 100_000, "sample": 1_000, "rounds": 4, "units": 400, "shown": 12}
    for name, value in usual.items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    return options


if __name__ == "__main__":
    chosen = parsed(sys.argv[1:])
    if chosen.peak is None:
        main(chosen)
    else:
        print_peak(chosen.rows, bool(chosen.peak))
