"""The past of recording rules: evaluated by Prometheus itself over back-filled counters.

promtool evaluates one rule after the other over two hours each, sees none of what it records in the
same pass, and cannot know a series that reads what it was before. Here rules are evaluated level
by level: all that read only what is there, by range queries, which evaluate at each moment what a
rule would have; then blocks are made of it, and the next level sees them.

What another rule sums up (`sum_over_time`) is evaluated every minute, as it is live: each minute
counts. The others are evaluated as often as the past is to be seen.

A state (1 or 0) that reads itself is evaluated as it would be after a 0 and after a 1, at every
moment; then it is followed from moment to moment, as the rule does.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import promql_parser

from noisegate.errors import InputError
from observability.burn import Record
from observability.past_metrics import MINUTE_S, REPEAT_S, Span, number, write_samples
from observability.tsdb import Samples, Server, create_blocks, serving

AT_ONCE = 2
"""Queries that Prometheus answers at a time."""

MOST_STEPS = 3_000
"""Moments of one range query: Prometheus holds every one of every series in memory."""

Labelled = tuple[dict[str, str], Samples]
Known = Callable[[Record, range], Samples | None]


def _nothing_known(_record: Record, _times: range) -> Samples | None:
    return None


def levels(records: Sequence[Record]) -> list[list[Record]]:
    """Rules in levels: each reads only records of the levels before it, and perhaps itself.

    Raises:
        InputError: rules read each other in a circle.
    """
    reads = {
        place: {
            other
            for other, candidate in enumerate(records)
            if other != place and any(_may_be(candidate, selector) for selector in read)
        }
        for place, read in enumerate(selectors(record.expr) for record in records)
    }
    found: list[list[Record]] = []
    while reads:
        ready = [place for place, others in reads.items() if not others & reads.keys()]
        if not ready:
            names = sorted({records[place].name for place in reads})
            raise InputError(f"the rules {', '.join(names)} read each other in a circle")
        found.append([records[place] for place in ready])
        for place in ready:
            del reads[place]
    return found


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Every series selector in an expression."""
    return [node for node in _nodes(expr) if isinstance(node, promql_parser.VectorSelector)]


def summed(expr: str) -> list[promql_parser.VectorSelector]:
    """The selectors in an expression of whose range each sample counts."""
    return [
        argument.vector_selector
        for call in _nodes(expr)
        if isinstance(call, promql_parser.Call)
        for argument in call.args
        if isinstance(argument, promql_parser.MatrixSelector)
        and (call.func.name in _SUMS or argument.range.total_seconds() < REPEAT_S)
    ]


def _nodes(expr: str) -> list[Any]:
    found: list[Any] = []
    todo: list[Any] = [promql_parser.parse(expr)]
    while todo:
        node = todo.pop()
        found.append(node)
        children = [getattr(node, name, None) for name in _CHILDREN]
        todo += [child for child in (*children, *(getattr(node, "args", None) or ())) if child]
    return found


_SUMS = ("sum_over_time", "count_over_time")
_CHILDREN = ("expr", "lhs", "rhs", "vector_selector", "param")


def _may_be(record: Record, selector: promql_parser.VectorSelector) -> bool:
    """Whether a selector can select what a rule records."""
    if selector.name != record.name:
        return False
    for matcher in selector.matchers.matchers:
        value = record.labels.get(matcher.name)
        if value is None:
            continue
        regex = str(matcher.op) in ("MatchOp.Re", "MatchOp.NotRe")
        same = bool(re.fullmatch(matcher.value, value)) if regex else matcher.value == value
        if same == str(matcher.op).startswith("MatchOp.Not"):
            return False
    return True


def needed_each_minute(records: Sequence[Record]) -> list[Record]:
    """The rules whose series another one sums up, or reads through a short range."""
    read = [(reader, one) for reader in records for one in summed(reader.expr)]
    return [
        record
        for record in records
        if any(reader is not record and _may_be(record, one) for reader, one in read)
    ]


def record_past(
    records: Sequence[Record],
    data: Path,
    folder: Path,
    span: Span,
    *,
    step_s: int = REPEAT_S,
    keep: bool = False,
    beside: Path | None = None,
    known: Known = _nothing_known,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Evaluate recording rules over a past whose counters are in a data folder; adds their blocks.

    Args:
        records: the rules.
        data: Prometheus' data folder, which no Prometheus uses now.
        folder: where the text of each level is written.
        span: which past.
        step_s: how often rules are evaluated, whole minutes up to REPEAT_S; what is summed up,
            every minute.
        keep: leave the text there.
        beside: a second folder that gets the rules' blocks alone.
        known: what a rule has recorded at some moments, where that need not be asked; else None.
        progress: told how many rules are done, of how many.

    Raises:
        MissingError: Prometheus or promtool is not installed.
        UnreachableError: Prometheus does not start or answer.
        InputError: it refuses an expression, or rules read each other in a circle.
    """
    done = 0
    blocks = list(span.blocks())
    by_minute = needed_each_minute(records)
    for depth, level in enumerate(levels(records)):
        paths = [folder / f"rules-{depth}-{block.since_s}.om" for block in blocks]
        with serving(data) as server, ThreadPoolExecutor(AT_ONCE) as pool, ExitStack() as stack:
            files = [stack.enter_context(path.open("w", encoding="utf-8")) for path in paths]
            times = [span.times(MINUTE_S if one in by_minute else step_s) for one in level]
            pasts = pool.map(_past_of, level, repeat(server), times, repeat(known))
            for record, series in zip(level, pasts, strict=True):
                for labels, samples in series:
                    _write(record, labels, samples, blocks, files)
                done += 1
                if progress:
                    progress(done, len(records))
            for file in files:
                file.write("# EOF\n")
        for path in paths:
            if path.stat().st_size > len("# EOF\n"):
                create_blocks(path, data)
                if beside is not None:
                    create_blocks(path, beside)
            if not keep:
                path.unlink()


def _write(
    record: Record,
    labels: Mapping[str, str],
    samples: Samples,
    blocks: Sequence[Span],
    files: Sequence[IO[str]],
) -> None:
    own = {name: value for name, value in labels.items() if name != "__name__"}
    own |= record.labels
    place = 0
    for block, file in zip(blocks, files, strict=True):
        end = bisect_right(samples, block.until_s, lo=place, key=itemgetter(0))
        write_samples(file, record.name, own, samples[place:end])
        place = end


def _past_of(record: Record, server: Server, times: range, known: Known) -> list[Labelled]:
    """What the rule would have recorded."""
    samples = known(record, times)
    if samples is not None:
        return [({}, samples)]
    if not _reads_itself(record):
        return _evaluated(record.expr, server, times)
    first = server.instant(record.expr, times[0])
    after = [_evaluated(_after(record, value), server, times) for value in (0, 1)]
    begins = number(first[0][1]) if first else "0"
    return [followed(*after, begins=begins)]


def _evaluated(expr: str, server: Server, times: range) -> list[Labelled]:
    """An expression at every moment of the past."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[int, str]]] = {}
    for low in range(0, len(times), MOST_STEPS):
        for labels, samples in server.range(expr, times[low : low + MOST_STEPS]):
            found.setdefault(tuple(sorted(labels.items())), []).extend(samples)
    return [(dict(labels), samples) for labels, samples in found.items()]


def _reads_itself(record: Record) -> bool:
    return any(_may_be(record, selector) for selector in selectors(record.expr))


def _after(record: Record, value: int) -> str:
    """The rule's expression, had it been `value` before.

    Raises:
        InputError: it reads itself in another way than as last_over_time of its own series.
    """
    own = re.compile(rf"last_over_time\({re.escape(record.name)}\{{[^}}]*\}}\[\w+\]\)")
    series = f"vector({value})"
    for name, text in record.labels.items():
        series = f'label_replace({series}, "{name}", "{text}", "", "")'
    replaced = own.sub(series, record.expr)
    if any(_may_be(record, selector) for selector in selectors(replaced)):
        raise InputError(
            f"the rule {record.name} {dict(record.labels)} reads itself in a way that cannot be "
            "followed: write last_over_time(ITS OWN SERIES[...])"
        )
    return replaced


def followed(after_0: Sequence[Labelled], after_1: Sequence[Labelled], *, begins: str) -> Labelled:
    """Follow a state from moment to moment.

    Args:
        after_0: what it would be at each moment if it was 0 before: one series.
        after_1: likewise after a 1.
        begins: what it is at the first moment.
    """
    labels = next((labels for labels, _ in (*after_0, *after_1)), {})
    zero, one = (
        dict(samples for _, found in after[:1] for samples in found) for after in (after_0, after_1)
    )
    state, samples = begins, []
    for place, at in enumerate(sorted({*zero, *one})):
        value = begins if place == 0 else (zero if state == "0" else one).get(at)
        if value is not None:
            samples.append((at, value))
            state = value
    return labels, samples
