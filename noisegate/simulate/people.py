"""What people do with simulated alerts: acknowledge and judge them. All of it is assumed."""

from dataclasses import dataclass

import numpy as np

from noisegate.simulate.population import Floats

TRANSIENT_S = 300.0
"""An alert that clears within it, seconds, and that nobody acknowledged was noise."""

ACK_SHARE = {"critical": 0.7, "warning": 0.45, "info": 0.05}
"""Chance that someone acknowledges a real alert, if it still fires by then."""

ACK_MEDIAN_S, ACK_SIGMA, ACK_NIGHT = 480.0, 0.8, 2.0
"""Delay of an acknowledgement, and how much longer it takes between 22 and 6 o'clock."""

VERDICT_SHARE, VERDICT_SHARE_ACKED = 0.10, 0.25
"""Share of alerts that get a verdict, without and with an acknowledgement."""

WRONG_NOISE, WRONG_REAL = 0.08, 0.01
"""Share of `noise` verdicts on real alerts, and of `real` verdicts on noise."""

SHIFT_S, SHIFT_CHANGE_S, HANDOVER_S = 43_200.0, 32_400.0, 1800.0
"""Shifts change at 9 and 21 o'clock; verdicts are given in the half hour after."""

Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Handled:
    """What people did, arrays of shape (alerts,); times in seconds, inf where they did nothing."""

    acked_s: Floats
    verdict_s: Floats
    says_noise: Bools


@dataclass(slots=True)
class People:
    """The on-call engineers, over the whole history."""

    due: dict[bool, float]
    """How near the next wrong verdict on a real alert (True) and on noise (False) is, in [0, 1)."""

    def handle(
        self,
        start_s: Floats,
        duration_s: Floats,
        ack_share: Floats,
        clock_s: float,
        rng: np.random.Generator,
    ) -> Handled:
        """Acknowledge and judge alerts.

        A verdict waits for the end of its alert, but for half a day at most.

        Args:
            start_s: seconds since the history began.
            duration_s: seconds.
            ack_share: chance that an on-call engineer takes it on, if it is still there.
            clock_s: time of day at which the history began, seconds.
            rng: what to draw with.
        """
        count = len(start_s)
        hour = (start_s + clock_s) % 86_400.0 / 3600.0
        slow = np.where((hour < 6) | (hour >= 22), ACK_NIGHT, 1.0)
        delay = slow * rng.lognormal(np.log(ACK_MEDIAN_S), ACK_SIGMA, count)
        real = duration_s > TRANSIENT_S
        acked = real & (delay < duration_s) & (rng.random(count) < ack_share)
        judged = rng.random(count) < np.where(acked, VERDICT_SHARE_ACKED, VERDICT_SHARE)
        over = start_s + np.minimum(duration_s, SHIFT_S) + clock_s - SHIFT_CHANGE_S
        handover = np.ceil(over / SHIFT_S) * SHIFT_S + SHIFT_CHANGE_S - clock_s
        said_at = handover + HANDOVER_S * rng.random(count)
        return Handled(
            acked_s=np.where(acked, start_s + delay, np.inf),
            verdict_s=np.where(judged, said_at, np.inf),
            says_noise=self._judge(real, judged),
        )

    def _judge(self, real: Bools, judged: Bools) -> Bools:
        """True where the verdict is `noise`, wrong as often as verdicts are, not as alerts are."""
        noise = ~real
        share = noise[judged].mean() if judged.any() else 0.5
        says = np.clip((share - WRONG_REAL) / (1 - WRONG_NOISE - WRONG_REAL), 0.0, 1.0)
        wrong = np.zeros(len(real), dtype=bool)
        for truth, rate in (
            (True, WRONG_NOISE * says / max(1 - share, 1e-9)),
            (False, WRONG_REAL * (1 - says) / max(share, 1e-9)),
        ):
            rows = np.flatnonzero(judged & (real == truth))
            # Every so many, not by chance: rare errors would be far off their rate otherwise.
            total = self.due[truth] + min(rate, 1.0) * np.arange(len(rows) + 1)
            wrong[rows] = np.diff(np.floor(total)) > 0
            self.due[truth] = float(total[-1] % 1.0)
        return noise ^ wrong
