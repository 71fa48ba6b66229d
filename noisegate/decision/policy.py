"""What operators ask for, and the operating points that answer it: values, no search."""

from dataclasses import dataclass

import numpy as np

from noisegate.errors import PolicyError
from noisegate.settings import Settings

PRICES = np.geomspace(0.05, 40.0, 128)
"""Prices of delay that are compared: noise alerts one would let page to spare one real alert a
delay of T. A high price holds little."""

CANDIDATES = ("rule", "hazard", "blend")
"""Forecasts that compete; the first wins ties."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for one service.

    Attributes:
        transient_s: T, seconds.
        delay_budget_s: mean delay of real alerts, seconds.
        max_hold_s: longest hold, seconds; never over T.
        min_outcomes: known outcomes below which an alert pages.
    """

    transient_s: float
    delay_budget_s: float
    max_hold_s: float
    min_outcomes: int


def policy_for(settings: Settings, service: str | None = None) -> Policy:
    """What the settings say for a service, or for the team (None).

    Raises:
        PolicyError: the longest hold, its margin and the route's delay together exceed T, so that
            a held alert that is real could outlive the hold unseen.
    """
    own = settings.services.get(service) if service is not None else None
    transient_s = (own and own.transient_s) or settings.transient_s
    slack_s = settings.hold_margin_s + settings.route_delay_s
    max_hold_s = (own and own.max_hold_s) or settings.max_hold_s
    budget = settings.delay_budget_s
    if own is not None and own.delay_budget_s is not None:
        budget = own.delay_budget_s
    where = "" if service is None else f"services.{service}."
    if max_hold_s is None:
        max_hold_s = transient_s - slack_s
    if max_hold_s <= 0 or max_hold_s + slack_s > transient_s:
        raise PolicyError(
            f"{where}max_hold_s is {max_hold_s:g}, hold_margin_s {settings.hold_margin_s:g}, "
            f"route_delay_s {settings.route_delay_s:g}: together they exceed transient_s "
            f"{transient_s:g}; make the hold shorter or T longer"
        )
    return Policy(transient_s, budget, max_hold_s, settings.min_outcomes)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The price of delay in force, and what it rests on.

    Attributes:
        price: one of PRICES, or None: too little evidence, so everything pages.
        real_alerts: known real alerts that it was replayed on.
        delay_s: their mean delay at this price, seconds.
        delay_upper_s: upper 95 % bound of that mean, seconds.
        noise_off: share of the past noise that it would have kept off the pager.
    """

    price: float | None
    real_alerts: int = 0
    delay_s: float = 0.0
    delay_upper_s: float = 0.0
    noise_off: float = 0.0


NO_POINT = OperatingPoint(None)
