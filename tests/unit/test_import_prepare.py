import json
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from noisegate.alert import ALERT_SCHEMA
from noisegate.scrub import Scrubber
from noisegate.settings import Settings
from noisegate.store.identity import Identity
from noisegate.store.ingest import Occurrences, Prepared, Rejected, prepare

START = datetime(2023, 7, 22, 4, 26, 40, tzinfo=UTC)
GOOD = {"service": "shop", "name": "DiskFull", "starts_at": "1690000000"}


@pytest.fixture
def ready(make_settings: Callable[..., Settings]) -> Callable[..., Prepared]:
    identity, scrubber = Identity.from_settings(make_settings()), Scrubber()

    def run(*rows: dict[str, object], **options: object) -> Prepared:
        names = list(dict.fromkeys(name for row in rows for name in row))
        raw = pa.table({name: [row.get(name) for row in rows] for name in names})
        given: dict[str, object] = {"source": "test", **options}
        return prepare(raw, identity=identity, scrubber=scrubber, **given)  # type: ignore[arg-type]

    return run


def test_a_row_becomes_an_alert(ready: Callable[..., Prepared]) -> None:
    row = GOOD | {"severity": "warning", "message": "full", "ends_at": "", "label:team": "db"}
    alert = ready(row).alerts.to_pylist()[0]
    assert alert | {"alert_id": "", "fingerprint": ""} == {
        "alert_id": "",
        "fingerprint": "",
        "source": "test",
        "origin": "import",
        "service": "shop",
        "name": "DiskFull",
        "severity": "warning",
        "message": "full",
        "labels": '{"team":"db"}',
        "starts_at": START,
        "ends_at": None,
        "acked_at": None,
        "verdict": None,
        "verdict_at": None,
    }
    assert ready(row).alerts.schema == ALERT_SCHEMA


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        pytest.param({"starts_at": ""}, ("starts_at", "is missing", ""), id="no start"),
        pytest.param(
            {"starts_at": "31/12/2023"}, ("starts_at", "is not a time", "99/99/9999"), id="no time"
        ),
        pytest.param(
            {"ends_at": "bob@example.com"},
            ("ends_at", "is not a time", "aaa@aaaaaaa.aaa"),
            id="text in a time is shown as its shape only",
        ),
        pytest.param(
            {"ends_at": "1689999999"},
            (
                "ends_at",
                "lies before starts_at",
                "2023-07-22 04:26:39.000000Z < 2023-07-22 04:26:40.000000Z",
            ),
            id="end before start",
        ),
        pytest.param(
            {"acked_at": "1"},
            (
                "acked_at",
                "lies before starts_at",
                "1970-01-01 00:00:01.000000Z < 2023-07-22 04:26:40.000000Z",
            ),
            id="acknowledged before start",
        ),
        pytest.param(
            {"service": " ", "name": None},
            ("name", "is missing, and service too", ""),
            id="neither service nor name",
        ),
        pytest.param(
            {"verdict": "maybe"}, ("verdict", "is neither noise nor real", ""), id="odd verdict"
        ),
        pytest.param({"message": b"caf\xe9"}, ("message", "is not UTF-8", ""), id="not UTF-8"),
        pytest.param({"starts_at": b"\xff"}, ("starts_at", "is not UTF-8", ""), id="time no UTF-8"),
    ],
)
def test_a_bad_row_is_refused_by_number_and_reason(
    ready: Callable[..., Prepared], change: dict[str, object], refusal: tuple[str, str, str]
) -> None:
    good: dict[str, object] = dict(GOOD)
    bad = GOOD | change
    if any(isinstance(value, bytes) for value in bad.values()):
        good = {k: str(v).encode() for k, v in GOOD.items()}
        bad = {k: v if isinstance(v, bytes) else str(v).encode() for k, v in bad.items()}
    done = ready(good, bad, good, first_row=10)
    assert done.rejected == (Rejected(11, *refusal),)
    assert done.alerts.num_rows == 2


def test_identity_is_of_the_raw_text_and_what_is_kept_is_scrubbed(
    ready: Callable[..., Prepared],
) -> None:
    hosts = [GOOD | {"label:host": f"10.20.30.{n}", "service": f"u{n}@example.com"} for n in (1, 2)]
    done = ready(*hosts)
    assert len(set(done.alerts.column("fingerprint").to_pylist())) == 2
    assert done.alerts.column("service").to_pylist() == ["<EMAIL>"] * 2
    assert done.alerts.column("labels").to_pylist() == ['{"host":"<IPV4>"}'] * 2
    assert done.entities == {"EMAIL": 2, "IPV4": 2}


def test_label_sets_identify_like_the_webhook(
    ready: Callable[..., Prepared], make_settings: Callable[..., Settings]
) -> None:
    labels = {"alertname": "DiskFull", "job": "shop", "pod": "a"}
    done = ready(GOOD | {"labels": json.dumps(labels)})
    identity = Identity.from_settings(make_settings())
    alert = done.alerts.to_pylist()[0]
    assert alert["fingerprint"] == identity.fingerprint(labels)
    start = round(START.timestamp() * 1e6)
    assert alert["alert_id"] == identity.alert_id("test", start, labels)
    assert json.loads(alert["labels"]) == labels


def test_a_file_row_identifies_like_labels_service_and_alertname(
    ready: Callable[..., Prepared], make_settings: Callable[..., Settings]
) -> None:
    done = ready(GOOD | {"label:team": "db", "label:pod": "a-1"})
    labels = {"alertname": "DiskFull", "service": "shop", "team": "db"}
    expected = Identity.from_settings(make_settings()).fingerprint(labels)
    assert done.alerts.column("fingerprint").to_pylist() == [expected]


def test_rows_alike_in_labels_and_start_stay_different_alerts(
    ready: Callable[..., Prepared],
) -> None:
    twins = [GOOD | {"ends_at": end} for end in ("1690000005", "1690000009", "1690000009")]
    whole = ready(*twins, occurrences=Occurrences()).alerts.column("alert_id").to_pylist()
    assert len(set(whole)) == 3
    shared = Occurrences()
    cut = [ready(t, occurrences=shared).alerts.column("alert_id")[0].as_py() for t in twins]
    assert cut == whole


def test_an_own_id_and_a_given_fingerprint_are_kept_as_keyed_hashes(
    ready: Callable[..., Prepared],
) -> None:
    rows = [
        GOOD | {"alert_id": "7", "fingerprint": "f"},
        GOOD | {"alert_id": "8", "fingerprint": "f", "service": "other"},
        GOOD | {"alert_id": "7", "fingerprint": "g"},
    ]
    alerts = ready(*rows, occurrences=Occurrences()).alerts
    a, b, c = alerts.column("fingerprint").to_pylist()
    assert a == b != c
    a, b, c = alerts.column("alert_id").to_pylist()
    assert a == c != b


@pytest.mark.parametrize(
    ("row", "given_at"),
    [
        pytest.param({"acked_at": "1690000007", "ends_at": "1690000009"}, 7, id="acknowledged"),
        pytest.param({"ends_at": "1690000009"}, 9, id="else the end"),
        pytest.param({}, 0, id="else the start"),
        pytest.param({"verdict_at": "1690000099", "ends_at": "1690000009"}, 99, id="known"),
    ],
)
def test_a_verdict_of_an_import_was_given_when(
    ready: Callable[..., Prepared], row: dict[str, object], given_at: int
) -> None:
    alert = ready(GOOD | row | {"verdict": "Noise"}).alerts.to_pylist()[0]
    assert alert["verdict"] == "noise"
    assert alert["verdict_at"].timestamp() == 1690000000 + given_at


def test_nothing_in_gives_nothing_out(ready: Callable[..., Prepared]) -> None:
    assert ready(GOOD | {"starts_at": "no"}).alerts.num_rows == 0
    assert ready(GOOD | {"starts_at": "no", "label:a": "b"}).alerts.schema == ALERT_SCHEMA
