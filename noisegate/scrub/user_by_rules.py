"""The rule for who did something: `approved by jane`."""

import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, before, words
from noisegate.scrub.user_names import named, of_person

_SURNAME_NEXT = re.compile(r"[ ][A-Z][a-z]")
_DEEDS = words("""
    created updated modified changed acked acknowledged approved resolved silenced deployed
    requested reported closed opened triggered started initiated reviewed muted merged pushed
    committed restarted stopped deleted removed disabled enabled locked unlocked assigned
    escalated owned run executed cancelled canceled paused resumed snoozed edited invited killed
    submitted scheduled started aborted reverted rolled authored signed declared cordoned drained
""")


_ACT = re.compile(
    r"(?:su for \S{1,32}|attempt|deploy(?:ment)?|commit \S{1,40}|run \S{1,40}|change|merge) \Z"
)
_HOST_AFTER = re.compile(r"[ ](?:on|from)[ ](?=[\w:-]{0,32}[\d.])[A-Za-z\d][\w.:-]")
_AGENTS = words("""
    cron systemd kubelet watchdog timeout scheduler operator controller monitor alert alerts oom
    daemon kernel autoscaler supervisor supervisord hook webhook job timer user users admin agent
    script jenkins ci cd argocd flux helm terraform ansible puppet chef client server process
    peer host upgrade update deploy deployment default request signal policy event trigger rule
    hand mistake someone automation pipeline system root firewall health healthcheck failover
    replication backup maintenance error panic reboot restart node pod container init
""")


def _check_by(match: re.Match[str]) -> Span | None:
    verb = before(match, 24).rstrip(" ").rpartition(" ")[2].lstrip("(\"'")
    if match.lastgroup == "x1":
        return named(match)
    if match.lastgroup == "x2":  # @handle
        return named(match) if verb in _DEEDS else None
    # `Jane Doe` is a person's name of prose, for the recogniser of names as a whole.
    full = match["x3"].istitle() and _SURNAME_NEXT.match(match.string, match.end("x3"))
    if full or (verb not in _DEEDS and not _ACT.search(before(match, 48))):
        return None
    at_host = verb in _DEEDS and _HOST_AFTER.match(match.string, match.end())
    named_so = at_host and match["x3"].islower() and match["x3"] not in _AGENTS
    return named(match) if named_so or verb == "root" else of_person(match)


USER_BY_RULES = (
    Rule(
        "user_by",
        Entity.USER,
        Copy.LOWER,
        ("by[ :]",),
        r"(?<=[ ])by:?[ ](?:(?P<x1>[A-Za-z_][\w.-]{0,63})[ ]on[ ](?:vty|console|tty)"
        r"|@(?P<x2>[A-Za-z][\w.-]{1,63})"
        r"|(?P<x3>[A-Za-z][A-Za-z0-9]{0,31}(?:[._-][A-Za-z0-9]{2,32})?)(?![\w/@:-]|\.\w))",
        check=_check_by,
        why="a person's name after what was done by one",
        examples=(
            "silence created by ⟦jane.doe⟧ for 2h",
            "acked by @⟦jdoe⟧",
            "deployed by ⟦jane⟧",
            "run started by ⟦mlopez⟧ on",
            "run 7 started by ⟦xqwert⟧ on srv12",
            "Successful su for root by ⟦jane⟧",
            "Configured from console by ⟦ops1⟧ on vty0 (192.0.2.1)",
        ),
        counter_examples=(
            "killed by oom.service",
            "created by prometheus",
            "used by kube.io",
            "triggered by timeout",
            "restarted by watchdog on srv12",
            "acked by Jane Doe",
        ),
    ),
)
"""User names behind `by`."""
