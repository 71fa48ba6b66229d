"""A candidate's facts as values (its manifest) and as Markdown (model card, result table)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noisegate.alert import MICROS
from noisegate.errors import MissingError


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure on later data with its interval; None where there is no interval."""

    value: float
    lo: float | None = None
    hi: float | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate of a promotion: passed or not, its figure and limit, the reason in words."""

    name: str
    passed: bool
    figure: float | None
    limit: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model folder says of itself (`manifest.json`); times in microseconds (UTC)."""

    digest: str
    data_digest: str
    config_digest: str
    candidate: str
    trained_from: int
    trained_to: int
    figures: Mapping[str, Figure]
    gates: tuple[GateResult, ...]
    versions: Mapping[str, str]

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """The gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)


def read_manifest(folder: Path) -> Manifest:
    """Read a model folder's manifest.

    Raises:
        MissingError: the folder or its manifest is missing, or is not one of ours.
    """
    path = folder / "manifest.json"
    try:
        return manifest_of(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(
            f"{path} is no model manifest ({type(error).__name__}): run `noisegate doctor --fix`, "
            "or `noisegate retrain` for a new model"
        ) from None


def manifest_of(raw: Mapping[str, Any]) -> Manifest:
    """Build the value from its JSON form."""
    return Manifest(
        digest=raw["digest"],
        data_digest=raw["data_digest"],
        config_digest=raw["config_digest"],
        candidate=raw["candidate"],
        trained_from=int(raw["trained_from_us"]),
        trained_to=int(raw["trained_to_us"]),
        figures={
            name: Figure(figure["value"], figure.get("lo"), figure.get("hi"))
            for name, figure in raw["figures"].items()
        },
        gates=tuple(
            GateResult(
                gate["name"], bool(gate["passed"]), gate["figure"], gate["limit"], gate["reason"]
            )
            for gate in raw["gates"]
        ),
        versions=dict(raw["versions"]),
    )


def manifest_json(manifest: Manifest) -> str:
    """The JSON form, on one line."""
    return json.dumps(
        {
            "digest": manifest.digest,
            "data_digest": manifest.data_digest,
            "config_digest": manifest.config_digest,
            "candidate": manifest.candidate,
            "trained_from_us": manifest.trained_from,
            "trained_to_us": manifest.trained_to,
            "figures": {name: asdict(figure) for name, figure in manifest.figures.items()},
            "gates": [asdict(gate) for gate in manifest.gates],
            "versions": dict(manifest.versions),
        },
        sort_keys=True,
    )


def figures_table(figures: Mapping[str, Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| figure | value | 95 % interval |", "|---|---:|---|"]
    lines += [
        f"| {name} | {_number(figure.value)} | "
        + ("-" if figure.lo is None else f"{_number(figure.lo)} to {_number(figure.hi)}")
        + " |"
        for name, figure in figures.items()
    ]
    return "\n".join(lines)


def gates_table(gates: Sequence[GateResult]) -> str:
    """The gates as a Markdown table."""
    lines = ["| gate | passed | figure | limit | reason |", "|---|---|---:|---:|---|"]
    lines += [
        f"| {gate.name} | {'yes' if gate.passed else '**no**'} | {_number(gate.figure)} | "
        f"{_number(gate.limit)} | {gate.reason} |"
        for gate in gates
    ]
    return "\n".join(lines)


def model_card(manifest: Manifest, flow: str) -> str:
    """The model card: what it is, learned from what, how good on later data, and its limits."""
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return f"""# noisegate champion candidate `{manifest.digest[:12]}`

Predicts how long an alert will last, and holds it off the pager while it probably clears by
itself. Made by the flow `{flow}`; candidate: **{manifest.candidate}**.

## Learned from
Scrubbed alerts from {_day(manifest.trained_from)} to {_day(manifest.trained_to)}.
Snapshot `{manifest.data_digest}`, configuration `{manifest.config_digest}`.

## On later data, never seen in training
{figures_table(manifest.figures)}

## Gates of a promotion
{gates_table(manifest.gates)}

## Use and limits
For the alert streams of the team whose history it was learned from; it says nothing about other
teams' alerts. It only ever delays a page: a held alert that still fires at the end of its hold
pages. Alerts of a severity or label that the settings protect are not its business. Alert
streams drift, so it is judged and trained anew on schedule.

## Made with
{versions}
"""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _day(at: int) -> str:
    # Some histories have a relative clock: their days are of 1970, which is as true as it gets.
    return datetime.fromtimestamp(at / MICROS, tz=UTC).strftime("%Y-%m-%d")
