"""`noisegate doctor --grafana URL`: did everything arrive in Grafana, and unchanged?"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisegate.adapters.grafana import Grafana, Json
from noisegate.cli.checks import Check, split_error
from noisegate.cli.grafana_panels import check_panels, some
from noisegate.errors import NoisegateError, UnreachableError
from noisegate.settings import Settings

DATA_SOURCES = {"prometheus": "prometheus", "tempo": "tempo"}
"""uid: type, as in deploy/grafana/provisioning."""

_ARRIVE = "mount deploy/generated as docs/install.md says and restart Grafana; its log says more"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the generated files say, as Grafana would hold it."""

    dashboards: Sequence[Json]
    rules: Sequence[Json]
    contact_points: Sequence[Json]
    policies: Sequence[Json]
    mute_timings: Sequence[Json]
    templates: Sequence[Json]


def ask_grafana(url: str, settings: Settings) -> list[Check]:
    """Compare the Grafana at `url` with what these settings generate.

    Raises:
        SettingsError: no URL, or GRAFANA_TOKEN is not set.
    """
    from dashboards.build import dashboard_files
    from noisegate.cli.slo import built_files, load

    files = built_files(load(None), settings) | dashboard_files()
    with Grafana(url) as grafana:
        return list(check_grafana(grafana, expected_in(files)))


def expected_in(files: Mapping[str, str]) -> Expected:
    """Read what Grafana should hold from the generated files (relative path: text)."""
    import yaml

    documents = [
        yaml.safe_load(text) for name, text in files.items() if name.endswith(".grafana.yaml")
    ]

    def all_of(key: str) -> list[Json]:
        return [one for document in documents for one in document.get(key) or []]

    return Expected(
        dashboards=[
            json.loads(text)
            for name, text in sorted(files.items())
            if name.startswith("dashboards/") and name.endswith(".json")
        ],
        rules=[rule for group in all_of("groups") for rule in group["rules"]],
        contact_points=[
            receiver | {"name": point["name"]}
            for point in all_of("contactPoints")
            for receiver in point["receivers"]
        ],
        policies=all_of("policies"),
        mute_timings=all_of("muteTimes"),
        templates=all_of("templates"),
    )


def check_grafana(grafana: Grafana, expected: Expected) -> Iterator[Check]:
    """Compare a running Grafana with the generated files, and ask what its panels ask.

    An error in one part does not keep the next from being looked at, but for a Grafana that is not
    there or does not know the token.
    """
    try:
        yield _version(grafana.health())
        grafana.data_source("prometheus")
    except NoisegateError as error:
        yield Check("grafana", "wrong", *split_error(error))
        return
    looks: Sequence[tuple[str, Callable[[], Iterator[Check]]]] = (
        ("data sources", lambda: _data_sources(grafana)),
        ("dashboards", lambda: _dashboards(grafana, expected.dashboards)),
        ("alert rules", lambda: _rules(grafana, expected.rules)),
        ("contact points", lambda: _contact_points(grafana, expected.contact_points)),
        ("notification policy", lambda: _policy(grafana, expected.policies)),
        ("mute timings", lambda: _named(grafana, "mute-timings", expected.mute_timings)),
        ("templates", lambda: _named(grafana, "templates", expected.templates)),
        ("panels", lambda: check_panels(grafana, expected.dashboards)),
    )
    for subject, look in looks:
        try:
            yield from look()
        except UnreachableError as error:
            yield Check(subject, "wrong", *split_error(error))


def _version(health: Json) -> Check:
    version = str(health.get("version", "unknown"))
    if health.get("database") != "ok":
        return Check("grafana", "wrong", f"version {version}, database not ok", "see its log")
    if not version.startswith("11."):
        way_out = "use Grafana 11.6, for which dashboards and rules are made"
        return Check("grafana", "note", f"version {version}", way_out)
    return Check("grafana", "fine", f"version {version}, database ok")


def _data_sources(grafana: Grafana) -> Iterator[Check]:
    for uid, kind in DATA_SOURCES.items():
        subject, found = f"data source {uid}", grafana.data_source(uid)
        if found is None:
            yield Check(subject, "wrong", "is missing", f"provision one with the uid {uid}")
        elif found.get("type") != kind:
            way_out = f"give the uid {uid} to the {kind} one"
            yield Check(subject, "wrong", f"is of the type {found.get('type')}", way_out)
        elif not grafana.data_source_is_healthy(uid):
            yield Check(subject, "wrong", "says that it does not work", "check its URL in Grafana")
        else:
            yield Check(subject, "fine", "is there and works")


def _dashboards(grafana: Grafana, dashboards: Sequence[Json]) -> Iterator[Check]:
    for ours in dashboards:
        subject, found = f"dashboard {ours['uid']}", grafana.dashboard(ours["uid"])
        if found is None:
            yield Check(subject, "wrong", "is missing", _ARRIVE)
            continue
        theirs, meta = found.get("dashboard", {}), found.get("meta", {})
        if changed := _changed_in_dashboard(ours, theirs):
            way_out = "run `make generate`, or restart Grafana if the file is the newer one"
            yield Check(subject, "wrong", f"differs from ours: {changed}", way_out)
        elif not meta.get("provisioned"):
            way_out = "delete it and mount the file: imported ones are never updated"
            yield Check(subject, "note", "was imported by hand", way_out)
        else:
            found_text = f"version {theirs.get('version')}, as generated"
            yield Check(subject, "fine", found_text)


def _changed_in_dashboard(ours: Json, theirs: Json) -> str:
    """Titles of panels, or keys, that differ; Grafana itself sets id and version."""
    if changed := _differing(_by(ours["panels"], "id"), _by(theirs.get("panels", []), "id")):
        titles = {str(panel["id"]): panel.get("title", "") for panel in ours["panels"]}
        return some([f'panel "{titles.get(key, key)}"' for key in changed])
    own = ("id", "version")
    left, right = (
        {key: value for key, value in one.items() if key not in own} for one in (ours, theirs)
    )
    return some(_differing(left, {key: right.get(key) for key in left}))


def _rules(grafana: Grafana, rules: Sequence[Json]) -> Iterator[Check]:
    there = _by(grafana.provisioned("alert-rules"), "uid")
    health = grafana.rule_health()
    bad = 0
    for rule in rules:
        subject, theirs = f"alert rule {rule['uid']}", there.get(rule["uid"])
        if theirs is None:
            check = Check(subject, "wrong", "is missing", _ARRIVE)
        elif changed := _differing(_rule(rule), _rule(theirs)):
            way_out = "run `noisegate slo build` with the same settings, then restart Grafana"
            check = Check(subject, "wrong", f"differs from ours: {some(changed)}", way_out)
        elif theirs.get("provenance") != "file":
            way_out = "delete it in Grafana and restart: it was not made from the file"
            check = Check(subject, "note", "does not come from the file", way_out)
        elif not rule.get("isPaused") and health.get(rule["title"]) == "error":
            check = Check(subject, "wrong", "cannot be evaluated", "see it in Grafana, and its log")
        else:
            continue
        bad += 1
        yield check
    if not bad:
        paused = sum(bool(rule.get("isPaused")) for rule in rules)
        yield Check("alert rules", "fine", f"{len(rules)} as generated, {paused} of them paused")


def _rule(rule: Json) -> Json:
    """What counts of a rule, from a file or from the API."""
    # The API shows the panel as annotations, and labels after `$$` has become `$`.
    links = ("__dashboardUid__", "__panelId__")
    notes = {k: v for k, v in (rule.get("annotations") or {}).items() if k not in links}
    labels = {k: v.replace("$$", "$") for k, v in (rule.get("labels") or {}).items()}
    return {
        "title": rule.get("title"),
        "condition": rule.get("condition"),
        "for": _seconds(str(rule.get("for", "0s"))),
        "isPaused": bool(rule.get("isPaused")),
        "noDataState": rule.get("noDataState"),
        "execErrState": rule.get("execErrState"),
        "annotations": notes,
        "labels": labels,
        "queries": {
            query["refId"]: query["model"].get("expr") or query["model"].get("expression")
            for query in rule.get("data", [])
        },
    }


def _contact_points(grafana: Grafana, receivers: Sequence[Json]) -> Iterator[Check]:
    there = _by(grafana.provisioned("contact-points"), "uid")
    bad = 0
    for receiver in receivers:
        theirs = there.get(receiver["uid"], {})
        subject = f"contact point {receiver['name']} ({receiver['type']})"
        if not theirs:
            check = Check(subject, "wrong", "is missing", _ARRIVE)
        elif (theirs.get("name"), theirs.get("type")) != (receiver["name"], receiver["type"]):
            check = Check(subject, "wrong", "differs from ours", "restart Grafana")
        elif theirs.get("provenance") != "file":
            check = Check(subject, "note", "does not come from the file", "delete it, and restart")
        else:
            continue
        bad += 1
        yield check
    if not bad:
        yield Check("contact points", "fine", f"{len(receivers)} ways to send, as generated")


def _policy(grafana: Grafana, policies: Sequence[Json]) -> Iterator[Check]:
    theirs = grafana.provisioned("policies")
    for ours in policies:
        if changed := _missing_in(ours, theirs):
            way_out = "restart Grafana: the file replaces the whole tree"
            yield Check("notification policy", "wrong", f"differs from ours: {changed}", way_out)
        elif theirs.get("provenance") != "file":
            way_out = "restart Grafana: it can be changed by hand until then"
            yield Check("notification policy", "note", "does not come from the file", way_out)
        else:
            routes = len(ours.get("routes", []))
            yield Check("notification policy", "fine", f"{routes} routes, as generated")


def _named(grafana: Grafana, kind: str, ours: Sequence[Json]) -> Iterator[Check]:
    there = _by(grafana.provisioned(kind), "name")
    subject = kind.replace("-", " ")
    missing = [one["name"] for one in ours if one["name"] not in there]
    if missing:
        yield Check(subject, "wrong", f"missing: {some(missing)}", _ARRIVE)
    else:
        yield Check(subject, "fine", f"{len(ours)} there")


def _by(items: Any, key: str) -> dict[str, Any]:
    return {str(one.get(key)): one for one in items or []}


def _differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in {*left, *right} if left.get(key) != right.get(key))


def _missing_in(ours: Json, theirs: Any) -> str:
    """Name what of a policy is not in another, its routes included; empty: all is."""
    if not isinstance(theirs, dict):
        return "a route"
    for key, value in ours.items():
        other = theirs.get(key)
        if key == "routes":
            if not isinstance(other, list) or len(value) != len(other):
                return "the number of routes"
            for mine, its in zip(value, other, strict=True):
                if changed := _missing_in(mine, its):
                    return f"{changed} of the route to {mine.get('receiver')}"
        elif key.endswith(("_wait", "_interval")):
            if _seconds(str(value)) != _seconds(str(other)):
                return key
        elif key != "orgId" and value != other:
            return key
    return ""


def _seconds(duration: str) -> float:
    """Seconds of a duration as Grafana writes it: 1m, 1h30m0s, 1d; -1 if it is none."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", duration)
    if not parts or "".join(map("".join, parts)) != duration:
        return 0.0 if duration == "0" else -1.0
    return sum(float(number) * units[unit] for number, unit in parts)
