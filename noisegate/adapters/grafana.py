"""The documented HTTP API of a running Grafana 11: read only, and errors that name the way out.

Sources: https://grafana.com/docs/grafana/v11.6/developers/http_api/ (health, dashboard,
data_source, alerting_provisioning); how rules fare is in its Prometheus-compatible API.
"""

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from noisegate.errors import SettingsError, UnreachableError

TOKEN = "GRAFANA_TOKEN"
"""The variable that holds a service account's token."""

TIMEOUT_S = 20.0
"""Longest wait for one answer."""

Json = dict[str, Any]


class Grafana:
    """One connection. Every method may raise UnreachableError; the token is never shown."""

    def __init__(self, url: str, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        """Set up; nothing is sent yet.

        Args:
            url: base URL; a path prefix may be part of it.
            token: a service account's token; default: GRAFANA_TOKEN's.
            timeout_s: longest wait for one answer, seconds.

        Raises:
            SettingsError: no URL, a URL that holds a password, or no token.
        """
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise SettingsError("--grafana: give a URL, such as http://localhost:3000")
        if parsed.userinfo:
            raise SettingsError(f"--grafana: no password in the URL: put a token into {TOKEN}")
        token = (token or os.environ.get(TOKEN, "")).strip()
        if not token or not token.isascii() or not token.isprintable():
            raise SettingsError(
                f"{TOKEN} is {'no token' if token else 'not set'}: in Grafana make a service "
                "account with the role Admin (alert rules ask for it), and set it to its token"
            )
        self.url = str(parsed.copy_with(query=None, fragment=None)).rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=timeout_s,
            verify=parsed.scheme == "https",  # else the authorities would be read for nothing
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def health(self) -> Json:
        """`version` and `database` ("ok")."""
        return self._object("/api/health")

    def data_source(self, uid: str) -> Json | None:
        """A data source: uid, name, type, readOnly; None if there is none."""
        return self._object_or_none(f"/api/datasources/uid/{uid}")

    def data_source_is_healthy(self, uid: str) -> bool:
        """Whether the data source says of itself that it works."""
        answer = self._send(
            "GET", f"/api/datasources/uid/{uid}/health", allowed=(200, 400, 404, 500)
        )
        return answer.status_code == 200 and _json(answer).get("status") == "OK"

    def dashboard(self, uid: str) -> Json | None:
        """A dashboard and its `meta`; None if there is none."""
        return self._object_or_none(f"/api/dashboards/uid/{uid}")

    def provisioned(self, kind: str) -> Any:
        """All alert-rules, contact-points, policies, mute-timings or templates."""
        return _any_json(self._send("GET", f"/api/v1/provisioning/{kind}"))

    def rule_health(self) -> dict[str, str]:
        """Title of each alert rule that is evaluated: ok, error, nodata or unknown."""
        answer = self._object("/api/prometheus/grafana/api/v1/rules")
        groups = answer.get("data", {}).get("groups", [])
        return {
            str(rule.get("name")): str(rule.get("health", "unknown"))
            for group in groups
            for rule in group.get("rules", [])
        }

    def label_values(self, uid: str, label: str, selector: str) -> list[str]:
        """Values of a label, asked of a Prometheus through its data source."""
        path = f"/api/datasources/uid/{uid}/resources/api/v1/label/{label}/values"
        answer = _json(self._send("GET", path, params={"match[]": selector}))
        return list(map(str, answer.get("data") or []))

    def query(self, queries: Sequence[Json], start: str, end: str) -> dict[str, Json]:
        """Answers of queries by their refId, each with `status`, `error` or `frames`.

        Args:
            queries: refId, datasource, intervalMs, maxDataPoints and what the data source wants.
            start: such as now-6h.
            end: such as now.
        """
        body = {"from": start, "to": end, "queries": list(queries)}
        # A query that fails makes the whole answer 4xx or 207, with the others' results in it.
        answer = self._send("POST", "/api/ds/query", json=body, allowed=(200, 207, 400, 500))
        results: dict[str, Json] = _json(answer).get("results") or {}
        return results

    def _object(self, path: str) -> Json:
        return _json(self._send("GET", path))

    def _object_or_none(self, path: str) -> Json | None:
        answer = self._send("GET", path, allowed=(200, 404))
        return None if answer.status_code == 404 else _json(answer)

    def _send(
        self,
        method: str,
        path: str,
        *,
        allowed: Sequence[int] = (200,),
        params: Mapping[str, str] | None = None,
        json: Json | None = None,
    ) -> httpx.Response:
        try:
            answer = self._http.request(method, path, params=params, json=json)
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"Grafana at {self.url}: {method} {path}: {type(error).__name__}: "
                "check the address, or wait until Grafana has started"
            ) from None
        if answer.status_code in allowed:
            return answer
        found = f"Grafana at {self.url}: {method} {path}: status {answer.status_code}"
        if answer.status_code == 401:
            raise UnreachableError(f"{found}: set {TOKEN} to a token that is valid")
        if answer.status_code == 403:
            raise UnreachableError(f"{found}: give the token's service account the role Admin")
        if answer.is_redirect:
            raise UnreachableError(f"{found}: give the address that it redirects to")
        raise UnreachableError(f"{found}: see Grafana's log")


def _any_json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        path = answer.request.url.copy_with(query=None)
        raise UnreachableError(f"{path} answers no JSON: is that a Grafana?") from None


def _json(answer: httpx.Response) -> Json:
    value = _any_json(answer)
    if not isinstance(value, dict):
        path = answer.request.url.copy_with(query=None)
        raise UnreachableError(f"{path} answers no JSON object: is that a Grafana 11?")
    return value
