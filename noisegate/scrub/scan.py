"""The scan of one text, or of many joined by NUL: anchors, the exact rule at each, overlaps."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, found

Find = tuple[int, int, int]
"""Start, rank (the place of its rule in the order of priority), end."""

_DIGITS = range(ord("0"), ord("9") + 1)
_CAPITALS = range(ord("A"), ord("Z") + 1)
_SMALL = range(ord("a"), ord("z") + 1)
_LOWER = {code: code + 32 for code in _CAPITALS}
_SHAPE = dict.fromkeys(_DIGITS, "0") | dict.fromkeys(_CAPITALS, "A") | dict.fromkeys(_SMALL, "a")
_RUN = dict.fromkeys(range(128), " ") | dict.fromkeys(
    [*_DIGITS, *_CAPITALS, *_SMALL, ord("_"), ord("-")], "w"
)
_ESCAPED = re.compile("[nrtbf]|u[0-9A-Fa-f]{4}")
_JOINTS = ".:_-"
# Where another find covers part of a secret, its other parts are scrubbed all the same.
_COVERED_WHOLLY = {Entity.SECRET, Entity.URL_CREDENTIALS, Entity.PRIVATE_KEY}


@dataclass(frozen=True, slots=True)
class _Compiled:
    rank: int
    rule: Rule
    pattern: re.Pattern[str]
    head: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Scan:
    """What one scan saw.

    Attributes:
        finds: disjoint, from left to right.
        refused: where candidates start that a check refused, in no order.
    """

    finds: list[Find]
    refused: list[int]


class _Tokens:
    """Our own tokens, as a policy writes them: of every entity, and those that rules name."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        names = sorted({*Entity, *(rule.token for rule in rules if rule.token)})
        self._one = re.compile(rf"<(?:{'|'.join(map(re.escape, names))})(?::[0-9a-f]{{12}})?>")
        self._most_chars = max(map(len, names)) + len("<:0123456789ab>")

    def touch(self, match: re.Match[str], text: str) -> bool:
        """Whether a token stands beside a match, as part of which it was no candidate."""
        start, end = match.span()
        if start > 1 and ">" in text[start - 2 : start]:
            closed = start - (text[start - 1] in _JOINTS)
            opened = text.rfind("<", max(0, closed - self._most_chars), closed)
            if opened >= 0 and self._one.fullmatch(text, opened, closed):
                return True
        if "<" not in text[end : end + 2]:
            return False
        return self._one.match(text, end + (text[end] in _JOINTS)) is not None

    def within(self, text: str, span: Span) -> bool:
        """Whether a span overlaps a token."""
        start, end = span
        first = max(0, start - self._most_chars)
        tokens = self._one.finditer(text, first, end + self._most_chars)
        return any(token.start() < end and start < token.end() for token in tokens)


class Scanner:
    """Compiled rules; where two finds overlap, the rule that stands first wins."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._tokens = _Tokens(rules)
        self._whole = {rank for rank, rule in enumerate(rules) if rule.entity in _COVERED_WHOLLY}
        users: defaultdict[tuple[Copy, str], list[_Compiled]] = defaultdict(list)
        for rank, rule in enumerate(rules):
            head = re.compile(rule.head) if rule.head else None
            compiled = _Compiled(rank, rule, re.compile(rule.pattern), head)
            for anchor in rule.anchors:
                users[rule.on, anchor].append(compiled)
        self._anchors = [(on, re.compile(anchor), who) for (on, anchor), who in users.items()]

    def scan(self, text: str, others: Iterable[Find] = ()) -> Scan:
        """Find everything in a text, or in texts joined by NUL.

        Args:
            text: what is searched.
            others: what was found by other means; left out where it overlaps one of our tokens.
        """
        copies = {
            Copy.TEXT: text,
            Copy.LOWER: text.lower() if text.isascii() else text.translate(_LOWER),
            Copy.SHAPE: text.translate(_SHAPE),
            Copy.RUN: text.translate(_RUN),
        }
        backwards = text[::-1]
        seen = Scan([f for f in others if not self._tokens.within(text, (f[0], f[2]))], [])
        for on, anchor, users in self._anchors:
            starts = [match.start() for match in anchor.finditer(copies[on])]
            if starts:
                for compiled in users:
                    _try_at(compiled, starts, text, backwards, self._tokens, seen)
        return Scan(_disjoint(seen.finds, self._whole, text), seen.refused)


def _try_at(
    compiled: _Compiled,
    anchors: list[int],
    text: str,
    backwards: str,
    tokens: _Tokens,
    seen: Scan,
) -> None:
    """Add a rule's finds at the places of one anchor: disjoint, from left to right."""
    rule, head, match_at = compiled.rule, compiled.head, compiled.pattern.match
    length = len(text)
    done = 0
    for start in anchors:
        if start < done:
            continue
        if head is not None:
            walk = head.match(backwards, length - start)
            if walk is None:
                continue
            start = length - walk.end()
        match = match_at(text, start)
        if match is None or tokens.touch(match, text):
            continue
        span = found(match) if rule.check is None else rule.check(match)
        if span is None:
            seen.refused.append(start)
            if rule.whole:
                done = match.end()
            continue
        start, end = span
        if start and text[start - 1] == "\\":
            start = _off_escape(text, start)
        if start < end:
            seen.finds.append((start, compiled.rank, end))
        done = end


def _off_escape(text: str, start: int) -> int:
    r"""Leave the letters of a JSON escape: in `\njane@example.com` the name is jane."""
    slashes = 0
    while start - slashes > 0 and slashes < 8 and text[start - slashes - 1] == "\\":
        slashes += 1
    escape = _ESCAPED.match(text, start) if slashes % 2 else None
    return escape.end() if escape else start


def _disjoint(finds: list[Find], whole: Set[int], text: str) -> list[Find]:
    """Of overlapping finds the first rule's stays; of a secret also the parts left and right of it.

    Covered characters are looked up: the finds of one rule at one anchor are disjoint and so no
    longer together than the text, which keeps this linear.
    """
    finds.sort()
    if all(one[2] <= after[0] for one, after in pairwise(finds)):
        return finds
    covered = bytearray(len(text))
    kept: list[Find] = []
    for first, rank, last in sorted(finds, key=lambda find: (find[1], find[0])):
        for start, end in _free(covered, first, last):
            if end - start == last - first or (
                rank in whole and any(map(str.isalnum, text[start:end]))
            ):
                kept.append((start, rank, end))
                covered[start:end] = b"\1" * (end - start)
    kept.sort()
    return kept


def _free(covered: bytearray, start: int, end: int) -> list[Span]:
    """The parts of a span that nothing covers yet."""
    parts: list[Span] = []
    at = start
    while (left := covered.find(0, at, end)) >= 0:
        right = covered.find(1, left, end)
        at = right if right >= 0 else end
        parts.append((left, at))
    return parts
