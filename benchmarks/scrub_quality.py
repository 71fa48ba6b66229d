"""How well the scrubber finds: recall, precision and F1 by entity, beside Presidio in the same run.

    python -m benchmarks.scrub_quality [FILE ...]

Labelled texts come from the shared data (`NOISEGATE_DATA_DIR`), or from files of the same form:
JSON lines {"text", "spans": [[start, end, TYPE]], "other": [[start, end, type]], "complete": bool}.
A span counts as found when every character of it is covered by a find of any kind, as a find counts
as right when it touches a label of any kind; precision is taken on texts of which all is labelled.
Intervals are Wilson's, 95 %.
"""

import gzip
import ipaddress
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.presidio import Found, presidio
from benchmarks.slo_queries import table
from noisegate.scrub import Entity, Scrubber
from noisegate.scrub.user_rules import SYSTEM_ACCOUNTS

DATA = Path(os.environ.get("NOISEGATE_DATA_DIR") or Path(__file__).parents[2] / "shared" / "data")
NOT_WHOLLY_LABELLED = "pii_anon_technology"  # whatever it says: most of its MACs are unlabelled
GOALS = {
    "EMAIL": 0.995, "IPV4": 0.995, "MAC": 0.995, "IBAN": 0.995, "IPV6": 0.99, "CREDIT_CARD": 0.99,
    "SSN": 0.95, "PHONE": 0.95, "SECRET": 0.90, "USER": 0.85, "all": 0.97,
}  # fmt: skip
_SECRETS = {"PRIVATE_KEY", "JWT", "URL_CREDENTIALS", "AWS_KEY"}
_TOKEN = re.compile(rf"<({'|'.join(Entity)})>")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and what stands in it; `complete`: nothing else of ours stands there."""

    text: str
    spans: list[Found]
    other: list[tuple[int, int]]
    complete: bool


@dataclass(slots=True)
class Tally:
    """By entity: spans and those found, finds and those that are right; clean texts touched."""

    spans: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    finds: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    clean: int = 0
    touched: int = 0


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]]
    if not paths:
        if not (DATA / "pii").exists():
            raise SystemExit(f"no labelled texts at {DATA / 'pii'}: set NOISEGATE_DATA_DIR")
        paths = sorted((DATA / "pii").glob("*.jsonl.gz"))
    corpora = {path.name.split(".")[0]: list(read(path)) for path in paths}
    cases = corpora.get("cases", [])
    texts = [one for name, labelled in corpora.items() if name != "cases" for one in labelled]
    scrubber, peer = Scrubber(), presidio()

    def ours(text: str) -> list[Found]:
        return [(one.start, one.end, _kind(one.entity)) for one in scrubber.findings(text)]

    tools = {"noisegate": ours, "Presidio": peer}
    for what, some in (("labelled texts", texts), ("hard cases", cases)):
        if some:
            print(f"\n{len(some)} {what}\n")
            by_entity(some, tools)
    print("\nRecall and precision by corpus\n")
    by_corpus(corpora, tools)
    if len(sys.argv) == 1:
        print("\nOperational texts without anything personal\n")
        untouched(clean_texts(), tools)


def read(path: Path) -> Iterator[Labelled]:
    """Labelled texts of a file, or hard cases, whose labels are told by what must come out."""
    open_it = gzip.open if path.suffix == ".gz" else open
    with open_it(path, "rt", encoding="utf-8") as file:
        for line in map(json.loads, file):
            if "expect" in line:
                yield _case(line["input"], line["expect"])
                continue
            text = line["text"]
            spans = [(s, e, k) for s, e, k in line["spans"] if not _kept(_kind(k), text[s:e])]
            kept = [(s, e) for s, e, k in line["spans"] if _kept(_kind(k), text[s:e])]
            other = [(s, e) for s, e, _ in line.get("other", [])]
            complete = line.get("complete", True) and NOT_WHOLLY_LABELLED not in path.name
            yield Labelled(text, [(s, e, _kind(k)) for s, e, k in spans], other + kept, complete)


def _case(text: str, expected: str) -> Labelled:
    """Labels from the scrubbed text: what stands where its tokens stand."""
    parts = _TOKEN.split(expected)
    pattern = re.escape(parts[0])
    for rest in parts[2::2]:
        pattern += "(.+?)" + re.escape(rest)
    match = re.fullmatch(pattern, text, re.DOTALL)
    spans: list[Found] = []
    if match:
        spans = [
            (*match.span(n + 1), _kind(kind))
            for n, kind in enumerate(parts[1::2])
            if match[n + 1] != f"<{kind}>"  # a token of ours that stood there before
        ]
    return Labelled(text, spans, [], match is not None)


def _kind(entity: str) -> str:
    """Secrets are labelled as one kind."""
    return "SECRET" if entity in _SECRETS else str(entity)


def _kept(kind: str, value: str) -> bool:
    """Kept by policy: loopback and unspecified addresses, system accounts, no name at all."""
    if kind == "USER":
        return value.lower() in SYSTEM_ACCOUNTS or value == "-"
    if kind not in ("IPV4", "IPV6"):
        return False
    try:
        address = ipaddress.ip_address(value.partition("/")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or address.is_unspecified or bool(mapped and mapped.is_loopback)


def tally(texts: Iterable[Labelled], find: Callable[[str], list[Found]]) -> Tally:
    sums = Tally()
    for one in texts:
        finds = find(one.text)
        covered = bytearray(len(one.text))
        for start, end, _ in finds:
            covered[start:end] = b"\1" * (end - start)
        for start, end, kind in one.spans:
            sums.spans[kind] += 1
            sums.found[kind] += all(covered[start:end])
        if not one.complete:
            continue
        labels = [(start, end) for start, end, _ in one.spans] + one.other
        for start, end, kind in finds:
            sums.finds[kind] += 1
            sums.right[kind] += any(start < last and first < end for first, last in labels)
        if not labels:
            sums.clean += 1
            sums.touched += bool(finds)
    return sums


def by_entity(texts: list[Labelled], tools: dict[str, Callable[[str], list[Found]]]) -> None:
    sums = {name: tally(texts, find) for name, find in tools.items()}
    mine = sums["noisegate"]
    rows = []
    for kind in (*sorted(mine.spans), "all"):
        row = [kind, str(_sum(mine.spans, kind)), f"{GOALS[kind]:.3f}" if kind in GOALS else ""]
        for one in sums.values():
            recall = _share(_sum(one.found, kind), _sum(one.spans, kind))
            precision = _share(_sum(one.right, kind), _sum(one.finds, kind))
            row += [recall[1], precision[1], f"{_f1(recall[0], precision[0]):.4f}"]
        rows.append(row)
    head = ["entity", "spans", "goal"]
    table(
        head + [f"{name} {what}" for name in sums for what in ("recall", "precision", "F1")], rows
    )


def by_corpus(
    corpora: dict[str, list[Labelled]], tools: dict[str, Callable[[str], list[Found]]]
) -> None:
    rows = []
    for name, texts in corpora.items():
        row = [name, str(len(texts))]
        for find in tools.values():
            sums = tally(texts, find)
            row.append(_share(sums.found.total(), sums.spans.total())[1])
            row.append(_share(sums.right.total(), sums.finds.total())[1])
            row.append(f"{sums.touched} of {sums.clean}" if sums.clean else "-")
        rows.append(row)
    heads = [
        f"{name} {what}" for name in tools for what in ("recall", "precision", "clean touched")
    ]
    table(["corpus", "texts", *heads], rows)


def clean_texts() -> dict[str, list[str]]:
    """Operational texts that hold nothing of ours, as their authors wrote them."""
    rules = sorted((DATA / "prometheus-rules").rglob("*.y*ml"))
    return {
        "alert rules, by line": [
            line for path in rules for line in path.read_text(encoding="utf-8").splitlines() if line
        ]
    }


def untouched(
    corpora: dict[str, list[str]], tools: dict[str, Callable[[str], list[Found]]]
) -> None:
    rows = [
        [name, str(len(texts)), *(_share(sum(bool(find(t)) for t in texts), len(texts))[1]
                                  for find in tools.values())]
        for name, texts in corpora.items()
    ]  # fmt: skip
    table(["corpus", "texts", *(f"{name}: share touched" for name in tools)], rows)


def _sum(counter: Counter[str], kind: str) -> int:
    return counter.total() if kind == "all" else counter[kind]


def _share(part: int, whole: int) -> tuple[float, str]:
    """A share, and how it is shown: with Wilson's interval."""
    if not whole:
        return math.nan, "-"
    z = 1.96
    share = part / whole
    middle = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = (
        z * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
        / (1 + z * z / whole)
    )  # fmt: skip
    return share, f"{share:.4f} ({max(0, middle - half):.3f}-{min(1, middle + half):.3f})"


def _f1(recall: float, precision: float) -> float:
    if not recall or not precision:
        return 0.0
    return 2 * recall * precision / (recall + precision)


if __name__ == "__main__":
    main()
