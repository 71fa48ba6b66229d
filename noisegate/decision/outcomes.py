"""When an outcome becomes known, and which."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from noisegate.alert import MICROS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""A time that does not come, microseconds."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcome of each alert as it stands at the end of the history, and when it became known.

    Attributes:
        starts_us: start, microseconds since 1970, shape (n,).
        clear_s: seconds from start to the clear; inf where none is on record, or where a person
            acted before it (when it would have cleared by itself is not known), shape (n,).
        known_us: when the history can learn of it: the clear, a person's acknowledgement, or T
            after the start, whichever is first, shape (n,).
        transient: cleared by itself within T, no person acting before, shape (n,).
        censored: still firing and younger than T at the end of the history, shape (n,).
        noise: a `noise` verdict, or transient without a `real` verdict, shape (n,).
        real: everything else but censored, shape (n,).
        verdict_us: when a person's verdict became known; NEVER without, shape (n,).
        wanted: that verdict says real although it cleared by itself within T, shape (n,).
        noise_then: noise as it stood at known_us: a later verdict does not count, shape (n,).
        real_then: real as it stood at known_us, shape (n,).
    """

    starts_us: Ints
    clear_s: Floats
    known_us: Ints
    transient: Bools
    censored: Bools
    noise: Bools
    real: Bools
    verdict_us: Ints
    wanted: Bools
    noise_then: Bools
    real_then: Bools

    def __len__(self) -> int:
        return len(self.starts_us)


def micros(column: pa.ChunkedArray | pa.Array, missing: int = NEVER) -> Ints:
    """Turn a timestamp column into int64 microseconds; `missing` where it is null."""
    filled = column.cast(pa.int64()).fill_null(missing)
    return np.asarray(filled, dtype=np.int64)


def outcomes(alerts: pa.Table, transient_s: npt.ArrayLike, now_us: int) -> Outcomes:
    """Say of each alert what came of it.

    An acknowledgement is a human action if it came before the clear: such an alert is real, and
    known to be so from that moment. An alert without an end is real once it has outlived T.

    Args:
        alerts: columns of ALERT_SCHEMA, sorted by start, n rows.
        transient_s: T in seconds, one for all or shape (n,).
        now_us: the end of the history, microseconds; what lies after it is not known.
    """
    starts = micros(alerts["starts_at"])
    ends, acked = micros(alerts["ends_at"]), micros(alerts["acked_at"])
    given = micros(alerts["verdict_at"])
    ends, acked, given = (np.where(t > now_us, NEVER, t) for t in (ends, acked, given))
    limit_us = np.asarray(np.asarray(transient_s, dtype=np.float64) * MICROS, dtype=np.int64)

    ended = ends != NEVER
    last_us = np.where(ended, ends - starts, 0)
    by_person = (acked <= ends) & (acked != NEVER)
    clear_s = np.where(ended & ~by_person, last_us / MICROS, np.inf)
    transient = ended & (last_us <= limit_us) & ~by_person
    known = np.minimum(np.minimum(ends, starts + limit_us), acked)
    known = np.maximum(known, starts)
    censored = ~transient & ~by_person & (known > now_us)

    verdict = alerts["verdict"].fill_null("")
    judged = given != NEVER
    says_noise = judged & np.asarray(verdict.to_numpy() == "noise", dtype=np.bool_)
    says_real = judged & np.asarray(verdict.to_numpy() == "real", dtype=np.bool_)
    noise = (says_noise | (transient & ~says_real)) & ~censored
    early = given <= known
    noise_then = ((says_noise & early) | (transient & ~(says_real & early))) & ~censored
    return Outcomes(
        starts_us=starts,
        clear_s=clear_s,
        known_us=known,
        transient=transient,
        censored=censored,
        noise=noise,
        real=~noise & ~censored,
        verdict_us=np.where(says_noise | says_real, given, NEVER),
        wanted=says_real & transient,
        noise_then=noise_then,
        real_then=~noise_then & ~censored,
    )
