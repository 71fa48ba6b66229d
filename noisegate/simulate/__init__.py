"""Alert histories with the statistics of real ones, from one seed: the same plan, the same bytes.

The statistics lie between those of two public histories (up/down episodes of status pages, a
wireless network's alarm log): alerts per fingerprint, shares of transient alerts, memory,
durations, bursts, storms, rhythm, drift, births. How it is made, and what is an assumption:

* `population`: fingerprints have lognormal rates; half of them are born within the history and live
  for some weeks. A fingerprint flaps as often as its own nature says (a Beta distribution).
* `firing`: incidents start by the clock; some spread inside their service (a power law), each alert
  may come back within the hour. A duration is the quantile of a mixture of three lognormals at a
  normal score, and the score is a sum: fingerprint, its present habit, service and month, incident,
  flapping run, chance. That sum is the memory that a gate can learn.
* Assumed: rule and service decide little of the score (5 % of its variance), so text alone tells
  noise from real hardly better than chance; severity decides nothing of it.
* Assumed: each service has a maintenance window of two hours of one night in four weeks, in which a
  third of its day's incidents fall, most of them short.
* Assumed: several alerts of one fingerprint may fire at once (other pods): none waits for the last.
* `people`, all of it assumed: on-call engineers acknowledge real alerts that still fire after a
  lognormal delay (median 8 minutes, twice that at night; critical ones mostly, info ones hardly
  ever). At the next change of shift (9 and 21 o'clock UTC) the engineer who goes gives verdicts on
  a tenth of the alerts, a quarter of the acknowledged ones: 8 % of the `noise` verdicts are wrong
  and 1 % of the `real` ones, as measured where alerts had two sources of labels. The truth they
  miss: noise if it cleared within 300 s and nobody acknowledged it.
* `texts`: rules of our own; synthetic personal data and secrets in a settable share of messages.

For much more than 100,000 alerts ask for more services or days: in a service that fires every few
minutes any alert looks like part of a storm.
"""

from noisegate.simulate.history import RAW_SCHEMA, SimulationPlan, simulate

__all__ = ["RAW_SCHEMA", "SimulationPlan", "simulate"]
