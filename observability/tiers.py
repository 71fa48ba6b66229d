"""Burn-rate tiers of an SLO in OpenSLO's words: inline alert policies with inline conditions."""

from observability.documents import Fields, bad_duration, near, parse_duration
from observability.slo import WORKBOOK, Burn

PREFIX = "noisegate/"
"""Of our annotations."""

SHORT_WINDOW = f"{PREFIX}short-window"
"""Annotation of an alert condition."""

METADATA = ("name", "displayName", "labels", "annotations")
POLICY = ("kind", "metadata", "spec", "alertPolicyRef")
SEVERITIES = {"page": "", "ticket": ""}
INLINE = "write it inline in the SLO"


def read_policy(policy: Fields) -> Burn:
    """One tier from an inline AlertPolicy with one inline AlertCondition.

    OpenSLO has one window; the short one is a twelfth of it, as in the workbook, or the
    condition's annotation `noisegate/short-window`.
    """
    policy.unsupported({"alertPolicyRef": INLINE})
    policy.choice("kind", {"AlertPolicy": ""})
    _only_text(policy.child("metadata", METADATA))
    spec = policy.child(
        "spec",
        (
            *("description", "alertWhenNoData", "alertWhenResolved", "alertWhenBreaching"),
            *("conditions", "notificationTargets"),
        ),
    )
    spec.text("description", default="")
    for key in ("alertWhenNoData", "alertWhenResolved", "alertWhenBreaching"):
        if not spec.flag(key, True):
            spec.refuse(key, "cannot be false: people are always told, leave it out")
    conditions = spec.children("conditions", ("kind", "metadata", "spec", "conditionRef"))
    if len(conditions) != 1:
        spec.refuse("conditions", f"are {len(conditions)}: OpenSLO has exactly one in a policy")
    tier = _condition(conditions[0]) if conditions else WORKBOOK[0]
    for target in spec.children("notificationTargets", ("targetRef", "kind", "metadata", "spec")):
        way = "Alertmanager routes by severity, write `targetRef: page` or `ticket`"
        target.unsupported({"kind": way, "metadata": way, "spec": way})
        if target.text("targetRef", "page or ticket") != tier.severity:
            target.refuse("targetRef", f"is not the severity {tier.severity}: {way}")
    return tier


def _condition(condition: Fields) -> Burn:
    condition.unsupported({"conditionRef": INLINE})
    condition.choice("kind", {"AlertCondition": ""})
    metadata = condition.child("metadata", METADATA)
    annotations = _only_text(metadata)
    spec = condition.child("spec", ("description", "severity", "condition"))
    spec.text("description", default="")
    severity = spec.choice("severity", SEVERITIES)
    burn = spec.child("condition", ("kind", "op", "threshold", "lookbackWindow", "alertAfter"))
    burn.choice("kind", {"burnrate": ""})
    burn.choice("op", {"gt": "", "gte": ""} | dict.fromkeys(("lt", "lte"), "write gt"))
    factor = float(burn.number("threshold", "a burn rate, such as 14.4"))
    if factor <= 0:
        burn.refuse("threshold", f"{factor:g} is no burn rate: give a number above 0")
    if burn.text("alertAfter", default="0m") != "0m":
        burn.refuse("alertAfter", "must be 0m: the short window says that it still burns")
    long_s = burn.duration("lookbackWindow")
    short = annotations.text(SHORT_WINDOW, default="")
    short_s = parse_duration(short) if short else long_s / 12
    if short_s is None:
        annotations.refuse(SHORT_WINDOW, f"{short[:60]} is {bad_duration(short)}")
    elif not 60 <= short_s < long_s or short_s % 60:
        way = f"whole minutes below the long one: set {SHORT_WINDOW} of the condition"
        burn.refuse("lookbackWindow", f"makes the short window {short_s / 60:g} minutes, not {way}")
    name = f"{severity}_{burn.text('lookbackWindow', default='1h')}"
    return Burn(name, severity, factor, long_s, short_s or 60.0)


def _only_text(metadata: Fields) -> Fields:
    """The annotations of a metadata whose names are for readers only."""
    metadata.name()
    metadata.text("displayName", default="")
    metadata.unsupported({"labels": "alerts do not carry them, write annotations"})
    annotations = metadata.child("annotations", (), required=False)
    for key in annotations:
        if key != SHORT_WINDOW:
            annotations.text(key)
        if key.startswith(PREFIX) and key != SHORT_WINDOW:
            annotations.refuse(key, f"is not known here: {near(key, (SHORT_WINDOW,))}")
    return annotations
