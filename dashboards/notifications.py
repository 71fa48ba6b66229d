"""Who is told, and in what words: contact points, policies, mute timings and templates.

Classes in grafanalib's style, which has none of these, for the file provisioning of Grafana 11
(https://grafana.com/docs/grafana/v11.6/alerting/set-up/provision-alerting-resources/file-provisioning/).
In all of them Grafana replaces `$NAME` by the environment's value: secrets are nothing else here,
and no template may use a `$` of its own. An empty value is refused by Grafana, which then does not
start: give every name of ENVIRONMENT a value.
"""

from collections.abc import Sequence

import attr

from dashboards.grafana11 import Json, Plain

PAGES = "noisegate-pages"
TICKETS = "noisegate-tickets"
WEEKEND = "noisegate-weekend"
ENVIRONMENT = ("SLACK_WEBHOOK_URL", "PAGERDUTY_INTEGRATION_KEY", "TICKET_WEBHOOK_URL")
"""What the files below read from Grafana's environment."""

MESSAGES = """\
{{ define "noisegate.title" -}}
{{ if eq .Status "resolved" }}RESOLVED{{ else }}{{ .CommonLabels.severity | toUpper }}{{ end -}}
{{ with .CommonLabels.slo }} {{ . }}{{ end }}: {{ (index .Alerts 0).Annotations.summary -}}
{{ if gt (len .Alerts) 1 }} (1 of {{ len .Alerts }}){{ end -}}
{{ end }}

{{ define "noisegate.text" -}}
{{ range .Alerts -}}
{{ if eq .Status "resolved" }}Resolved: {{ end }}{{ .Annotations.summary }}
{{ with .Annotations.description }}{{ . }}
{{ end }}{{ with .Annotations.budget_left }}Error budget left: {{ . }}
{{ end }}{{ with .Annotations.exhausted_in }}Budget spent in: {{ . }}
{{ end }}{{ with .Annotations.runbook_url }}Runbook: {{ . }}
{{ end }}{{ with or .Annotations.panel_url .Annotations.dashboard_url }}Panel: {{ . }}
{{ end }}
{{ end -}}
{{ end }}
"""
"""Go templates that Alertmanager and Grafana both understand, so without `$`."""

_TITLE = '{{ template "noisegate.title" . }}'
_TEXT = '{{ template "noisegate.text" . }}'


@attr.frozen(kw_only=True)
class Receiver(Plain):
    """One way in which a contact point sends."""

    uid: str
    type: str
    settings: Json


def slack(uid: str, url: str) -> Receiver:
    """Write to the Slack channel of an incoming webhook, `url`."""
    return Receiver(uid=uid, type="slack", settings={"url": url, "title": _TITLE, "text": _TEXT})


def pagerduty(uid: str, integration_key: str) -> Receiver:
    """Open, and close, an incident by PagerDuty's Events API v2."""
    settings = {
        "integrationKey": integration_key,
        "severity": "critical",
        "class": "slo",
        "component": "{{ .CommonLabels.service }}",
        "group": "{{ .CommonLabels.slo }}",
        "summary": _TITLE,
        "details": {"text": _TEXT},
    }
    return Receiver(uid=uid, type="pagerduty", settings=settings)


def webhook(uid: str, url: str) -> Receiver:
    """Post Grafana's JSON of the group of alerts to `url`."""
    settings = {"url": url, "httpMethod": "POST", "title": _TITLE, "message": _TEXT}
    return Receiver(uid=uid, type="webhook", settings=settings)


@attr.frozen(kw_only=True)
class ContactPoint(Plain):
    """A name that policies send to, and all the ways in which it sends."""

    name: str
    receivers: Sequence[Receiver]
    orgId: int = 1


@attr.frozen(kw_only=True)
class Policy(Plain):
    """A branch of the policy tree: alerts that match go to a contact point, grouped.

    Args:
        receiver: name of the contact point.
        group_by: alerts with the same values of these labels are one notification.
        group_wait: how long a new group waits for more alerts.
        group_interval: how long a group that changed waits before it says so.
        repeat_interval: after what time an unchanged group is said again.
        object_matchers: (label, operator, value); all must match.
        mute_time_intervals: names of the times when nothing is sent.
        routes: branches below this one, tried in order.
        orgId: of the root alone.
    """

    receiver: str
    group_by: Sequence[str]
    group_wait: str
    group_interval: str
    repeat_interval: str
    object_matchers: Sequence[Sequence[str]] | None = None
    mute_time_intervals: Sequence[str] | None = None
    routes: Sequence["Policy"] | None = None
    orgId: int | None = None


@attr.frozen(kw_only=True)
class MuteTiming(Plain):
    """Times when a policy sends nothing, in UTC."""

    name: str
    time_intervals: Sequence[Json]
    orgId: int = 1


@attr.frozen(kw_only=True)
class MessageTemplate(Plain):
    """Go templates that contact points name."""

    name: str
    template: str
    orgId: int = 1


@attr.frozen(kw_only=True)
class NotificationFile(Plain):
    """One provisioning file; its policy replaces the whole policy tree of the organisation."""

    contactPoints: Sequence[ContactPoint]
    policies: Sequence[Policy]
    muteTimes: Sequence[MuteTiming] | None = None
    templates: Sequence[MessageTemplate] | None = None
    apiVersion: int = 1


def notifications() -> NotificationFile:
    """Say who hears of what: pages wake a person, tickets wait for Monday.

    deploy/alertmanager.yml says the same to Alertmanager.
    """
    chat = "$SLACK_WEBHOOK_URL"
    pages = ContactPoint(
        name=PAGES,
        receivers=[
            pagerduty("noisegate-pages-pagerduty", "$PAGERDUTY_INTEGRATION_KEY"),
            slack("noisegate-pages-slack", chat),
        ],
    )
    tickets = ContactPoint(
        name=TICKETS,
        receivers=[
            slack("noisegate-tickets-slack", chat),
            webhook("noisegate-tickets-webhook", "$TICKET_WEBHOOK_URL"),
        ],
    )
    return NotificationFile(
        contactPoints=[pages, tickets],
        policies=[_policies()],
        muteTimes=[MuteTiming(name=WEEKEND, time_intervals=[{"weekdays": ["saturday", "sunday"]}])],
        templates=[MessageTemplate(name="noisegate", template=MESSAGES)],
    )


def _policies() -> Policy:
    page = ("severity", "=", "page")
    absent = ("tier", "=", "absent")
    return Policy(
        orgId=1,
        receiver=TICKETS,
        group_by=["slo", "alertname"],
        group_wait="1m",
        group_interval="30m",
        repeat_interval="1d",
        routes=[
            # When the exporter or Prometheus is gone every SLO says so: that is one page, not ten.
            _pages([page, absent], group_by=["tier"]),
            _pages([page], group_by=["slo"]),
            Policy(
                receiver=TICKETS,
                object_matchers=[("severity", "=", "ticket")],
                group_by=["slo"],
                group_wait="1m",
                group_interval="30m",
                repeat_interval="1d",
                mute_time_intervals=[WEEKEND],
            ),
        ],
    )


def _pages(matchers: Sequence[Sequence[str]], group_by: Sequence[str]) -> Policy:
    return Policy(
        receiver=PAGES,
        object_matchers=matchers,
        group_by=group_by,
        group_wait="10s",
        group_interval="1m",
        repeat_interval="4h",
    )
