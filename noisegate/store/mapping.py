"""Which of their columns is which of ours: one rule for files and databases."""

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from noisegate.errors import SettingsError
from noisegate.scrub.quoting import column_name
from noisegate.store.prepare import COLUMNS, LABEL


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """What is read: raw column name (ours, or `label:NAME`) = their column; and what is not.

    `ignored` is for people: names that hold data are not shown as they came.
    """

    read: Mapping[str, str]
    ignored: tuple[str, ...]


def map_columns(
    available: Sequence[str], columns: Mapping[str, str], labels: Sequence[str], where: str
) -> ColumnMap:
    """Match their columns with ours; a column that already has our name maps itself.

    Args:
        available: their column names.
        columns: ours = theirs.
        labels: their columns kept as labels.
        where: what is read, for messages.

    Raises:
        SettingsError: an unknown name on either side, a column that is there twice, or nothing
            to tell start or service and name from; lists what there is.
    """
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise SettingsError(f"no column of ours is called {unknown[0]!r}: {', '.join(COLUMNS)}")
    offer = f"{where} has {', '.join(map(column_name, available)) or 'no columns'}"
    read = {name: name for name in COLUMNS if name in available} | dict(columns)
    read |= {LABEL + name: name for name in labels}
    counts = Counter(available)
    for ours, theirs in read.items():
        if not counts[theirs]:
            raise SettingsError(f"no column {theirs!r} (asked for as {ours}): {offer}")
        if counts[theirs] > 1:
            raise SettingsError(f"column {theirs!r} is there {counts[theirs]} times: {offer}")
    if "starts_at" not in read:
        raise SettingsError(f"which column is starts_at? Say starts_at=THEIRS: {offer}")
    if "service" not in read and "name" not in read:
        raise SettingsError(f"which column is service or name? Say name=THEIRS: {offer}")
    used = set(read.values())
    return ColumnMap(read, tuple(column_name(name) for name in available if name not in used))


def load_map(path: Path) -> tuple[dict[str, str], list[str]]:
    """Read a map file: a TOML table `columns` (ours = "theirs") and a list `labels`.

    Raises:
        SettingsError: it cannot be read or holds something else.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"map file {path} cannot be read: {error}") from None
    columns, labels = content.pop("columns", {}), content.pop("labels", [])
    if (
        content
        or not isinstance(columns, dict)
        or not isinstance(labels, list)
        or not all(isinstance(name, str) for name in [*columns.values(), *labels])
    ):
        raise SettingsError(
            f'map file {path}: write [columns] with lines ours = "theirs", and labels = ["theirs"] '
            f"above it{'; not ' + ', '.join(content) if content else ''}"
        )
    return columns, labels
