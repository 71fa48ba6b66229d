"""Ask what the panels of a dashboard ask, through a running Grafana."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from noisegate.adapters.grafana import Grafana, Json
from noisegate.cli.checks import Check

_SHOWN = 3


def check_panels(grafana: Grafana, dashboards: Sequence[Json]) -> Iterator[Check]:
    """Say of each dashboard whether every panel's queries answer, and which return nothing."""
    for dashboard in dashboards:
        values = _variables(grafana, dashboard)
        answered, asked, empty, failed = 0, 0, [], []
        for panel in dashboard["panels"]:
            queries = [_query(target, panel, values) for target in panel.get("targets", [])]
            if not queries:
                continue
            span = dashboard["time"]
            results = grafana.query(queries, span["from"], span["to"])
            told = [results.get(query["refId"], {}) for query in queries]
            asked += len(queries)
            answered += sum(map(_has_data, told))
            # One of several may be right to be empty: what a person sees is the panel.
            if any(not one or one.get("error") or one.get("status", 200) >= 400 for one in told):
                failed.append(panel.get("title", f"panel {panel['id']}"))
            elif not any(map(_has_data, told)):
                empty.append(panel.get("title", f"panel {panel['id']}"))
        subject = f"panels of {dashboard['uid']}"
        if failed:
            way_out = "open it in Grafana: the panel's corner says why"
            yield Check(subject, "wrong", f"no answer: {some(failed)}", way_out)
        if empty:
            way_out = "right where nothing has happened yet; else see docs/install.md, No data"
            yield Check(subject, "note", f"nothing to show: {some(empty)}", way_out)
        if not failed and not empty:
            yield Check(subject, "fine", f"{answered} of {asked} queries return data")


def _query(target: Json, panel: Json, values: Mapping[str, str]) -> Json:
    """A panel's target as its data source's backend wants it."""
    query: Json = json.loads(_filled(json.dumps(target), values))
    source = query.get("datasource") or json.loads(_filled(json.dumps(panel["datasource"]), values))
    return query | {"datasource": source, "intervalMs": 60_000, "maxDataPoints": 300}


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Put variables in; `$__interval` and the like are the backend's."""

    def value(match: re.Match[str]) -> str:
        known = values.get(match[1] or match[2])
        return match[0] if known is None else json.dumps(known)[1:-1]

    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})", value, text)


def _variables(grafana: Grafana, dashboard: Json) -> dict[str, str]:
    """A value for each variable of a dashboard, as Grafana would choose it first."""
    values: dict[str, str] = {}
    for variable in dashboard.get("templating", {}).get("list", []):
        name, kind, query = variable["name"], variable["type"], variable.get("query")
        chosen = (variable.get("current") or {}).get("value")
        if kind == "datasource":
            values[name] = str(query)  # its type, which is our uid, too
        elif isinstance(chosen, str) and chosen and not chosen.startswith("$__"):
            values[name] = chosen
        elif kind == "query" and variable.get("includeAll"):
            values[name] = variable.get("allValue") or ".*"
        elif kind == "query":
            asked = _filled(query["query"] if isinstance(query, dict) else str(query), values)
            if match := re.fullmatch(r"label_values\((.+), *(\w+)\)", asked):
                found = grafana.label_values("prometheus", match[2], match[1])
                values[name] = found[0] if found else ""
    return values


def _has_data(result: Json) -> bool:
    """Whether any frame of a result holds a value."""
    return any(
        any(column for column in frame.get("data", {}).get("values", []))
        for frame in result.get("frames") or []
    )


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
