"""Label values that matchers select, or do not: what an SLI counts, before any series exists.

A selector is a conjunction of matchers, so each label can be looked at by itself. Values of our
own metrics are known; of others they are made from what the matchers say, and tried.
"""

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_letters, digits

from noisegate.metrics import VALUES
from observability.slo import Selector, known_metrics

Matcher = tuple[str, str, str]
"""Label, operator, value."""

OTHER = "other"
"""A value that no matcher names, first choice for a label of which nothing is known."""

_CHARACTERS = f"{digits}{ascii_letters}-_./: ,;@+=#%&*()[]{{}}<>|!?$^~'\"\\"
_SPECIAL = re.compile(r"[\\.+*?()\[\]{}^$]")
_ALL = {("=~", text) for text in (".*", ".+", "(.*)", "(.+)", "^.*$", "^.+$")} | {("!=", "")}
_MOST, _LONGEST = 16, 200


@dataclass(frozen=True, slots=True)
class Found:
    """Labels that were looked for."""

    labels: dict[str, str] | None
    """None: not found."""
    sure: bool = False
    """There are none, whatever is exported."""


def find(
    selector: Selector, also: Sequence[Matcher] = (), but_not: Selector | None = None
) -> Found:
    """Labels of a series that a selector selects.

    Args:
        selector: what selects it; its metric says which labels there are.
        also: more matchers that it must satisfy.
        but_not: of the same metric; what must not select it.
    """
    wanted = (*selector.matchers, *also)
    unwanted = but_not.matchers if but_not else ()
    readable = all("~" not in operator or compiled(text) for _, operator, text in wanted + unwanted)
    spec = known_metrics().get(selector.metric)
    labels: dict[str, str] = {}
    for label in dict.fromkeys((*(spec.labels if spec else ()), *(m[0] for m in wanted))):
        values, complete = _values(selector.metric, label, wanted, ())
        chosen = next((v for v in values if selects(wanted, label, v)), None)
        if chosen is None:
            return Found(None, complete and readable)
        labels[label] = chosen
    if but_not is None:
        return Found(labels)
    sure = readable
    for label in dict.fromkeys(matcher[0] for matcher in unwanted):
        if all(m in wanted or m[1:] in _ALL for m in unwanted if m[0] == label):
            continue  # it selects all of them
        values, complete = _values(selector.metric, label, wanted, unwanted)
        for value in values:
            if selects(wanted, label, value) and not selects(unwanted, label, value):
                return Found(labels | {label: value})
        sure = sure and complete
    return Found(None, sure)


def apart(part: Selector, total: Selector) -> tuple[Found, Found]:
    """Labels of a good or bad event, and of one that is the opposite.

    Of two metrics, or two buckets of one, each is looked for by itself: one counts the other too.
    """
    bounds, all_bounds = ([m for m in one.matchers if m[0] == "le"] for one in (part, total))
    if part.metric != total.metric or bounds != all_bounds:
        return find(part), find(total)
    return find(part, total.matchers), find(total, but_not=part)


def known_values(metric: str, label: str) -> tuple[str, ...]:
    """All values that a label of a metric of ours can have; empty: not known."""
    spec = known_metrics().get(metric)
    return VALUES.get(spec.name, {}).get(label, ()) if spec else ()


def words(operator: str, text: str) -> tuple[str, ...]:
    """The values that a matcher names, such as those of failed|too_late; empty: a real regex."""
    if "~" not in operator:
        return (text,)
    return () if _SPECIAL.search(text) else tuple(text.split("|"))


def selects(matchers: Iterable[Matcher], label: str, value: str) -> bool:
    """Whether the matchers of one label allow a value; a regex that cannot be read allows none."""
    for name, operator, text in matchers:
        if name != label:
            continue
        if "~" in operator:
            pattern = compiled(text)
            if pattern is None:
                return False
            same = pattern.fullmatch(value) is not None
        else:
            same = text == value
        if same == operator.startswith("!"):
            return False
    return True


@cache
def compiled(text: str) -> re.Pattern[str] | None:
    """A regex of Prometheus (RE2) in Python; None where the two may not mean the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of sets such as [[:alpha:]], which are read otherwise
        try:
            return re.compile(text)
        except (re.error, Warning, RecursionError, OverflowError):
            return None


def _values(
    metric: str, label: str, wanted: Sequence[Matcher], unwanted: Sequence[Matcher]
) -> tuple[tuple[str, ...], bool]:
    """Values to try, the most likely first, and whether there can be no other ones."""
    if known := known_values(metric, label):
        return known, True
    for name, operator, text in wanted:
        if name == label and not operator.startswith("!") and (named := words(operator, text)):
            return named, True
    regexes = [text for name, operator, text in (*wanted, *unwanted) if name == label]
    tried = (OTHER, *(value for text in regexes for value in samples(text)), *_CHARACTERS, "")
    return tuple(dict.fromkeys(tried)), False


def samples(regex: str) -> list[str]:
    """A few texts that a regex probably matches: alternatives, sets, counts, groups."""
    reader = _Reader(regex)
    try:
        found = reader.alternatives()
    except (ValueError, RecursionError):
        return []
    return [text for text in found if len(text) <= _LONGEST]


_OPEN = re.compile(r"\((?:\?[a-zA-Z-]*:|\?P?<\w+>|(?!\?))")
_NOTHING = re.compile(r"\(\?[a-zA-Z-]+\)|\\[bBAz]|[\^$]")
_TIMES = re.compile(r"([*+?]|\{(\d{1,3})(?:,\d*)?\})\??")
_ONE = re.compile(r"\\x[0-9a-fA-F]{2}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[^()|]", re.DOTALL)


class _Reader:
    """Expands a regex from left to right."""

    def __init__(self, regex: str) -> None:
        self.regex, self.at = regex, 0

    def alternatives(self) -> list[str]:
        found = self._sequence()
        while self._take("|"):
            found += self._sequence()
        return found[:_MOST]

    def _sequence(self) -> list[str]:
        found = [""]
        while self.at < len(self.regex) and self.regex[self.at] not in "|)":
            one = self._atom()
            times = self._match(_TIMES)
            n = int(times[2]) if times and times[2] else 1
            found = [a + b * n for a in found for b in one][:_MOST]
            if max(map(len, found), default=0) > _LONGEST:
                raise ValueError(self.regex)
        return found

    def _atom(self) -> list[str]:
        if self._match(_NOTHING):
            return [""]
        if self._match(_OPEN):
            inner = self.alternatives()
            if not self._take(")"):
                raise ValueError(self.regex)
            return inner
        one = self._match(_ONE)
        pattern = compiled(one[0]) if one else None
        if one is None or pattern is None:
            raise ValueError(self.regex)
        return [c for c in (*_CHARACTERS, one[0]) if pattern.fullmatch(c)][:3]

    def _take(self, character: str) -> bool:
        found = self.regex.startswith(character, self.at)
        self.at += found
        return found

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.regex, self.at)
        if found:
            self.at = found.end()
        return found
