"""Alert text and templates: alerts of one kind share a template, kinds differ."""

import pyarrow as pa
import pytest

from noisegate.model.embed import MAX_TEMPLATE, alert_text, template


def one(text: str) -> str:
    return str(template(pa.array([text]))[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("CPU at 93.2% (> 90%)", "cpu at * (> *)", id="percentages"),
        pytest.param("up for 1h 5m", "up for *", id="compound duration"),
        pytest.param("took 250 ms, then 3 seconds", "took *, then *", id="durations with units"),
        pytest.param("disk has 95.3 GiB left", "disk has * left", id="sizes"),
        pytest.param("load 1.2e+05", "load *", id="exponents"),
        pytest.param("drift of -5 ms", "drift of *", id="signed numbers"),
        pytest.param("v1.2.3 rolled out", "* rolled out", id="versions"),
        pytest.param(
            "id 550e8400-e29b-41d4-a716-446655440000 gone", "id * gone", id="uuid in lower case"
        ),
        pytest.param("ID 550E8400-E29B-41D4-A716-446655440000", "id *", id="uuid in upper case"),
        pytest.param("commit deadbeefcafe12 failed", "commit * failed", id="hash"),
        pytest.param("status 0x1F", "status *", id="hexadecimal number"),
        pytest.param("i-0abc123def456 terminated", "i-* terminated", id="instance id"),
        pytest.param("at 2026-11-24T21:16:01.747Z", "at *", id="ISO time"),
        pytest.param("on Tue, 24 Nov 2026 at 12:30", "on * at *", id="written date"),
        pytest.param("mail <EMAIL> of <USER:1f0c9b2ad4e7>", "mail * of *", id="scrubbed tokens"),
        pytest.param("see https://a.example/x?y=1 now", "see * now", id="address of a page"),
        pytest.param("value {{ $value }}", "value *", id="unfilled template variable"),
        pytest.param(
            "Pod pay/api-7d9f8b6c5-x2x4z waits", "pod pay/api-* waits", id="pod of a Deployment"
        ),
        pytest.param("fluentd-x7k2p restarts", "fluentd-* restarts", id="pod of a DaemonSet"),
        pytest.param("ledger-0 down", "ledger-* down", id="pod of a StatefulSet"),
        pytest.param("db-03.example.com down", "db-*.example.com down", id="numbered host"),
        pytest.param("eth0 and sda1", "eth* and sda*", id="numbered device"),
        pytest.param("s3, ec2, p99 and 5xx", "s3, ec2, p99 and 5xx", id="names with digits stay"),
        pytest.param("alerts 1, 2, 3 and 4", "alerts * and *", id="lists become one"),
        pytest.param("  a \n b\tc ", "a b c", id="white space"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_what_varies_becomes_a_placeholder(text: str, expected: str) -> None:
    assert one(text) == expected


def test_long_texts_are_cut() -> None:
    assert len(one("word " * 10_000)) <= MAX_TEMPLATE


def test_nulls_stay_null_and_order_stays() -> None:
    texts = pa.array(["b 1", None, "a", "b 2"])
    assert template(texts).to_pylist() == ["b *", None, "a", "b *"]


def test_no_texts_give_no_templates() -> None:
    assert template(pa.array([], pa.string())).to_pylist() == []


@pytest.mark.parametrize(
    ("name", "message", "service", "expected"),
    [
        pytest.param("KubePodCrashLooping", "x", "s", "Kube Pod Crash Looping: x", id="camel case"),
        pytest.param("HTTPErrorsHigh", "x", "s", "HTTP Errors High: x", id="acronyms stay whole"),
        pytest.param("disk_full-now", None, "s", "disk full now", id="no message"),
        pytest.param("disk_full", "", "s", "disk full", id="empty message"),
        pytest.param("Slow", "pay-api is slow", "pay-api", "Slow: * is slow", id="own service"),
        pytest.param("Slow", "pay-apis", "pay-api", "Slow: pay-apis", id="not inside a word"),
        pytest.param("Slow", "a.b (c) is", "a.b (c)", "Slow: * is", id="service with odd signs"),
        pytest.param("Slow", "db is slow", "db", "Slow: db is slow", id="names too short to tell"),
        pytest.param("Slow", "pay is", "cart", "Slow: pay is", id="other services stay"),
    ],
)
def test_alert_text(name: str, message: str | None, service: str, expected: str) -> None:
    text = alert_text(pa.array([name]), pa.array([message], pa.string()), pa.array([service]))
    assert text.to_pylist() == [expected]


def test_each_row_loses_its_own_service_only() -> None:
    services = pa.array(["cart", "pay", "cart", None, "pay"])
    messages = pa.array(["cart up", "cart up", None, "pay up", "pay up"])
    text = alert_text(pa.array(["N"] * 5), messages, services)
    assert text.to_pylist() == ["N: * up", "N: cart up", "N", "N: pay up", "N: * up"]
    assert alert_text(pa.array(["N"]), messages[:1]).to_pylist() == ["N: cart up"]
