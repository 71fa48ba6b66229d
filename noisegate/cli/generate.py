"""What is generated from the code: `python -m noisegate.cli.generate [--check] [--picture]`.

Without options docs/configuration.md and deploy/generated (Prometheus rules and their tests,
Grafana dashboards and alerting files) are written anew; `--check` only says what is stale.
`--picture` draws docs/noise-off.svg, too, from a simulated history: that takes minutes.
"""

import argparse
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from noisegate.settings import (
    ScrubPattern,
    ScrubSettings,
    ServiceSettings,
    Settings,
    SourceSettings,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
CONFIGURATION = DOCS / "configuration.md"
PICTURE = DOCS / "noise-off.svg"
DEPLOY = DOCS.parent / "deploy" / "generated"
PICTURE_ALERTS = 100_000

_HEAD = """\
# Configuration

<!-- Written by `make generate` from noisegate/settings.py: change the settings there, not here. -->

Every setting has a default: an empty configuration works. In order of precedence a value comes from

1. a command's own option, such as `noisegate backtest --delay-budget 60`;
2. the environment (the column *Variable*);
3. `noisegate.toml` in the directory in which `noisegate` is run (the column *Key*).

In the environment a list or a table is written as JSON, such as
`NOISEGATE_NEVER_HOLD='["critical", "page"]'`. A key of `noisegate.toml` that does not exist is an
error. `noisegate doctor` says which settings differ from their defaults, and what is wrong.
"""

_NESTED: dict[str, tuple[str, type[BaseModel], str]] = {
    "source": (
        "[source]",
        SourceSettings,
        "How a team's own alert database (`ALERT_DB_URI`) is read; `table` or `query` is needed, "
        "one of them. See [noise-reduction.md](noise-reduction.md#your-own-alert-database).",
    ),
    "scrub": (
        "[scrub]",
        ScrubSettings,
        "What is scrubbed, and what is written instead; [privacy.md](privacy.md) says what each "
        "means, with an example. `noisegate scrub --settings FILE` reads them from any file.",
    ),
    "services": (
        "[services.NAME]",
        ServiceSettings,
        "What one service asks for instead of the team's settings above, under the name that its "
        "alerts carry. Quote a name that is more than letters, digits, `-` and `_`: "
        '`[services."billing api"]`. Variables are read in lower case, so a name with capitals can '
        "only be written in the file.",
    ),
}

_PATTERNS = """\
### `[[scrub.patterns]]`

One such table for each pattern. All that can run away is refused, with the reason.
"""

EXAMPLE = """\
transient_s = 300
delay_budget_s = 60
never_hold = ["critical", "page"]
ignore_labels = ["replica", "pod", "instance_id"]

[source]  # how ALERT_DB_URI is read
table = "oncall.incidents"
labels = ["region"]
updated_at = "changed_at"

[source.columns]  # ours = "theirs"
alert_id = "id"
service = "team"
name = "title"
starts_at = "opened_at"
ends_at = "resolved_at"

[services.checkout]
transient_s = 120
delay_budget_s = 10

[protected_labels]
customer = "gold"

[scrub.treatment]
MAC = "keep"

[scrub.allow]
EMAIL = ["@status.example.com"]

[[scrub.patterns]]
id = "employee"
token = "EMPLOYEE"
pattern = 'EMP-\\d{6}'
"""

_TAIL = f"""\
## An example

```toml
{EXAMPLE}```

## Variables of others that matter

| Variable | What it does here |
|---|---|
| `NOISEGATE_SCRUB_KEY` | The key of the pseudonyms, where `[scrub] key_file` names none. |
| `PREFECT_API_URL` | Prefect server for runs. Default: one for the run alone, on loopback. |
| `NOISEGATE_RETRAIN_MORE_DAYS` | Read by `prefect deploy`: more weekdays for retrain: `,3`. |
| `NOISEGATE_TUNE_MORE_HOURS` | Read by `prefect deploy`: more hours for tune: `,7,13,19`. |
| `NOISEGATE_DATA_DIR` | Real alert histories for this repository's tests and benchmarks. |
"""


def configuration() -> str:
    """The text of docs/configuration.md."""
    parts = [_HEAD]
    for group, names in _groups(Settings).items():
        rows = [_row(name, Settings.model_fields[name]) for name in names if name not in _NESTED]
        parts.append(f"## {group}\n\n{_table(rows)}")
    for name, (title, model, says) in _NESTED.items():
        prefix = f"NOISEGATE_{name.upper()}__" + ("NAME__" if name == "services" else "")
        rows = [
            (f"`{key}`", f"`{prefix}{key.upper()}`", *_facts(field))
            for key, field in model.model_fields.items()
        ]
        parts.append(f"## `{title}`\n\n{says}\n\n{_table(rows)}")
        if name == "scrub":
            rows = [(f"`{k}`", "-", *_facts(f)) for k, f in ScrubPattern.model_fields.items()]
            parts.append(f"{_PATTERNS}\n{_table(rows)}")
    return "\n".join([*parts, _TAIL])


def _groups(model: type[BaseModel]) -> dict[str, list[str]]:
    """The fields of a model under the comments that stand over them in its source."""
    groups: dict[str, list[str]] = {}
    for line in inspect.getsource(model).splitlines():
        if comment := re.fullmatch(r"    # (.+)", line):
            groups[comment[1]] = []
        elif (field := re.match(r"    (\w+):", line)) and field[1] in model.model_fields:
            next(reversed(groups.values())).append(field[1])
    return groups


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    alias = field.validation_alias
    variable = f"NOISEGATE_{name.upper()}"
    if isinstance(alias, AliasChoices):
        variable = str(alias.choices[0])
    return f"`{name}`", f"`{variable}`", *_facts(field)


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = ["| Key | Variable | Type | Default | What it is |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _facts(field: FieldInfo) -> tuple[str, str, str]:
    """Type, default and help of a setting."""
    assert field.description, "every setting carries its help"
    return _type(field.annotation, field.metadata), _default(field), field.description


def _type(annotation: Any, metadata: list[Any]) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *inner = typing.get_args(annotation)
        metadata = [m for i in inner for m in (i.metadata if isinstance(i, FieldInfo) else [i])]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        (inner_type,) = (a for a in arguments if a is not type(None))
        return _type(inner_type, metadata)
    if origin is Literal:
        return "one of " + ", ".join(f"`{a}`" for a in arguments)
    if origin is list:
        return f"list of {_type(arguments[0], [])}"
    if origin is dict:
        return f"table of {_type(arguments[1], [])}"
    if annotation is ScrubPattern:
        return "tables"
    words = {str: "text", Path: "path", int: "integer", float: "number", bool: "true or false"}
    word = words[annotation]
    return " ".join([word, *_limits(metadata)])


def _limits(metadata: list[Any]) -> Iterator[str]:
    signs = {"gt": "over", "ge": "at least", "lt": "under", "le": "at most"}
    found = {sign: getattr(m, sign, None) for m in metadata for sign in signs if hasattr(m, sign)}
    said = [f"{signs[sign]} {value:g}" for sign, value in found.items() if value is not None]
    if said:
        yield " and ".join(said)
    for pattern in (getattr(m, "pattern", None) for m in metadata):
        if pattern:
            yield f"matching `{pattern}`"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def picture(path: Path, alerts: int = PICTURE_ALERTS) -> None:
    """Draw what the gate keeps off on the later part of a simulated history, as `make run` does.

    Args:
        path: where the SVG goes.
        alerts: how many are simulated.
    """
    import tempfile

    import numpy as np

    from noisegate.cli.data import store_simulated
    from noisegate.learning.backtest import Candidates, first_of_fraction, live_through
    from noisegate.learning.examples import load_examples
    from noisegate.learning.figures import measure
    from noisegate.learning.report import save_picture
    from noisegate.learning.train import TEST_FRACTION
    from noisegate.simulate import SimulationPlan
    from noisegate.store.database import open_store, upgrade
    from noisegate.store.snapshot import extend

    with tempfile.TemporaryDirectory(prefix="noisegate-picture-") as home:
        # No setting of the person who draws it: the picture is the defaults'.
        settings = Settings.model_construct(home=Path(home))
        upgrade(settings)
        store_simulated(settings, SimulationPlan(alerts=alerts))
        engine = open_store(settings)
        try:
            examples = load_examples(settings, extend(settings, engine))
        finally:
            engine.dispose()
        candidates = Candidates.of(settings, examples)
        first = first_of_fraction(len(examples), TEST_FRACTION)
        lived = live_through(settings, examples, candidates, first)
        rows = np.arange(first, len(examples))
        figures = measure(examples.outcome, rows, lived.hold_s, settings.seed)
        save_picture(settings, examples, candidates, lived, figures, path)


def generated() -> dict[Path, str]:
    """Every generated file and the text that it should hold."""
    from dashboards.build import dashboard_files
    from noisegate.cli.slo import built_files, load

    # No setting of the person who generates: the files are the defaults'.
    files = built_files(load(None), Settings.model_construct()) | dashboard_files()
    return {CONFIGURATION: configuration()} | {DEPLOY / path: text for path, text in files.items()}


def stale(files: dict[Path, str]) -> list[Path]:
    """Which of the files do not hold what they should, and which are left from before."""
    found = [
        path
        for path, text in files.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    return found + [path for path in DEPLOY.rglob("*") if path.is_file() and path not in files]


def main(arguments: list[str] | None = None) -> int:
    """Write, or check: 1 if something is stale."""
    parser = argparse.ArgumentParser(description="Write what is generated from the code.")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    parser.add_argument("--picture", action="store_true", help=f"draw {PICTURE.name}, too: minutes")
    chosen = parser.parse_args(arguments)
    files = generated()
    for path in stale(files):
        if chosen.check:
            print(f"{path.name} is stale: run `make generate`", file=sys.stderr)
        elif path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()
    if chosen.picture:
        picture(PICTURE)
    return int(chosen.check and bool(stale(files)))


if __name__ == "__main__":
    sys.exit(main())
