"""Who fires: services and fingerprints, each with its rate, its life and its habits."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from noisegate.simulate.texts import RULES, service_names

ALERTS_PER_FINGERPRINT = 36
"""Alerts of a history for each fingerprint that may fire in it."""

RATE_SIGMA, RATE_LIMIT = 1.6, 2.8
"""Sigma of the lognormal rates, and where they are cut off, in sigmas."""

SERVICE_SIGMA = 0.8
"""Sigma of the lognormal sizes of services."""

YOUNG_SHARE, LIFE_DAYS = 0.5, 50.0
"""Share of fingerprints that are born within the history, and their mean life, days."""

FLAPPING = (0.45, 1.3)
"""Beta distribution over fingerprints of the chance that an alert comes back within the hour."""

FINGERPRINT_WEIGHT, RULE_WEIGHT, SERVICE_WEIGHT = 0.28, 0.04, 0.01
"""Shares of the variance of an alert's duration score (`history`) that these decide."""

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Population:
    """All fingerprints, sorted by service: arrays have shape (fingerprints,) unless they say so."""

    services: list[str]
    service: Ints
    rule: Ints
    rate: Floats
    """Relative chance to be the one that fires."""
    born_day: Floats
    gone_day: Floats
    flapping: Floats
    level: Floats
    """Its part of the duration score: below 0 it clears sooner than most."""
    first: Ints
    """First fingerprint of each service, and the total: shape (services + 1,)."""
    labels: tuple[Any, Any, Any]
    """JSON of its labels: the parts before, between and after pod and replica (Arrow strings)."""


def populate(alerts: int, days: float, services: int, rng: np.random.Generator) -> Population:
    """Draw the fingerprints of a history of `alerts` alerts over `days` days."""
    count = max(services, round(alerts / ALERTS_PER_FINGERPRINT))
    # Every service has one fingerprint that lives throughout, so that someone can always fire.
    share = rng.lognormal(0.0, SERVICE_SIGMA, services)
    others = rng.choice(services, count - services, p=share / share.sum())
    service = np.sort(np.concatenate([np.arange(services), others])).astype(np.int64)
    first = np.searchsorted(service, np.arange(services + 1)).astype(np.int64)
    young = rng.random(count) < YOUNG_SHARE
    young[first[:-1]] = False
    born = np.where(young, rng.uniform(-LIFE_DAYS, days, count), -np.inf)
    gone = np.where(young, born + rng.exponential(LIFE_DAYS, count), np.inf)
    flapping = rng.beta(*FLAPPING, size=count)
    rate = np.exp(RATE_SIGMA * rng.normal(size=count).clip(max=RATE_LIMIT))
    rule = _rules(rate, rng)
    mass = rate * (np.minimum(gone, days) - np.maximum(born, 0.0)).clip(0.0)
    return Population(
        services=service_names(services),
        service=service,
        rule=rule,
        # A flapping fingerprint fires oftener for each time that it is picked.
        rate=rate * (1 - flapping),
        born_day=born,
        gone_day=gone,
        flapping=flapping,
        level=_levels(service, rule, mass, rng),
        first=first,
        labels=_labels(service, rule, rng, service_names(services)),
    )


def _rules(rate: Floats, rng: np.random.Generator) -> Ints:
    """A rule for each fingerprint: the busiest ones are spread evenly over the rules."""
    rounds = -(-len(rate) // len(RULES))
    dealt = np.concatenate([rng.permutation(len(RULES)) for _ in range(rounds)])[: len(rate)]
    rule = np.empty(len(rate), dtype=np.int64)
    rule[np.argsort(-rate)] = dealt
    return rule


def _levels(service: Ints, rule: Ints, mass: Floats, rng: np.random.Generator) -> Floats:
    """Duration levels of fingerprints, of which rule and service decide a small, set part.

    Left to chance, the few busy fingerprints of a rule or a service would make its name a good
    guess of noise: the mean of each over its alerts is taken out, and a small one put in.
    """
    weight = mass + 1e-9 * mass.max() + 1e-30
    own = rng.normal(0.0, FINGERPRINT_WEIGHT**0.5, len(service))
    for _ in range(5):
        for key in (rule, service):
            total = np.bincount(key, weight)
            mean = np.bincount(key, weight * own) / np.where(total > 0, total, 1.0)
            # Where one fingerprint is nearly all there is, its mean is its own.
            alone = np.bincount(key, weight**2) / np.where(total > 0, total, 1.0) ** 2
            own = own - ((1 - alone) * mean)[key]
    own *= (FINGERPRINT_WEIGHT / np.average(own**2, weights=weight)) ** 0.5
    of_rule = rng.normal(0.0, RULE_WEIGHT**0.5, len(RULES))
    of_service = rng.normal(0.0, SERVICE_WEIGHT**0.5, int(service.max()) + 1)
    return own + of_rule[rule] + of_service[service]


def _labels(
    service: Ints, rule: Ints, rng: np.random.Generator, names: list[str]
) -> tuple[Any, Any, Any]:
    """JSON objects with sorted keys, split where the labels of a single alert go in."""
    regions = ("eu-north", "eu-west", "us-east", "ap-south")
    teams = ("core", "edge", "data", "money", "people", "shop", "stream")
    clusters = rng.integers(8, size=len(names))
    by_address = rng.random(len(names)) < 0.3
    before, between, after = [], [], []
    seen: dict[tuple[int, int], int] = {}
    for s, r in zip(service.tolist(), rule.tolist(), strict=True):
        # The n-th fingerprint of a rule in a service sits on the n-th host of the service.
        n = seen[s, r] = seen.get((s, r), -1) + 1
        host = f"203.0.113.{n % 254 + 1}" if by_address[s] else f"{names[s]}-{n}.example.net"
        cluster = int(clusters[s])
        own = {
            "alertname": RULES[r].name,
            "cluster": f"prod-{cluster}",
            "instance": f"{host}:{9100 + n // 254}",
        }
        before.append(json.dumps(own)[:-1] + f', "pod": "{names[s]}-')
        between.append(f'", "region": "{regions[cluster % len(regions)]}", "replica": "')
        rest = {
            "service": names[s],
            "severity": RULES[r].severity,
            "team": teams[s % len(teams)],
        }
        after.append(f'", {json.dumps(rest)[1:]}')
    return pa.array(before), pa.array(between), pa.array(after)
