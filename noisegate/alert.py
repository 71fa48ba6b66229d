"""The values that all else speaks of. Frozen; times are microseconds since 1970, UTC."""

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

MICROS = 1_000_000
"""Microseconds in a second."""

_TIME = pa.timestamp("us", tz="UTC")

ALERT_SCHEMA = pa.schema(
    [
        # Identity: hex digests of 32 characters.
        pa.field("alert_id", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        # Scrubbed text.
        pa.field("service", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("severity", pa.string()),
        pa.field("message", pa.string()),
        pa.field("labels", pa.string()),  # a JSON object with sorted keys, or null
        # Times; null: not (yet) known.
        pa.field("starts_at", _TIME, nullable=False),
        pa.field("ends_at", _TIME),
        pa.field("acked_at", _TIME),
        pa.field("verdict", pa.string()),  # "noise", "real" or null
        pa.field("verdict_at", _TIME),
    ]
)
"""One alert (one firing episode) a row, identified and scrubbed: what tables and snapshots hold."""


class Origin(StrEnum):
    """Where a row comes from; only `live` rows count in the service's own figures."""

    LIVE = "live"
    IMPORT = "import"
    SIMULATED = "simulated"


class Action(StrEnum):
    """What the gate does with an alert. Three, and only three."""

    PAGE = "page"
    HOLD = "hold"
    MUTE = "mute"


class Reason(StrEnum):
    """Why a decision was taken."""

    SEVERITY_FLOOR = "severity_floor"
    PROTECTED_LABEL = "protected_label"
    WANTED_BY_PEOPLE = "wanted_by_people"
    TOO_FEW_OUTCOMES = "too_few_outcomes"
    NO_OPERATING_POINT = "no_operating_point"
    NOT_WORTH_THE_DELAY = "not_worth_the_delay"
    USUALLY_CLEARS = "usually_clears"
    HOLDOUT = "holdout"
    """Paged by lot, whatever the model said, so that quality stays measurable."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one alert, and why. `hold_s` is in seconds, 0 unless the action is a hold."""

    action: Action
    reason: Reason
    hold_s: float = 0.0
