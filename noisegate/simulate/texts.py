"""What simulated alerts say: alert rules of our own, with synthetic personal data and secrets.

Severities and `for` have the shares of public rule sets (58/39/3 % warning/critical/info; `for`
5m 32 %, none 22 %, 2m 16 %, 1m 12 %). Nothing here belongs to anyone: addresses are of example.com
and the documentation ranges (RFC 2606, 5737, 3849, 7042), cards and national ids are published test
numbers, keys are made up.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_RULES = """
NodeMemoryPressure|warning|2m|Free memory on {node} fell to {percent} of the total.
NodeDiskFilling|warning|5m|Disk of {node} is {percent} full and growing.
NodeDiskGone|critical|0|A volume of {node} went away; {value} mounts answer with errors.
NodeClockDrift|warning|5m|Clock of {node} is off by {value} ms against its time server.
NodeLoadHigh|warning|10m|Load per core on {node} stays above {value}.
NodeNetworkErrors|warning|5m|Interface of {node} drops {value} frames a second.
NodeUnreachable|critical|1m|Exporter on {node} has not answered {value} scrapes in a row.
NodeReboot|info|0|{node} came back after a restart, up for {value} s.
NodeConntrackFull|critical|2m|Connection table of {node} is at {percent}.
NodeTemperature|warning|5m|Sensor {value} of {node} reads over its limit.
PodRestarting|warning|5m|Pod {service}-{pod} restarts again and again.
PodNotReady|warning|15m|Pod {service}-{pod} is not ready.
PodOutOfMemory|critical|0|Container in {service}-{pod} was killed for memory.
PodImageMissing|warning|5m|Image of {service}-{pod} cannot be pulled.
PodEvicted|warning|0|Pod {service}-{pod} was evicted by the kubelet.
DeploymentBehind|warning|15m|Rollout of {service} has {value} replicas too few.
DeploymentStuck|critical|10m|Rollout of {service} made no progress for {value} s.
JobFailed|warning|0|A scheduled run of {service} ended with code {value}.
JobLate|warning|5m|The scheduled run of {service} is late by {value} s.
QuotaNearlyUsed|info|15m|Namespace of {service} uses {percent} of its quota.
AutoscalerAtMaximum|warning|15m|Autoscaler of {service} sits at its upper limit of {value}.
ApiErrorsHigh|critical|2m|Requests to {service} fail: {percent} answered with a 5xx.
ApiErrorsRaised|warning|5m|Errors of {service} rose to {percent} of requests.
ApiLatencyHigh|critical|5m|The slowest hundredth of requests to {service} takes {value} ms.
ApiLatencyRaised|warning|5m|Median latency of {service} doubled to {value} ms.
ApiTrafficGone|critical|5m|{service} gets {value} requests a second, far under its usual rate.
ApiSaturated|warning|2m|Worker threads of {service} are {percent} busy.
ProbeFailed|critical|1m|Probe of {service} failed with status {value}.
ProbeSlow|warning|5m|Probe of {service} took {value} ms.
CertificateExpiring|warning|1h|Certificate of {service} runs out in {value} hours.
CertificateExpired|critical|0|Certificate of {service} ran out {value} s ago.
DnsLookupsFailing|critical|2m|Name lookups from {node} fail, {percent} of them.
GatewayTimeouts|critical|1m|Upstream {service} timed out {value} times in a minute.
GatewayRejects|warning|2m|Gateway turned away {percent} of calls to {service}.
LoadBalancerNoBackend|critical|1m|No healthy backend left for {service}, {value} marked down.
LoadBalancerFewBackends|warning|2m|Only {percent} of the backends of {service} are healthy.
DatabaseDown|critical|0|Database of {service} refuses connections, attempt {value}.
DatabaseReplicaLag|warning|5m|Replica of {service} is {value} s behind.
DatabaseReplicaBroken|critical|1m|Replication of {service} stopped after error {value}.
DatabaseConnectionsHigh|warning|2m|Connections of {service} are {percent} used.
DatabaseDeadlocks|warning|0|{value} deadlocks in {service} within a minute.
DatabaseSlowQueries|warning|5m|Queries of {service} take {value} ms on average.
DatabaseDiskUrgent|critical|5m|Data volume of {service} is {percent} full.
DatabaseVacuumLate|warning|1h|No vacuum in {service} for {value} hours.
DatabaseBackupMissing|critical|30m|Newest backup of {service} is {value} hours old.
CacheEvictions|warning|5m|Cache of {service} evicts {value} keys a second.
CacheMissesHigh|warning|5m|{percent} of the reads of {service} miss the cache.
CacheDown|critical|1m|Cache node of {service} is gone, {value} clients wait.
CacheMemoryFull|critical|1m|Cache of {service} uses {percent} of its memory.
QueueBacklog|warning|5m|{value} messages wait for {service}.
QueueBacklogUrgent|critical|10m|Backlog of {service} will not drain: {value} messages.
QueueNoConsumer|critical|1m|No consumer reads the queue of {service}; {value} messages wait.
QueueDeadLetters|warning|0|{value} messages of {service} went to the dead letter queue.
QueueLag|warning|5m|Consumer group of {service} lags by {value} messages.
BrokerPartitionsOffline|critical|0|{value} partitions used by {service} have no leader.
BrokerReplicasBehind|warning|2m|{value} partitions used by {service} are under-replicated.
StorageSlow|warning|5m|Writes from {node} take {value} ms.
StorageDegraded|critical|0|Array of {node} is degraded, disk {value} failed.
BucketErrors|warning|2m|Object store turned away {percent} of the writes of {service}.
ScrapeTargetMissing|critical|0|Target {service} vanished from the scrape list of {node}.
RuleEvaluationFailing|critical|5m|Rules of {service} failed {value} evaluations.
RemoteWriteBehind|warning|10m|Remote write from {node} is {value} s behind.
LogVolumeRaised|warning|0|{service} logs {value} lines a second.
LoginFailuresHigh|warning|0|{value} failed logins to {service} in a minute.
PaymentDeclinesHigh|critical|5m|{percent} of payments through {service} are declined.
BatchThroughputLow|critical|30m|{service} handles {value} items a second, under its floor.
"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "0": 0}
_KINDS = ("empty", "service", "node", "pod", "value", "percent")
_FIRST = ("ada", "grace", "alan", "edsger", "barbara", "donald", "margaret", "dennis", "radia")
_LAST = ("example", "sample", "specimen", "placeholder", "testcase", "dummy", "mockup", "demo")
_ROLE = ("api", "worker", "db", "gateway", "cache", "stream", "batch", "web")
_DOMAIN = (
    *("checkout", "billing", "search", "profile", "catalog", "shipping"),
    *("media", "login", "fraud", "ledger", "notify", "report"),
)

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule: `for_s` in seconds, `text` with at most two slots such as `{service}`."""

    name: str
    severity: str
    for_s: int
    text: str


def _rule(line: str) -> Rule:
    name, severity, hold, text = line.split("|")
    for_s = int(hold.rstrip("smh")) * _UNITS[hold[-1]]
    return Rule(name, severity, for_s, text)


RULES: tuple[Rule, ...] = tuple(_rule(line) for line in _RULES.split("\n") if line)
"""The alert rules of every simulated history."""


def service_names(count: int) -> list[str]:
    """Distinct service names, such as `billing-worker`."""
    names = [f"{domain}-{role}" for role, domain in product(_ROLE, _DOMAIN)]
    return [
        names[i % len(names)] + (f"-{i // len(names) + 1}" if i >= len(names) else "")
        for i in range(count)
    ]


def _personal(pick: Callable[[int], int]) -> list[str]:
    """One sentence of each kind with personal data in it; `pick(n)` draws from range(n)."""
    first, last = _FIRST[pick(len(_FIRST))], _LAST[pick(len(_LAST))]
    net = ("192.0.2", "198.51.100", "203.0.113")[pick(3)]
    card = ("4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005")[pick(3)]
    iban = ("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000")[pick(2)]
    return [
        f" Reported by {first}.{last}@example.com.",
        f" Last client {net}.{pick(254) + 1}.",
        f" Peer 2001:db8::{pick(65_536):x}:{pick(65_536):x} timed out.",
        f" Seen from 00:00:5e:00:53:{pick(256):02x}.",
        f" Call {first} at +1 202-555-01{pick(100):02d}.",
        f" Card {card} was refused.",
        f" Transfer to {iban} is open.",
        f" Applicant 078-05-1120 (case {pick(10_000)}) is affected.",
        f" Core dump in /home/{first}{pick(100)}/core.",
    ]


def _secret(pick: Callable[[int], int]) -> list[str]:
    """One sentence of each kind with a made-up secret in it."""
    noise = "".join("abcdefghijkmnpqrstuvwxyz23456789"[pick(32)] for _ in range(24))
    # Put together here, so that no scanner of source code takes them for leaked ones.
    jwt = ".".join(("eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiJleGFtcGxlIn0", noise))
    return [
        f" Tried with password={noise[:12]}.",
        " Key " + "AKIA" + noise[:16].upper() + " was denied.",
        f" Header was Authorization: Bearer {noise}.",
        f" Token {jwt} has expired.",
        f" DSN postgres://app:{noise[:10]}@db.example.com/app failed.",
    ]


@dataclass(frozen=True, slots=True)
class Phrases:
    """Strings to pick by number, and where each kind of slot begins among them."""

    services: Any  # string arrays of Arrow, which has no types of its own
    pods: Any
    segments: tuple[Any, Any, Any]
    slots: Any
    first: Indices
    size: Indices
    kinds: tuple[Indices, Indices]
    tails: Any
    personal: int
    secret: int


def phrases(services: list[str], rng: np.random.Generator) -> Phrases:
    """Build what `messages` picks from: a few thousand strings, however many alerts there are."""

    def pick(below: int) -> int:
        return int(rng.integers(below))

    letters = np.array(list("bcdfghjklmnpqrstvwxz2456789"))
    pods = letters[rng.integers(len(letters), size=(4096, 10))]
    kinds: dict[str, list[str]] = {
        "empty": [""],
        "service": services,
        "node": [f"node-{i:03d}.example.net" for i in range(400)],
        "pod": [f"{''.join(pod[:5])}-{''.join(pod[5:])}" for pod in pods],
        "value": [f"{v:.0f}" for v in 2 + np.exp(rng.normal(3.0, 1.5, 2000))],
        "percent": [f"{i / 10:.1f} %" for i in range(1, 1000)],
    }
    sizes = np.array([len(kinds[kind]) for kind in _KINDS], dtype=np.int64)
    personal = [text for _ in range(100) for text in _personal(pick)]
    secret = [text for _ in range(100) for text in _secret(pick)]
    parts = [re.split(r"\{(\w+)\}", rule.text) for rule in RULES]
    parts = [part + ["empty", ""] * ((5 - len(part)) // 2) for part in parts]
    first, second = ([_KINDS.index(part[i]) for part in parts] for i in (1, 3))
    return Phrases(
        services=pa.array(services),
        pods=pa.array(kinds["pod"]),
        segments=(
            pa.array([part[0] for part in parts]),
            pa.array([part[2] for part in parts]),
            pa.array([part[4] for part in parts]),
        ),
        slots=pa.array([text for kind in _KINDS for text in kinds[kind]]),
        first=np.cumsum(sizes) - sizes,
        size=sizes,
        kinds=(np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)),
        tails=pa.array(["", *personal, *secret]),
        personal=len(personal),
        secret=len(secret),
    )


def messages(
    words: Phrases,
    rule: Indices,
    service: Indices,
    shares: tuple[float, float],
    rng: np.random.Generator,
) -> Any:
    """Texts of alerts, raw: with personal data and secrets in them, as an Arrow string array.

    Args:
        words: what to pick from.
        rule: index into RULES, shape (alerts,).
        service: index into the services of `words`, shape (alerts,).
        shares: of alerts with personal data, and of alerts with a secret.
        rng: what to draw with.
    """
    count = len(rule)

    def slot(kind: Indices) -> Any:
        any_word = (rng.random(count) * words.size[kind]).astype(np.int64)
        word = np.where(kind == _KINDS.index("service"), service, any_word)
        return words.slots.take(pa.array(words.first[kind] + word))

    luck = rng.random(count)
    tail = np.zeros(count, dtype=np.int64)
    has_personal = luck < shares[0]
    tail[has_personal] = 1 + rng.integers(words.personal, size=int(has_personal.sum()))
    # Both shares come from the same draw, so at most one of the two is in an alert.
    has_secret = luck >= 1 - shares[1]
    tail[has_secret] = 1 + words.personal + rng.integers(words.secret, size=int(has_secret.sum()))
    row = pa.array(rule)
    before, between, after = (segment.take(row) for segment in words.segments)
    first, second = (slot(kind[rule]) for kind in words.kinds)
    return pc.binary_join_element_wise(
        before, first, between, second, after, words.tails.take(pa.array(tail)), ""
    )
