"""From an empty folder to decisions: the real command, in processes and homes of its own."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

NOISEGATE = Path(sys.executable).with_name("noisegate")
EXPORTED, TRANSIENT_S = 1_200, 300.0
BAD_ROWS = {
    100: (b"t3,DiskFull,2026-01-02T00:00:00Z,2026-01-01T00:00:00Z,,", "ends_at"),
    200: (b"t3,DiskFull,soon,2026-01-01T00:00:00Z,,", "starts_at"),
    300: (b"t3,DiskFull,,2026-01-01T00:00:00Z,,", "starts_at"),
    400: (b"t3,Disk\xff,2026-01-01T00:00:00Z,2026-01-01T00:01:00Z,,", "name"),
}
"""Rows that no import may take, by number, and the column that is to blame."""


def write_export(path: Path) -> None:
    """An export as a team would make it: three habits of clearing, addresses in the text."""
    rng, at = random.Random(3), datetime(2026, 1, 1, tzinfo=UTC)
    lines = [b"team,alarm,opened,closed,level,note"]
    for row in range(1, EXPORTED + 1):
        at += timedelta(seconds=rng.expovariate(1 / 900))
        kind = rng.randrange(3)
        lasts = timedelta(seconds=rng.lognormvariate((3.0, 5.0, 8.0)[kind], 0.5))
        fields = (f"t{kind}", "DiskFull", at.isoformat(), (at + lasts).isoformat())
        good = ",".join((*fields, "warning", f"asked {rng.randrange(99)}@example.org")).encode()
        lines.append(BAD_ROWS[row][0] if row in BAD_ROWS else good)
    path.write_bytes(b"\n".join(lines) + b"\n")


COLUMNS = [
    *("--column", "service=team", "--column", "name=alarm", "--column", "message=note"),
    *("--column", "severity=level"),
    *("--column", "starts_at=opened", "--column", "ends_at=closed"),
]


class Team:
    """A folder with a home, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; its standard output."""
        environment = dict(os.environ, NOISEGATE_HOME="home")
        done = subprocess.run(
            [NOISEGATE, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=540,
        )
        assert done.returncode == code, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def doctor(self, code: int) -> dict[str, str]:
        """The doctor's findings: status by subject."""
        return {
            c["subject"]: c["status"] for c in json.loads(self.run("doctor", "--json", code=code))
        }

    def judge(self) -> bytes:
        """A history of two sources, and the decisions on its last third."""
        self.run("db", "upgrade")
        self.run("simulate", "--alerts", "400", "--days", "12", "--services", "5")
        write_export(self.folder / "export.csv")
        self.run("import", "export.csv", *COLUMNS, "--rejects", "rejects.csv")
        self.run("backtest", "--decisions", "decisions.csv", "--alerts", "alerts.csv")
        return (self.folder / "decisions.csv").read_bytes()

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a CSV file."""
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))


def test_bad_rows_are_refused_by_number_and_the_good_ones_land(tmp_path: Path) -> None:
    team = Team(tmp_path / "team")
    team.run("db", "upgrade")
    write_export(team.folder / "export.csv")
    command = ("import", "export.csv", *COLUMNS, "--rejects", "rejects.csv", "--json")
    first = json.loads(team.run(*command))
    assert (first["read"], first["new"], first["refused"]) == (EXPORTED, EXPORTED - 4, 4)
    assert first["entities"]["EMAIL"] == EXPORTED - 4
    refused = {int(row["row"]): row["field"] for row in team.rows("rejects.csv")}
    assert refused == {row: field for row, (_, field) in BAD_ROWS.items()}
    assert "DiskFull" not in (team.folder / "rejects.csv").read_text()
    again = json.loads(team.run(*command))
    assert (again["new"], again["changed"]) == (0, 0)


def test_over_the_limit_of_bad_rows_nothing_lands(tmp_path: Path) -> None:
    team = Team(tmp_path / "team")
    (team.folder / "noisegate.toml").write_text("max_bad_row_share = 0.001\n")
    team.run("db", "upgrade")
    write_export(team.folder / "export.csv")
    team.run("import", "export.csv", *COLUMNS, code=3)
    (team.folder / "noisegate.toml").unlink()
    assert json.loads(team.run("import", "export.csv", *COLUMNS, "--json"))["new"] == EXPORTED - 4


def test_from_an_empty_folder_to_the_same_decisions_twice(tmp_path: Path) -> None:
    one = Team(tmp_path / "one")
    before = one.doctor(code=1)
    assert (before["settings"], before["store"], before["embedding"]) == ("fine", "wrong", "fine")
    decisions = one.judge()

    taken = one.rows("decisions.csv")
    alerts = (400 + EXPORTED - len(BAD_ROWS)) * 3 // 10
    assert abs(len(taken) - alerts) <= 1
    assert [row["alert_id"] for row in taken] == [row["alert_id"] for row in one.rows("alerts.csv")]
    assert {row["action"] for row in taken} == {"page", "hold"}
    for row in taken:
        held = float(row["hold_seconds"])
        assert (row["action"] == "hold") == (1 <= held <= TRANSIENT_S)
        assert (row["action"] == "page") == (held == 0)

    # Elsewhere, without what the first one kept; the same key, so that alerts have the same ids.
    other = Team(tmp_path / "other")
    (other.folder / "home").mkdir(mode=0o700)
    shutil.copy(one.folder / "home" / "identity.key", other.folder / "home")
    shutil.copytree(one.folder / "home" / "embedding", other.folder / "home" / "embedding")
    assert other.judge() == decisions

    after = one.doctor(code=0)
    assert (after["store"], after["snapshot"], after["champion"]) == ("fine", "fine", "note")
