import json
import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from noisegate.errors import SettingsError
from noisegate.simulate import RAW_SCHEMA, SimulationPlan, simulate
from noisegate.simulate.firing import DAY_S, Firing
from noisegate.simulate.population import populate
from noisegate.simulate.texts import RULES, service_names

PLAN = SimulationPlan(alerts=6_000, days=40, services=12)


def table(plan: SimulationPlan = PLAN, batch_rows: int = 65_536) -> pa.Table:
    return pa.Table.from_batches(list(simulate(plan, batch_rows)), RAW_SCHEMA)


def serialised(batches: Iterable[pa.RecordBatch]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, RAW_SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_the_same_plan_gives_the_same_bytes() -> None:
    assert serialised(simulate(PLAN)) == serialised(simulate(PLAN))


def test_another_seed_gives_another_history() -> None:
    assert not table().equals(table(SimulationPlan(alerts=6_000, days=40, services=12, seed=8)))


def test_batch_rows_cut_the_stream_and_change_no_row() -> None:
    batches = list(simulate(PLAN, 1_000))
    assert [batch.num_rows for batch in batches] == [1_000] * 6
    assert pa.Table.from_batches(batches).equals(table())


def test_an_alert_is_there_once() -> None:
    rows = table().select(["labels", "starts_at"])
    assert rows.group_by(["labels", "starts_at"]).aggregate([]).num_rows == PLAN.alerts


def test_labels_name_a_fingerprint_of_one_service_and_rule() -> None:
    rows = table().to_pylist()
    seen: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        labels = json.loads(row["labels"])
        assert list(labels) == sorted(labels)
        assert (labels["service"], labels["alertname"]) == (row["service"], row["name"])
        lasting = {k: v for k, v in labels.items() if k not in ("pod", "replica")}
        kind = (row["service"], row["name"], row["severity"])
        assert seen.setdefault(json.dumps(lasting), kind) == kind
    assert len(seen) > PLAN.alerts / 100


def test_times_are_in_the_order_in_which_things_happen() -> None:
    rows = table().to_pandas()
    assert rows.starts_at.is_monotonic_increasing
    assert (rows.ends_at.isna() | (rows.ends_at > rows.starts_at)).all()
    acked = rows[rows.acked_at.notna()]
    assert len(acked) > 100
    assert ((acked.acked_at > acked.starts_at) & ~(acked.acked_at > acked.ends_at)).all()
    assert (rows.verdict.notna() == rows.verdict_at.notna()).all()
    judged = rows[rows.verdict.notna()]
    assert ((judged.verdict_at > judged.starts_at) & ~(judged.acked_at > judged.verdict_at)).all()
    # In the half hour after a change of shift.
    minute = judged.verdict_at.dt.hour * 60 + judged.verdict_at.dt.minute
    assert (((minute - 9 * 60) % 720) <= 30).all()


def test_nothing_is_known_that_comes_after_the_end() -> None:
    rows = table()
    end = pa.scalar(PLAN.ends_at_us, pa.timestamp("us", tz="UTC"))
    for column in ("starts_at", "ends_at", "acked_at", "verdict_at"):
        assert pc.max(rows[column]).as_py() < end.as_py()
    assert rows["ends_at"].null_count > 0


def test_without_personal_data_messages_are_their_rules_text() -> None:
    plan = SimulationPlan(alerts=3_000, days=20, services=5, pii_share=0, secret_share=0)
    texts = {rule.name: re.sub(r"\\{\w+\\}", r"[\\w.% -]+", re.escape(rule.text)) for rule in RULES}
    for row in table(plan).to_pylist():
        assert re.fullmatch(texts[row["name"]], row["message"])


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        pytest.param(r"\S+@(\S+?)\.?(?:\s|$)", {"example.com"}, id="addresses of example.com"),
        pytest.param(
            r"client (\d+\.\d+\.\d+)\.",
            {"192.0.2", "198.51.100", "203.0.113"},
            id="IPv4 of the documentation ranges",
        ),
        pytest.param(
            r"([0-9a-f]+:[0-9a-f]+)::", {"2001:db8"}, id="IPv6 of the documentation range"
        ),
        pytest.param(
            r"from ((?:\w\w:){5})", {"00:00:5e:00:53:"}, id="MAC of the documentation range"
        ),
        pytest.param(
            r"Card ([\d -]+) was",
            {"4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005"},
            id="test cards",
        ),
        pytest.param(r"(\+1 202-555-01)\d\d", {"+1 202-555-01"}, id="fictitious telephone numbers"),
    ],
)
def test_personal_data_is_nobodys(pattern: str, allowed: set[str]) -> None:
    plan = SimulationPlan(alerts=4_000, days=20, services=5, pii_share=0.5, secret_share=0)
    text = "\n".join(table(plan)["message"].to_pylist())
    assert set(re.findall(pattern, text)) == allowed


def test_personal_data_and_secrets_have_their_shares() -> None:
    plan = SimulationPlan(alerts=20_000, days=20, services=5, pii_share=0.3, secret_share=0.1)
    texts = table(plan)["message"].to_pandas()
    secret = texts.str.contains(r"password=|AKIA|Bearer |eyJ|://app:").mean()
    personal = texts.str.contains(
        r"@example\.com\.|Last client|Peer 2001|Seen from|Call \w+ at"
        r"|Card |Transfer|Applicant|/home/"
    ).mean()
    assert (round(personal, 1), round(secret, 1)) == (0.3, 0.1)


@pytest.mark.parametrize(
    "field",
    [
        pytest.param({"alerts": 0}, id="no alerts"),
        pytest.param({"days": 0}, id="no days"),
        pytest.param({"days": float("nan")}, id="days that are no number"),
        pytest.param({"services": 0}, id="no services"),
        pytest.param({"seed": -1}, id="a negative seed"),
        pytest.param({"pii_share": 0.6}, id="a share over a half"),
    ],
)
def test_a_plan_refuses_what_cannot_be(field: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(field))):
        SimulationPlan(**field)


def test_a_batch_needs_rows() -> None:
    with pytest.raises(SettingsError, match="batch_rows is 0"):
        simulate(PLAN, 0)


def test_services_have_names_of_their_own() -> None:
    assert len(set(service_names(500))) == 500


def test_on_a_day_of_maintenance_short_alerts_gather_in_the_night() -> None:
    rng = np.random.default_rng(1)
    firing = Firing.begin(populate(20_000, 30, 20, rng), 0.0, rng)

    def day(number: int) -> tuple[float, float]:
        fired = firing.day(number, 20_000, 0.0, np.random.default_rng(2))
        night = (fired.start_s % DAY_S > 3600) & (fired.start_s % DAY_S < 6 * 3600)
        return float(night.mean()), float((fired.duration_s <= 300).mean())

    firing.maintenance_day[:] = 0
    (window, short), (usual, usually_short) = day(0), day(1)
    assert window > usual + 0.1
    assert short > usually_short + 0.05
