"""`noisegate doctor --grafana URL` against a local server that speaks Grafana 11's documented API.

No Grafana runs here. The server holds what file provisioning would have made of the generated
files, answers as the documentation's examples do, and refuses what Grafana would refuse: a wrong
token, an unknown path, a query without what /api/ds/query asks for.
"""

import copy
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from noisegate.adapters import grafana as adapter
from noisegate.cli import grafana_check
from noisegate.cli.checks import Check
from noisegate.cli.grafana_check import Expected, ask_grafana, expected_in
from noisegate.errors import SettingsError
from noisegate.settings import Settings

Json = dict[str, Any]
TOKEN = "glsa_0123456789abcdefghijklmnopqrstuv_01234567"
SLO = "decision-availability"
DECISIONS = "noisegate-decisions"


class FakeGrafana:
    """What a Grafana holds, as its API shows it; tests take things out or spoil them."""

    def __init__(self, expected: Expected) -> None:
        self.version = "11.6.16"
        self.status: dict[str, int] = {}
        """Paths (by how they begin) that answer with an error."""
        self.hangs_s = 0.0
        self.data_sources = {uid: {"uid": uid, "type": uid, "name": uid.title(), "readOnly": True}
                             for uid in ("prometheus", "tempo")}  # fmt: skip
        self.dashboards = {
            one["uid"]: {
                "dashboard": copy.deepcopy(one) | {"id": number, "version": 3},
                "meta": {"provisioned": True, "provisionedExternalId": f"{one['uid']}.json"},
            }
            for number, one in enumerate(expected.dashboards, start=1)
        }
        self.rules = [_api_rule(rule) for rule in expected.rules]
        self.health = {rule["title"]: "ok" for rule in expected.rules}
        self.contact_points = [
            {k: one[k] for k in ("uid", "name", "type")}
            | {"settings": {"url": "[REDACTED]"}, "provenance": "file"}
            for one in expected.contact_points
        ]
        self.policies: Json = copy.deepcopy(expected.policies[0]) | {"provenance": "file"}
        for route in (self.policies, *self.policies["routes"]):
            route["repeat_interval"] = {"4h": "4h", "1d": "24h"}[route["repeat_interval"]]
        self.policies.pop("orgId", None)
        self.mute_timings = [
            {"name": one["name"], "provenance": "file"} for one in expected.mute_timings
        ]
        self.templates = [{"name": one["name"], "provenance": "file"} for one in expected.templates]
        self.empty = re.compile("(?!)")
        """Expressions that return no series."""
        self.broken = re.compile("(?!)")
        """Expressions that Prometheus refuses."""
        self.asked: list[tuple[str, str, Json]] = []
        """Method, path, body."""

    def answer(self, method: str, url: str, token: str | None, body: Json) -> tuple[int, Any]:
        path, values = urlsplit(url).path, parse_qs(urlsplit(url).query)
        self.asked.append((method, path, body))
        time.sleep(self.hangs_s)
        if path == "/api/health":
            return 200, {"commit": "abc", "database": "ok", "version": self.version}
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Invalid API key"}
        for start, status in self.status.items():
            if path.startswith(start):
                return status, {"message": "refused"}
        if method == "POST" and path == "/api/ds/query":
            return self._query(body)
        if method != "GET":
            return 404, {"message": "Not found"}
        return self._get(path, values)

    def _get(self, path: str, values: dict[str, list[str]]) -> tuple[int, Any]:
        lists = {
            "alert-rules": self.rules, "contact-points": self.contact_points,
            "policies": self.policies, "mute-timings": self.mute_timings,
            "templates": self.templates,
        }  # fmt: skip
        if match := re.fullmatch(r"/api/v1/provisioning/([a-z-]+)", path):
            return (200, lists[match[1]]) if match[1] in lists else (404, {"message": "Not found"})
        if match := re.fullmatch(r"/api/dashboards/uid/([\w-]+)", path):
            found = self.dashboards.get(match[1])
            return (200, found) if found else (404, {"message": "Dashboard not found"})
        if path == "/api/prometheus/grafana/api/v1/rules":
            rules = [{"name": k, "health": v, "state": "inactive"} for k, v in self.health.items()]
            return 200, {"status": "success", "data": {"groups": [{"name": "g", "rules": rules}]}}
        if match := re.fullmatch(r"/api/datasources/uid/(\w+)(/.*)?", path):
            source, rest = self.data_sources.get(match[1]), match[2] or ""
            if source is None:
                return 404, {"message": "Data source not found"}
            if rest == "":
                return 200, source
            if rest == "/health":
                return 200, {"status": "OK", "message": "Successfully queried the Prometheus API."}
            if re.fullmatch(r"/resources/api/v1/label/\w+/values", rest):
                assert values["match[]"][0].startswith("slo:objective:ratio")
                return 200, {"status": "success", "data": [SLO, "retrain-success"]}
        return 404, {"message": "Not found"}

    def _query(self, body: Json) -> tuple[int, Json]:
        if not {"from", "to", "queries"} <= body.keys() or not body["queries"]:
            return 400, {"message": "bad request data"}
        results: Json = {}
        for query in body["queries"]:
            assert {"refId", "datasource", "intervalMs", "maxDataPoints", "expr"} <= query.keys()
            assert query["datasource"] == {"type": "prometheus", "uid": "prometheus"}
            assert query.get("range") or query.get("instant")
            # The backend knows these; the browser would have put in all others.
            rest = re.sub(r"\$(__interval|__rate_interval|__range)\b", "", query["expr"])
            assert "$" not in rest, f"a variable is left: {rest}"
            if self.broken.search(query["expr"]):
                results[query["refId"]] = {"status": 400, "error": "bad_data: parse error"}
                continue
            frame = {
                "schema": {
                    "refId": query["refId"],
                    "fields": [{"name": "Time"}, {"name": "Value"}],
                },
                "data": {"values": [[1_700_000_000_000], [0.5]]},
            }
            frames = [] if self.empty.search(query["expr"]) else [frame]
            results[query["refId"]] = {"status": 200, "frames": frames}
        return (400 if any("error" in one for one in results.values()) else 200), {
            "results": results
        }


def _api_rule(rule: Json) -> Json:
    """A provisioned rule as GET /api/v1/provisioning/alert-rules shows it."""
    shown = {k: v for k, v in rule.items() if k not in ("dashboardUid", "panelId")}
    links = {}
    if "dashboardUid" in rule:
        links = {"__dashboardUid__": rule["dashboardUid"], "__panelId__": str(rule["panelId"])}
    return copy.deepcopy(shown) | {
        "id": 1, "orgID": 1, "folderUID": "noisegate", "provenance": "file",
        "annotations": rule.get("annotations", {}) | links,
        "labels": {k: v.replace("$$", "$") for k, v in rule.get("labels", {}).items()},
        "for": {"0s": "0s", "1m": "1m0s"}.get(rule["for"], rule["for"]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def expected() -> Expected:
    from dashboards.build import dashboard_files
    from noisegate.cli.slo import built_files, load

    files = built_files(load(None), Settings.model_construct()) | dashboard_files()
    return expected_in(files)


@pytest.fixture
def grafana(expected: Expected) -> FakeGrafana:
    return FakeGrafana(expected)


@pytest.fixture
def url(grafana: FakeGrafana) -> Iterator[str]:
    """The fake's address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else {}
            if size:
                assert self.headers["Content-Type"] == "application/json"
            try:
                status, value = grafana.answer(
                    self.command, unquote(self.path), self.headers.get("Authorization"), body
                )
            except AssertionError as error:
                status, value = 500, {"message": f"not as documented: {error}"}
            text = json.dumps(value).encode()
            with suppress(BrokenPipeError):  # who asked has had enough
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        do_GET = do_POST = _serve

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask(
    url: str, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], dict[str, Check]]:
    """What the doctor says, by subject, of the Grafana as it is when it is asked."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)

    def checks() -> dict[str, Check]:
        with adapter.Grafana(url) as one:
            found = list(grafana_check.check_grafana(one, expected))
        assert len({check.subject for check in found}) == len(found)
        return {check.subject: check for check in found}

    return checks


def test_everything_arrived_and_every_panel_answers(
    ask: Callable[[], dict[str, Check]], grafana: FakeGrafana, expected: Expected
) -> None:
    said = ask()
    assert {check.status for check in said.values()} == {"fine"}, said
    assert said["grafana"].found == "version 11.6.16, database ok"
    assert f"{len(expected.rules)} as generated" in said["alert rules"].found
    assert f"{len(expected.rules)} of them paused" in said["alert rules"].found
    for dashboard in expected.dashboards:
        assert said[f"dashboard {dashboard['uid']}"].found == "version 3, as generated"
        targets = sum(len(panel.get("targets", [])) for panel in dashboard["panels"])
        words = f"{targets} of {targets} queries return data"
        assert said[f"panels of {dashboard['uid']}"].found == words
    # Nothing is ever written; one question asks for data.
    posted = {path for method, path, _ in grafana.asked if method != "GET"}
    assert posted == {"/api/ds/query"}
    sent = {query["expr"] for _, _, body in grafana.asked for query in body.get("queries", [])}
    assert any(f'"{SLO}"' in expression for expression in sent)  # the first value of $slo


SPOILT: list[Any] = [
    pytest.param(
        lambda g: g.dashboards.pop("noisegate-pipeline"),
        "dashboard noisegate-pipeline", "wrong", "is missing", id="a dashboard is missing",
    ),
    pytest.param(
        lambda g: g.dashboards[DECISIONS]["dashboard"]["panels"][1].update(title="Mine"),
        f"dashboard {DECISIONS}", "wrong", "differs from ours: panel", id="a panel was changed",
    ),
    pytest.param(
        lambda g: g.dashboards[DECISIONS]["dashboard"].update(refresh="1h"),
        f"dashboard {DECISIONS}", "wrong", "refresh", id="a dashboard's setting was changed",
    ),
    pytest.param(
        lambda g: g.dashboards[DECISIONS]["meta"].update(provisioned=False),
        f"dashboard {DECISIONS}", "note", "by hand", id="a dashboard was imported by hand",
    ),
    pytest.param(
        lambda g: g.rules.pop(
            next(i for i, rule in enumerate(g.rules) if rule["uid"] == "retrain-success-over")
        ),
        "alert rule retrain-success-over", "wrong", "is missing", id="a rule is missing",
    ),
    pytest.param(
        lambda g: one_rule(g)["data"][0]["model"].update(expr="vector(0)"),
        "alert rule retrain-success-over", "wrong", "queries", id="a rule asks something else",
    ),
    pytest.param(
        lambda g: one_rule(g).update(isPaused=False),
        "alert rule retrain-success-over", "wrong", "isPaused", id="a rule runs that should not",
    ),
    pytest.param(
        lambda g: one_rule(g).update({"for": "5m0s"}),
        "alert rule retrain-success-over", "wrong", "for", id="a rule waits longer",
    ),
    pytest.param(
        lambda g: one_rule(g).update(provenance=""),
        "alert rule retrain-success-over", "note", "not come from the file", id="a rule by hand",
    ),
    pytest.param(
        lambda g: g.contact_points.pop(0),
        "contact point noisegate-pages (pagerduty)", "wrong", "is missing",
        id="a contact point is missing",
    ),
    pytest.param(
        lambda g: g.contact_points[1].update(provenance="api"),
        "contact point noisegate-pages (slack)", "note", "not come from the file",
        id="a contact point by hand",
    ),
    pytest.param(
        lambda g: g.policies["routes"].pop(),
        "notification policy", "wrong", "number of routes", id="a route is missing",
    ),
    pytest.param(
        lambda g: g.policies["routes"][0].update(group_wait="5m"),
        "notification policy", "wrong", "group_wait of the route", id="a route waits longer",
    ),
    pytest.param(
        lambda g: g.mute_timings.clear(),
        "mute timings", "wrong", "missing: noisegate-weekend", id="a mute timing is missing",
    ),
    pytest.param(
        lambda g: g.templates.clear(),
        "templates", "wrong", "missing: noisegate", id="a template is missing",
    ),
    pytest.param(
        lambda g: g.data_sources.pop("tempo"),
        "data source tempo", "wrong", "is missing", id="a data source is missing",
    ),
    pytest.param(
        lambda g: g.data_sources["prometheus"].update(type="loki"),
        "data source prometheus", "wrong", "of the type loki", id="a data source is another one",
    ),
    pytest.param(
        lambda g: setattr(g, "version", "12.1.0"),
        "grafana", "note", "12.1.0", id="another version",
    ),
    pytest.param(
        lambda g: setattr(g, "broken", re.compile("noisegate_decision_latency_seconds_bucket")),
        "panels of noisegate-decisions", "wrong", "no answer: ", id="a panel's query fails",
    ),
    pytest.param(
        lambda g: setattr(g, "empty", re.compile("")),
        "panels of noisegate-decisions", "note", "nothing to show: ", id="panels return nothing",
    ),
    pytest.param(
        lambda g: g.status.update({"/api/v1/provisioning/alert-rules": 403}),
        "alert rules", "wrong", "status 403", id="the token may not read rules",
    ),
    pytest.param(
        lambda g: g.status.update({"/api/v1/provisioning/policies": 500}),
        "notification policy", "wrong", "status 500", id="one part of the API fails",
    ),
]  # fmt: skip


def one_rule(grafana: FakeGrafana) -> Json:
    return next(rule for rule in grafana.rules if rule["uid"] == "retrain-success-over")


@pytest.mark.parametrize(("spoil", "subject", "status", "found"), SPOILT)
def test_what_is_wrong_is_said_with_the_way_out_and_the_rest_is_looked_at(
    spoil: Callable[[FakeGrafana], object],
    subject: str,
    status: str,
    found: str,
    ask: Callable[[], dict[str, Check]],
    grafana: FakeGrafana,
) -> None:
    spoil(grafana)
    said = ask()
    assert said[subject].status == status and found in said[subject].found, said[subject]
    assert said[subject].way_out
    assert "panels of noisegate-model-quality" in said  # the last part
    assert TOKEN not in str(said)


def test_a_live_rule_that_cannot_be_evaluated_is_named(
    url: str, grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    for rule in grafana.rules:
        rule["isPaused"] = False
    grafana.health["RetrainSuccessOver"] = "error"
    settings = Settings.model_construct(alerts_by="grafana")
    said = {check.subject: check for check in ask_grafana(url, settings)}
    assert said["alert rule retrain-success-over"].found == "cannot be evaluated"
    assert not [one for one in said if one.startswith("alert rule ") and "success-over" not in one]


@pytest.mark.parametrize(
    ("token", "hangs_s", "found", "way_out"),
    [
        pytest.param("glsa_wrong", 0.0, "status 401", "GRAFANA_TOKEN", id="a wrong token"),
        pytest.param(TOKEN, 5.0, "ReadTimeout", "wait", id="a Grafana that hangs"),
    ],
)
def test_one_line_where_nothing_can_be_asked(
    token: str, hangs_s: float, found: str, way_out: str, url: str, expected: Expected,
    grafana: FakeGrafana,
) -> None:  # fmt: skip
    grafana.hangs_s = hangs_s
    with adapter.Grafana(url, token, timeout_s=1.0) as one:
        (*_, last) = grafana_check.check_grafana(one, expected)
    assert last.subject == "grafana" and last.status == "wrong"
    assert found in last.found and way_out in last.way_out
    assert token not in str(last)


@pytest.mark.parametrize(
    ("address", "token", "said"),
    [
        pytest.param("localhost:3000", TOKEN, "give a URL", id="no scheme"),
        pytest.param("http://admin:pw@localhost", TOKEN, "no password", id="a password in the URL"),
        pytest.param("http://localhost:3000", "", "GRAFANA_TOKEN is not set", id="no token"),
        pytest.param("http://localhost:3000", "a\nb", "GRAFANA_TOKEN is no token", id="two lines"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    address: str, token: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", token)
    with pytest.raises(SettingsError, match=said) as refused:
        adapter.Grafana(address)
    assert "pw" not in str(refused.value)


def test_the_command_prints_lines_or_json_and_its_exit_code_says_whether_all_is_well(
    url: str, grafana: FakeGrafana, tmp_path: Path
) -> None:
    command = [Path(sys.executable).parent / "noisegate", "doctor", "--grafana", url]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NOISEGATE_")}
    environment["GRAFANA_TOKEN"] = TOKEN

    def run(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *more],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    well = run()
    assert well.returncode == 0, well.stdout + well.stderr
    assert "ok    dashboard noisegate-pipeline: version 3, as generated" in well.stdout
    grafana.dashboards.pop("noisegate-pipeline")
    ill = run("--json")
    assert ill.returncode == 1
    said = {one["subject"]: one for one in json.loads(ill.stdout)}
    assert said["dashboard noisegate-pipeline"]["status"] == "wrong"
    assert "docs/install.md" in said["dashboard noisegate-pipeline"]["way_out"]
    assert TOKEN not in well.stdout + well.stderr + ill.stdout + ill.stderr
    assert list(tmp_path.iterdir()) == []
    del environment["GRAFANA_TOKEN"]
    refused = run()
    assert refused.returncode == 2 and "GRAFANA_TOKEN is not set" in refused.stderr
