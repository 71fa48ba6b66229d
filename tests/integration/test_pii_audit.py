"""A snapshot's audit: what stands unscrubbed is named, counted, paged, and never learned from."""

import gzip
import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

import noisegate.cli
from flows.local import run_retrain
from noisegate.alert import Origin
from noisegate.cli.checks import run_checks
from noisegate.errors import PolicyError
from noisegate.learning.registry import Registry
from noisegate.model.pointer import read_pointer
from noisegate.scrub import VERSION, Entity, Policy, Scrubber, Treatment
from noisegate.scrub.config import load_scrubber
from noisegate.scrub.independent import suspects
from noisegate.scrub.rules import RULES
from noisegate.settings import Settings
from noisegate.store import canary
from noisegate.store.database import open_store, take_numbers, writing
from noisegate.store.runs import RunOutcome
from noisegate.store.snapshot import SnapshotRef, extend
from noisegate.store.snapshot_audit import Audit, Found, audit, last_audit, record_audit
from noisegate.store.tables import AlertRow, EventRow
from observability.exporter import metrics_page

AWS_KEY = "AKIA" + "QPLUMAGEKIWI7BEK"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJraXdpcGx1bWFnZSJ9.k1wiPlum4geS1gnature"
EMAIL = "kiwi.plumage@aviary.example.com"
BLIND = Scrubber(rules=())
"""Knows no rule: what is found all the same, others have found."""

_numbers = count(1)


@pytest.fixture
def store(sqlite_settings: Settings) -> Any:
    engine = open_store(sqlite_settings)
    yield engine
    engine.dispose()


@pytest.fixture
def slip_in(sqlite_settings: Settings, store: Engine) -> Callable[..., SnapshotRef]:
    """Store an alert as if it had been scrubbed, and take a snapshot of all."""

    def slip(**columns: str) -> SnapshotRef:
        number = next(_numbers)
        row = {"service": "web", "name": "Slow", "message": "slow", "source": "test"} | columns
        with writing(store) as connection:
            connection.execute(
                insert(AlertRow).values(
                    alert_id=f"{number:032x}",
                    fingerprint="f" * 32,
                    origin=Origin.IMPORT.value,
                    starts_at=number * 10**9,
                    ends_at=number * 10**9 + 10**8,
                    scrubber=VERSION,
                    seq=take_numbers(connection, "alert", 1),
                    **row,
                )
            )
        return extend(sqlite_settings, store)

    return slip


def found(ref: SnapshotRef, scrubber: Scrubber | None = None) -> set[tuple[str, str, str]]:
    done = audit(ref, scrubber or Scrubber(), 100)
    assert done.findings == len(done.listed) == sum(done.by.values()) == sum(done.entities.values())
    return {(one.column, one.entity, one.by) for one in done.listed}


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        pytest.param({"service": EMAIL}, ("service", "EMAIL"), id="service"),
        pytest.param({"name": f"Down {EMAIL}"}, ("name", "EMAIL"), id="name"),
        pytest.param({"severity": "203.0.113.9"}, ("severity", "IPV4"), id="severity"),
        pytest.param({"message": "ssn 413-82-6690"}, ("message", "SSN"), id="message"),
        pytest.param(
            {"labels": json.dumps({"summary": f"by {EMAIL}"})}, ("label summary", "EMAIL"),
            id="a label's value",
        ),
        pytest.param(
            {"labels": '{"password":"hunter2"}'}, ("label password", "SECRET"),
            id="a value that its label's name gives away",
        ),
        pytest.param(
            {"labels": json.dumps({EMAIL: "up"})}, ("labels", "EMAIL"),
            id="a label's name, which is not told then",
        ),
    ],
)  # fmt: skip
def test_what_stands_unscrubbed_is_found_and_named_without_its_text(
    columns: dict[str, str], where: tuple[str, str], slip_in: Callable[..., SnapshotRef]
) -> None:
    ref = slip_in(**columns)
    assert {(column, entity) for column, entity, by in found(ref) if "rule" in by} == {where}
    done = audit(ref, Scrubber(), 100)
    told = f"{done} {done.says}"
    assert not any(mark in told for mark in (EMAIL, "413-82-6690", "203.0.113.9", "hunter2"))
    assert f"{where[1]} 1" in done.says and "noisegate retrain" in done.says


@pytest.mark.parametrize(
    ("text", "by", "entity"),
    [
        pytest.param(f"key {AWS_KEY} refused", "AWSKeyDetector", "AWS_KEY", id="AWS key"),
        pytest.param(f"session {JWT} over", "JwtTokenDetector", "JWT", id="JWT"),
        pytest.param(
            "-----BEGIN RSA PRIV" + "ATE KEY-----\nMII", "PrivateKeyDetector", "PRIVATE_KEY",
            id="private key",
        ),
        pytest.param(
            "amqp://kiwi:plumage@mq", "BasicAuthDetector", "URL_CREDENTIALS", id="URL credentials"
        ),
        pytest.param("ghp_" + "k1wi" * 9, "GitHubTokenDetector", "SECRET", id="a maker's token"),
        pytest.param("x" * 3_990 + AWS_KEY, "AWSKeyDetector", "AWS_KEY", id="far into a text"),
        pytest.param(f"mail to {EMAIL} bounced", "PlainEmail", "EMAIL", id="e-mail"),
        pytest.param("203.0.113.9:9100 is down", "PlainIPv4", "IPV4", id="IPv4 with a port"),
        pytest.param("[2001:db8::7c1a]:9100", "PlainIPv6", "IPV6", id="IPv6 in brackets"),
        pytest.param("lease 3c:22:fb:7a:91:5e", "PlainMAC", "MAC", id="MAC"),
    ],
)  # fmt: skip
def test_what_our_own_rules_miss_others_find(
    text: str, by: str, entity: str, slip_in: Callable[..., SnapshotRef]
) -> None:
    assert found(slip_in(message=text), BLIND) == {("message", entity, by)}


@pytest.mark.parametrize(
    "text",
    [
        "mail to <EMAIL> bounced",
        "amqp://<URL_CREDENTIALS:k1:1f0c9b2ad4e7>@mq:5672, badge <BADGE:0123456789ab>",
        "password=<SECRET> {'api_key': '<SECRET>'}",
        'secret: "default/payments-db" not found; secrets="12"',
        "getty@tty1.service failed, git@github.com:acme/app.git, user@1000.service",
        "rev 7.4.1.2 firmware 2.0.0.9, Chrome/141.0.0.0, 0.0.0.0:9090, 127.0.0.1:9090, [::1]:80",
        "image@sha256:3f1c0d8d2b7e4a55b0f6c2d1e0a9988776655443322110ffeeddccbbaa998877",
        "1700000000:0123456789abcdef0123456789abcdef012, APFRONTEND01, ff:ff:ff:ff:ff:ff",
        "bridge 00:00:00:00:00:00, wwn FF:F2:9F:16:E2:23:00:0D:60:E9:1D:DC",
    ],
)
def test_what_may_stand_is_no_finding(text: str, slip_in: Callable[..., SnapshotRef]) -> None:
    assert found(slip_in(message=text)) == set()


def test_the_hard_cases_are_clean_to_others_when_scrubbed(data_dir: Path) -> None:
    with gzip.open(data_dir / "pii" / "cases.jsonl.gz", "rt") as lines:
        cases = [json.loads(line) for line in lines]
    assert len(cases) > 100
    assert {c["expect"]: [s.by for s in suspects(c["expect"])] for c in cases} == {
        c["expect"]: [] for c in cases
    }


def test_what_the_policy_keeps_or_a_list_allows_is_no_finding(
    slip_in: Callable[..., SnapshotRef],
) -> None:
    ref = slip_in(message=f"{EMAIL} at 203.0.113.9:9100")
    kept = Policy(by_entity={Entity.IPV4: Treatment.KEEP})
    for rules in (RULES, ()):
        allow = Scrubber(kept, rules, allow=lambda entity, text: text == EMAIL)
        assert found(ref, allow) == set()
        assert {entity for _, entity, _ in found(ref, Scrubber(kept, rules))} == {"EMAIL"}


def test_a_recogniser_of_names_is_asked_about_texts_as_they_came(
    slip_in: Callable[..., SnapshotRef],
) -> None:
    named = Scrubber(people=lambda texts: [[(0, 4)] if t.startswith("Jane") else [] for t in texts])
    slip_in(message="Jane wrote <EMAIL>")  # another text than the one that was scrubbed
    assert found(slip_in(message="slow"), named) == set()
    assert found(slip_in(message="Jane wrote"), named) == {("message", "PERSON", "rule person")}


def test_the_sample_is_the_same_each_time_and_no_larger_than_asked(
    slip_in: Callable[..., SnapshotRef],
) -> None:
    for number in range(40):
        ref = slip_in(message=f"{EMAIL} {number}")
    whole, part = audit(ref, Scrubber(), 100), audit(ref, Scrubber(), 20)
    assert (whole.rows, whole.texts, whole.findings) == (40, 43, 40)  # and service, name, source
    assert part == audit(ref, Scrubber(), 20)
    assert part.texts == 20 and set(part.listed) < set(whole.listed)
    other = audit(slip_in(message="other"), Scrubber(), 20)
    assert set(other.listed) != set(part.listed)


def leaking(ref: SnapshotRef, n: int = 1) -> Audit:
    listed = tuple(Found("message", f"{i:032x}", "EMAIL", "PlainEmail") for i in range(n))
    return Audit(ref.digest, ref.rows, 9, n, {"EMAIL": n}, {"PlainEmail": n}, listed)


def test_an_audit_is_kept_counted_and_moves_the_slo_until_a_clean_one(
    sqlite_settings: Settings, store: Engine, slip_in: Callable[..., SnapshotRef]
) -> None:
    def shows(name: str) -> list[str]:
        page = metrics_page(sqlite_settings)
        return [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(name)]

    ref = slip_in()
    assert last_audit(store) is None
    for n in (30, 2):
        record_audit(store, leaking(ref, n), "live")
    canary.plant(sqlite_settings, store, "live")  # well, and says nothing of the audit
    assert shows('noisegate_snapshot_findings_total{entity="EMAIL"}') == ["32.0"]
    assert shows("noisegate_pii_canary_consecutive_failures") == ["2.0"]
    kept = last_audit(store)
    assert kept is not None and kept.at > 0 and kept.says == leaking(ref, 2).says
    with store.connect() as connection:
        first = connection.scalars(
            select(EventRow.payload).where(EventRow.kind == "finding")
        ).first()
    assert first is not None and len(first["listed"]) == 20 and first["findings"] == 30
    record_audit(store, audit(ref, Scrubber(), 9), "live")
    assert shows("noisegate_pii_canary_consecutive_failures") == ["0.0"]
    kept = last_audit(store, ref.digest)
    assert kept is not None and kept.passed


def test_no_version_of_a_snapshot_with_findings_is_promoted(
    sqlite_settings: Settings, store: Engine, slip_in: Callable[..., SnapshotRef]
) -> None:
    ref = slip_in()
    registry = Registry(sqlite_settings, store)
    manifest = SimpleNamespace(gates=(), digest="d" * 32, data_digest=ref.digest)
    version: Any = SimpleNamespace(version=1, manifest=manifest)
    assert all(gate.passed for gate in registry.judge(version))
    record_audit(store, leaking(ref, 3), "live")
    told = rf"audit: 3 findings in the sample of snapshot {ref.digest[:12]}: PlainEmail 3; see "
    with pytest.raises(PolicyError, match=told):
        registry.promote(version, who="ann", why="better")
    record_audit(store, audit(ref, Scrubber(), 9), "live")
    assert all(gate.passed for gate in registry.judge(version))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for training, which must not begin: the digests that it was asked to learn from."""
    digests: list[str] = []

    def train(_settings: Settings, ref: SnapshotRef, *_: object) -> None:
        digests.append(ref.digest)

    module = ModuleType("noisegate.learning.train")
    module.__dict__.update(train=train, config_digest=lambda settings: "c")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return digests


def test_a_run_that_finds_something_learns_and_promotes_nothing_and_says_the_way_out(
    sqlite_settings: Settings,
    store: Engine,
    slip_in: Callable[..., SnapshotRef],
    trained: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ref = slip_in(message=f"{EMAIL} {AWS_KEY}")
    result = run_retrain(sqlite_settings)
    assert result.outcome is RunOutcome.REFUSED and result.version is None
    (reason,) = result.reasons
    assert reason.startswith(f"audit: 2 findings in the sample of snapshot {ref.digest[:12]}: ")
    assert "AWS_KEY 1, EMAIL 1; see `noisegate db audit`" in reason
    assert trained == [] and read_pointer(sqlite_settings.home) is None
    assert Registry(sqlite_settings, store).versions() == []
    kept = [path for path in sqlite_settings.home.rglob("*") if path.is_file()]
    holds = {path.relative_to(sqlite_settings.home).parts[0] for path in kept
             if EMAIL.encode() in path.read_bytes()}  # fmt: skip
    assert holds <= {"noisegate.db", "noisegate.db-wal", "snapshots"}  # where it was put

    (check,) = [check for check in run_checks(sqlite_settings) if check.subject == "audit"]
    assert check.status == "wrong" and "2 findings" in check.found and "retrain" in check.way_out

    monkeypatch.setenv("NOISEGATE_HOME", str(sqlite_settings.home))
    monkeypatch.setattr(sys, "argv", ["noisegate", "db", "audit"])
    with pytest.raises(SystemExit) as left:
        noisegate.cli.main()
    said = capsys.readouterr().out
    assert left.value.code == 1 and EMAIL not in said
    assert "message  00000000" in said and "AWS_KEY  rule " in said

    allowed = {"allow": {"EMAIL": [EMAIL], "AWS_KEY": [AWS_KEY]}}  # one way out
    settings = Settings(home=sqlite_settings.home, scrub=allowed)  # type: ignore[arg-type]
    assert audit(extend(settings, store), load_scrubber(settings.scrub), 100).passed
