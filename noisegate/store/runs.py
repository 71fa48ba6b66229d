"""Runs of flows as rows: the open row is the lease of its flow, its heartbeat says that it lives.

A run's row is written when it starts, so that a run which dies leaves a trace: the next one finds
the stale heartbeat, closes the row as crashed, and goes on. All times are the database's own, so
servers whose clocks differ agree on who is alive.
"""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    cast,
    extract,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from noisegate.alert import MICROS
from noisegate.errors import BusyError, NoisegateError, UnforeseenError
from noisegate.store.database import take_numbers, unreachable, writing
from noisegate.store.tables import RunRow

HEARTBEAT_S = 10.0
"""How often a run says that it lives, seconds."""

STALE_S = 60.0
"""Age of the last heartbeat after which a run counts as crashed, seconds: six missed in a row."""

_ENDED = "run_ended"
"""The sequence of ended runs: the exporter reads them in this order."""

_log = logging.getLogger(__name__)


class RunOutcome(StrEnum):
    """How a run ended; the first three are good."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    CRASHED = "crashed"


@dataclass(slots=True)
class Run:
    """A run that holds its flow's lease: say how it ended before leaving the lease."""

    run_id: str
    flow: str
    outcome: RunOutcome | None = None
    detail: dict[str, object] = field(default_factory=dict)

    def finish(self, outcome: RunOutcome, **detail: object) -> None:
        """Note how the run ended (written when the lease is left); `detail` holds JSON values."""
        self.outcome = outcome
        self.detail |= detail


@dataclass(frozen=True, slots=True)
class PastRun:
    """One row of the run table; times in microseconds since 1970, UTC."""

    run_id: str
    flow: str
    origin: str
    started_at: int
    heartbeat_at: int
    ended_at: int | None
    outcome: str | None
    detail: Mapping[str, object]


def database_now(connection: Connection) -> int:
    """Microseconds since 1970, UTC, by the database's clock."""
    if connection.dialect.name == "sqlite":
        # Days since noon of 24 November 4714 BC, to the millisecond; strftime('%s') has seconds.
        seconds = (func.julianday("now") - 2_440_587.5) * 86_400
    else:
        seconds = extract("epoch", func.clock_timestamp())
    query = select(cast(seconds * MICROS, BigInteger))
    return int(connection.execute(query).scalar_one())


@contextmanager
def store_errors(engine: Engine) -> Iterator[None]:
    """Turn a database that does not answer into our error; a refused row stays as it is."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise unreachable("NOISEGATE_DB_URL", engine.url, error) from None


@contextmanager
def lease(
    engine: Engine,
    flow: str,
    run_id: str,
    origin: str,
    *,
    never_beside: Collection[str] = (),
    heartbeat_s: float = HEARTBEAT_S,
    stale_s: float = STALE_S,
) -> Iterator[Run]:
    """Hold the lease of a flow while the body runs; its row tells how the run ended.

    The body says so by `run.finish(...)`. An error that leaves the body ends the run as failed,
    with the error's message if it is one of ours (they quote no alert), else its class alone.

    Args:
        engine: our store.
        flow: the flow's name.
        run_id: 32 hex digits.
        origin: live, import or simulated.
        never_beside: other flows that must not run at the same time.
        heartbeat_s: how often the run says that it lives, seconds.
        stale_s: age of the last heartbeat after which a run counts as crashed, seconds.

    Raises:
        BusyError: another run of this flow, or of one it never runs beside, is alive.
        UnreachableError: the database does not answer.
    """
    run = Run(run_id, flow)
    _open(engine, run, origin, {flow, *never_beside}, stale_s)
    stop = threading.Event()
    beat = threading.Thread(
        target=_beat, args=(engine, run_id, heartbeat_s, stop), name="run-heartbeat", daemon=True
    )
    beat.start()
    try:
        yield run
        if run.outcome is None:
            raise RuntimeError(f"run {run_id} of {flow} ended without an outcome")
    except BaseException as error:
        ours = isinstance(error, NoisegateError | UnforeseenError)
        message = str(error) if ours else type(error).__name__
        run.finish(RunOutcome.FAILED, error=message)
        raise
    finally:
        stop.set()
        beat.join()
        _close(engine, run)


def confirm(connection: Connection, run_id: str) -> None:
    """Hold a run's row for the rest of the transaction, and make sure that it is still open.

    What must not happen twice (a promotion) is written in the same transaction, so that a run
    which slept past its heartbeat, and was taken over, cannot write it.

    Raises:
        BusyError: the run was taken over by another.
    """
    if not _renew(connection, run_id):
        raise BusyError(
            f"run {run_id} lost its lease (no heartbeat for over {STALE_S:g} s) and another run "
            "took over: nothing was promoted; see `noisegate doctor`"
        )


def append_ended(connection: Connection, runs: Sequence[PastRun]) -> None:
    """Insert runs that have ended, in the order of their ends: a rehearsal's, none of ours."""
    if not runs:
        return
    first = take_numbers(connection, _ENDED, len(runs))
    connection.execute(
        insert(RunRow), [asdict(run) | {"seq": seq} for seq, run in enumerate(runs, start=first)]
    )


def past_runs(engine: Engine, flow: str | None = None, limit: int = 20) -> list[PastRun]:
    """The newest runs, newest first; an open one has no end and no outcome."""
    columns = (
        RunRow.run_id,
        RunRow.flow,
        RunRow.origin,
        RunRow.started_at,
        RunRow.heartbeat_at,
        RunRow.ended_at,
        RunRow.outcome,
        RunRow.detail,
    )
    query = select(*columns).order_by(RunRow.started_at.desc(), RunRow.run_id).limit(limit)
    if flow is not None:
        query = query.where(RunRow.flow == flow)
    with store_errors(engine), engine.connect() as connection:
        return [PastRun(*row[:-1], row[-1] or {}) for row in connection.execute(query)]


def _open(engine: Engine, run: Run, origin: str, flows: set[str], stale_s: float) -> None:
    try:
        with store_errors(engine), writing(engine) as connection:
            # Flows that exclude each other take turns here; the index `one_open_run` sees only one.
            take_numbers(connection, "run", 1)
            now = database_now(connection)
            crashed = _close_crashed(connection, flows, now, stale_s)
            _refuse_if_busy(connection, flows, now, stale_s)
            connection.execute(
                insert(RunRow).values(
                    run_id=run.run_id,
                    flow=run.flow,
                    origin=origin,
                    started_at=now,
                    heartbeat_at=now,
                )
            )
    except IntegrityError:
        raise BusyError(f"another run of {run.flow} has just begun: wait for it") from None
    if crashed:
        _log.warning("an earlier run had no heartbeat for %g s: closed as crashed", stale_s)


def _close_crashed(connection: Connection, flows: set[str], now: int, stale_s: float) -> int:
    dead = _is_open(flows) & (RunRow.heartbeat_at < now - int(stale_s * MICROS))
    crashed = 0
    for run_id in connection.scalars(select(RunRow.run_id).where(dead)).all():
        seq = take_numbers(connection, _ENDED, 1)  # where a run that is closing is waited for
        closed = connection.execute(
            update(RunRow)
            # Dead still: one that closed itself or woke up meanwhile keeps what it says.
            .where(RunRow.run_id == run_id, dead)
            .values(ended_at=now, outcome=RunOutcome.CRASHED.value, seq=seq)
        )
        crashed += closed.rowcount
    return crashed


def _refuse_if_busy(connection: Connection, flows: set[str], now: int, stale_s: float) -> None:
    busy = connection.execute(
        select(RunRow.run_id, RunRow.flow, RunRow.started_at, RunRow.heartbeat_at).where(
            _is_open(flows)
        )
    ).first()
    if busy is not None:
        raise BusyError(
            f"run {busy.run_id} of {busy.flow} has been going for "
            f"{(now - busy.started_at) / MICROS:.0f} s (last heartbeat "
            f"{(now - busy.heartbeat_at) / MICROS:.0f} s ago): wait for it; a dead run is taken "
            f"over {stale_s:g} s after its last heartbeat"
        )


def _is_open(flows: set[str]) -> ColumnElement[bool]:
    return RunRow.flow.in_(flows) & RunRow.ended_at.is_(None)


def _beat(engine: Engine, run_id: str, heartbeat_s: float, stop: threading.Event) -> None:
    while not stop.wait(heartbeat_s):
        try:
            with writing(engine) as connection:
                if not _renew(connection, run_id):
                    _log.error("run %s was taken over by another: it will promote nothing", run_id)
                    return
        except DBAPIError as error:
            # The next beat may get through; five more misses and the lease is gone.
            _log.warning("heartbeat of run %s failed: %s", run_id, type(error).__name__)


def _renew(connection: Connection, run_id: str) -> bool:
    renewed = connection.execute(
        update(RunRow)
        .where(RunRow.run_id == run_id, RunRow.ended_at.is_(None))
        .values(heartbeat_at=database_now(connection))
    )
    return renewed.rowcount == 1


def _close(engine: Engine, run: Run) -> None:
    with store_errors(engine), writing(engine) as connection:
        connection.execute(
            update(RunRow)
            # A row that was taken over keeps its outcome: crashed.
            .where(RunRow.run_id == run.run_id, RunRow.ended_at.is_(None))
            .values(
                ended_at=database_now(connection),
                outcome=str(run.outcome),
                detail=run.detail,
                seq=take_numbers(connection, _ENDED, 1),
            )
        )
