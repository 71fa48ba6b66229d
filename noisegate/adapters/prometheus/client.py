"""The HTTP API of a Prometheus-compatible server: read only, and errors that name the way out."""

import hashlib
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import numpy.typing as npt

from noisegate.errors import InputError, UnreachableError
from noisegate.scrub.quoting import quotable

_ALERTS = '__name__=~"ALERTS|GRAFANA_ALERTS"'
_TRIES = 4
_BUSY = frozenset({429, 502, 503, 504})


class TooHeavyError(Exception):
    """The server refuses a query as too large or too slow: ask for less. Stays in here."""


@dataclass(frozen=True, slots=True)
class PrometheusSource:
    """Where an alert history is read, and how.

    Args:
        url: base URL; a path prefix and credentials for basic authentication may be part of it.
        token: bearer token, or empty.
        token_file: file that holds the bearer token instead.
        ca_file: PEM file of the authorities to trust instead of the system's.
        cert_file: PEM file of the client certificate.
        key_file: its key, unless the same file holds it.
        insecure: do not check the server's certificate.
        timeout_s: longest wait for one answer, seconds.
        match: matchers that narrow the alerts, such as `team="db",severity=~"page|warn"`.
        headers: sent along, such as `X-Scope-OrgID` of a multi-tenant store.
        server_labels: labels that tell servers apart behind one querier. Default: asked of it.
        service_labels: the first one that an alert has names its service; else the alert's name.
    """

    url: str
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure: bool = False
    timeout_s: float = 60.0
    match: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    server_labels: Sequence[str] = ()
    service_labels: Sequence[str] = ("service", "job", "app", "namespace")

    @property
    def shown_url(self) -> str:
        """The URL without credentials."""
        try:
            return str(httpx.URL(self.url).copy_with(userinfo=b"", query=None)).rstrip("/")
        except httpx.InvalidURL:
            return "(no URL)"

    @property
    def selector(self) -> str:
        """Matchers of the alert series, narrowed by `match` (bare, `{...}` or `ALERTS{...}`)."""
        inner = self.match.strip()
        if inner.endswith("}"):
            inner = inner[inner.find("{") + 1 : -1]
        inner = inner.strip().rstrip(",")
        inner = "" if inner in ("ALERTS", "GRAFANA_ALERTS") else inner
        return f'{_ALERTS},alertstate=~"firing|pending"' + (f",{inner}" if inner else "")

    def digest(self, replica_labels: Sequence[str]) -> str:
        """Stand for what is read: server and selection, no secret."""
        parts = [self.shown_url, self.match, sorted(self.headers.items())]
        parts += [list(self.server_labels), list(replica_labels)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Client:
    """One connection to a server. Every method may raise UnreachableError."""

    def __init__(self, source: PrometheusSource) -> None:
        """Set up; nothing is sent yet.

        Raises:
            InputError: the URL, or a file that the source names, cannot be used.
        """
        self._source = source
        self._answered = False
        self.requests = 0
        self.warnings: set[str] = set()
        url = source.url if "//" in source.url else f"http://{source.url}"
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise InputError(f"--prometheus: no URL ({error}): such as http://host:9090") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InputError(
                f"--prometheus {source.shown_url}: give a http:// or https:// URL, "
                "such as http://host:9090"
            )
        headers = dict(source.headers)
        if token := _token(source):
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.Client(
            base_url=parsed.copy_with(query=None),
            headers=headers,
            timeout=source.timeout_s,
            verify=_tls(source) if parsed.scheme == "https" else True,
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def query(self, expression: str, at_ms: int) -> list[dict[str, Any]]:
        """Answer of an instant query: series with `metric` and `value` or `values`."""
        answer = self._get(
            "query",
            query=expression,
            time=_seconds(at_ms),
            dedup="true",
            max_source_resolution="0s",
        )
        return list(answer["result"])

    def query_range(
        self, expression: str, start_ms: int, end_ms: int, step_ms: int
    ) -> list[dict[str, Any]]:
        """Answer of a range query: series with `metric` and `values`."""
        answer = self._get(
            "query_range",
            query=expression,
            start=_seconds(start_ms),
            end=_seconds(end_ms),
            step=_seconds(step_ms),
            dedup="true",
            max_source_resolution="0s",
        )
        return list(answer["result"])

    def label_values(
        self, name: str, selector: str, start_ms: int, end_ms: int
    ) -> list[str] | None:
        """Values that a label took, or None where the server does not tell."""
        params = {"match[]": selector, "start": _seconds(start_ms), "end": _seconds(end_ms)}
        values = self.optional(f"label/{name}/values", **params)
        return None if values is None else list(map(str, values))

    def optional(self, path: str, **params: str) -> Any:
        """Answer of an endpoint that not every compatible server has; None where it is missing."""
        try:
            return self._get(path, missing=True, **params)
        except TooHeavyError:
            return None

    def _get(self, path: str, *, missing: bool = False, **params: str) -> Any:
        response = self._send(f"api/v1/{path}", params)
        shown = self._source.shown_url
        if response.status_code in (401, 403) and not (missing and self._answered):
            raise UnreachableError(
                f"Prometheus at {shown} refuses access (HTTP {response.status_code}): "
                "give a bearer token (token, token_file), user:password in the URL, "
                "or a client certificate (cert_file, key_file)"
            )
        try:
            answer = json.loads(response.content)
            status = answer["status"]
        except (ValueError, TypeError, KeyError):
            answer, status = {}, ""
        if status == "success" and response.is_success:
            self._answered = True
            self.warnings.update(quotable(str(said)) for said in answer.get("warnings") or ())
            return answer.get("data")
        if missing:
            return None
        kind = str(answer.get("errorType", ""))
        if kind in ("execution", "timeout") or response.status_code in (413, 422, 503, 504):
            said = str(answer.get("error", f"HTTP {response.status_code}"))
            raise TooHeavyError(quotable(said[:200]))  # it may name the labels of a series
        if kind == "bad_data":
            raise InputError(
                f"Prometheus at {shown} cannot read the query: check --match {self._source.match!r}"
            )
        raise UnreachableError(
            f"{shown} answers HTTP {response.status_code} but not as Prometheus does: "
            "check --prometheus (the base URL, with a path prefix if there is one)"
        )

    def _send(self, path: str, params: Mapping[str, str]) -> httpx.Response:
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            self.requests += 1
            try:
                response = self._http.get(path, params=params)
            except httpx.ReadTimeout:
                # A heavy query and a dead server look alike: a smaller query tells.
                if self._answered:
                    raise TooHeavyError(f"no answer in {self._source.timeout_s:g} s") from None
                raise self._unreachable("no answer in time (timeout_s)") from None
            except httpx.TransportError as error:
                if last or not self._answered:
                    raise self._unreachable(_cause(error)) from None
            except (httpx.TooManyRedirects, httpx.DecodingError) as error:
                raise self._unreachable(type(error).__name__) from None
            else:
                if last or response.status_code not in _BUSY:
                    return response
            time.sleep(0.25 * 2**attempt)
        raise AssertionError("the last try returns or raises")

    def _unreachable(self, cause: str) -> UnreachableError:
        way = "check --prometheus and that the server runs"
        if "certificate" in cause.lower() or "ssl" in cause.lower():
            way = "name the authority that signed its certificate (ca_file), or use insecure"
        return UnreachableError(f"Prometheus at {self._source.shown_url}: {cause}: {way}")


def _cause(error: httpx.TransportError) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}"


def times_of(values: Sequence[Sequence[Any]]) -> npt.NDArray[np.int64]:
    """Times of the samples of one series, ms."""
    seconds = np.fromiter((v[0] for v in values), dtype=np.float64, count=len(values))
    return np.rint(seconds * 1000).astype(np.int64)


def _token(source: PrometheusSource) -> str:
    if source.token_file is None:
        return source.token.strip()
    try:
        return source.token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"token_file {source.token_file}: {type(error).__name__}: name a readable file"
        ) from None


def _tls(source: PrometheusSource) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=source.ca_file)
        if source.cert_file is not None:
            context.load_cert_chain(source.cert_file, source.key_file)
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(str(f) for f in (source.ca_file, source.cert_file, source.key_file) if f)
        raise InputError(
            f"ca_file, cert_file or key_file ({names}): {type(error).__name__}: give PEM files"
        ) from None
    if source.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
