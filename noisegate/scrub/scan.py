"""The scan of one text, or of many joined by NUL: anchors, the exact rule at each, overlaps."""

import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from noisegate.errors import SettingsError
from noisegate.scrub.anchors import Anchors, Opening, Places, encoded, merged
from noisegate.scrub.policy import PSEUDONYM, PSEUDONYM_CHARS, Entity
from noisegate.scrub.rule import Copy, Rule, Span, found
from noisegate.scrub.sieve import Sieve

Find = tuple[int, int, int]
"""Start, rank (the place of its rule in the order of priority), end."""
Stays = Callable[[int, str], bool]
"""Whether a find of this rank, with this text, is not replaced."""

_ESCAPED = re.compile("[nrtbf]|u[0-9A-Fa-f]{4}")
_JOINTS = ".:_-"
# Where another find covers part of these, the other parts are scrubbed all the same.
_COVERED_WHOLLY = {
    Entity.SECRET,
    Entity.URL_CREDENTIALS,
    Entity.PRIVATE_KEY,
    Entity.CUSTOM,
    Entity.PERSON,
}


@dataclass(frozen=True, slots=True)
class _Compiled:
    rank: int
    rule: Rule
    anchors: tuple[int, ...]
    pattern: re.Pattern[str]
    head: re.Pattern[str] | None
    opening: Opening | None


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
        self._one = re.compile(rf"<(?:{'|'.join(map(re.escape, names))})(?:{PSEUDONYM})?>")
        self._most_chars = max(map(len, names)) + PSEUDONYM_CHARS + len("<>")

    def any_in(self, text: str) -> bool:
        """Whether the text holds one."""
        return self._one.search(text) is not None

    def touch(self, match: re.Match[str], text: str) -> bool:
        """Whether a match starts in a token, or one beside it made it a candidate."""
        start, end = match.span()
        if self._holds(text, start):
            return True
        if start > 1 and ">" in text[start - 2 : start]:
            closed = start - (text[start - 1] in _JOINTS)
            opened = text.rfind("<", max(0, closed - self._most_chars), closed)
            if opened >= 0 and self._one.fullmatch(text, opened, closed):
                return True
        if "<" not in text[end : end + 2]:
            return False
        return self._one.match(text, end + (text[end] in _JOINTS)) is not None

    def cut(self, text: str, span: Span) -> bool:
        """Whether a span starts or ends inside a token: `SECRET:k1:...` in one is no secret."""
        return self._holds(text, span[0]) or self._holds(text, span[1])

    def _holds(self, text: str, place: int) -> bool:
        """Whether a place is inside a token."""
        opened = text.rfind("<", max(0, place - self._most_chars), place)
        token = self._one.match(text, opened) if opened >= 0 else None
        return token is not None and place < token.end()

    def within(self, text: str, span: Span) -> bool:
        """Whether a span overlaps a token."""
        start, end = span
        first = max(0, start - self._most_chars)
        tokens = self._one.finditer(text, first, end + self._most_chars)
        return any(token.start() < end and start < token.end() for token in tokens)


class Scanner:
    """Compiled rules; where two finds overlap, the rule that stands first wins.

    Args:
        rules: in the order of priority.
        fast: find the anchors by Hyperscan; None: if it is there.

    Raises:
        SettingsError: `fast` is asked for and Hyperscan is not installed.
    """

    def __init__(self, rules: Sequence[Rule], fast: bool | None = None) -> None:
        self._tokens = _Tokens(rules)
        self._own = {rank for rank, rule in enumerate(rules) if rule.entity is Entity.CUSTOM}
        self._whole = {rank for rank, rule in enumerate(rules) if rule.entity in _COVERED_WHOLLY}
        numbers: dict[tuple[Copy, str], int] = {}
        self._compiled = [
            _Compiled(
                rank,
                rule,
                tuple(
                    numbers.setdefault((rule.on, anchor), len(numbers)) for anchor in rule.anchors
                ),
                re.compile(rule.pattern),
                re.compile(rule.head) if rule.head else None,
                Opening(rule.pattern, rule.head) if rule.on is Copy.RUN else None,
            )
            for rank, rule in enumerate(rules)
        ]
        self._anchors = _anchors(tuple(numbers), fast)

    def scan(self, text: str, others: Iterable[Find] = (), stays: Stays | None = None) -> Scan:
        """Find everything in a text, or in texts joined by NUL.

        Args:
            text: what is searched.
            others: what was found by other means; left out where it overlaps one of our tokens.
            stays: finds that are not replaced, and so give way to a pattern of the settings.
        """
        seen = Scan([f for f in others if not self._tokens.within(text, (f[0], f[2]))], [])
        codes = encoded(text)
        places = self._anchors.places(text, codes)
        tokens = self._tokens if self._tokens.any_in(text) else None
        backwards = text[::-1]
        for compiled in self._compiled:
            if starts := [places[number] for number in compiled.anchors if number in places]:
                every = merged(starts)
                if compiled.opening is not None:
                    every = compiled.opening.of(codes, every)
                _try_at(compiled, every, text, backwards, tokens, seen)
        finds = seen.finds if stays is None else _giving_way(seen.finds, self._own, text, stays)
        return Scan(_disjoint(finds, self._whole, text), seen.refused)


@lru_cache(maxsize=16)
def _anchors(anchors: tuple[tuple[Copy, str], ...], fast: bool | None) -> Anchors:
    """The same anchors are prepared once in a process."""
    if fast is not False:
        try:
            from noisegate.scrub.hyper import Hyperscan

            return Anchors(anchors, Hyperscan)
        except ImportError:
            if fast:
                raise SettingsError(
                    "fast scrubbing is asked for but Hyperscan is not installed: "
                    "run pip install 'noisegate[fast]', or leave it out"
                ) from None
    return Anchors(anchors, Sieve)


def _try_at(
    compiled: _Compiled,
    anchors: Places,
    text: str,
    backwards: str,
    tokens: _Tokens | None,
    seen: Scan,
) -> None:
    """Add a rule's finds at the places of its anchors: disjoint, from left to right."""
    match_at, check = compiled.pattern.match, compiled.rule.check
    walk_back = compiled.head.match if compiled.head is not None else None
    length = len(text)
    done = 0
    for start in memoryview(anchors.data):
        if start < done:
            continue
        if walk_back is not None:
            walk = walk_back(backwards, length - start)
            if walk is None:
                continue
            start = length - walk.end()
        match = match_at(text, start)
        if match is None or (tokens is not None and tokens.touch(match, text)):
            continue
        span = found(match) if check is None else check(match)
        if span is None:
            seen.refused.append(start)
            if compiled.rule.whole:
                done = match.end()
            continue
        start, end = span
        if start and text[start - 1] == "\\":
            start = _off_escape(text, start)
        if tokens is not None and tokens.cut(text, (start, end)):
            continue
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


def _giving_way(finds: list[Find], own: Set[int], text: str, stays: Stays) -> list[Find]:
    """Leave out finds that stay and overlap one of the ranks `own`."""
    if not any(rank in own for _, rank, _ in finds):
        return finds
    covered = bytearray(len(text))
    for start, rank, end in finds:
        if rank in own:
            covered[start:end] = b"\1" * (end - start)
    return [
        (start, rank, end)
        for start, rank, end in finds
        if rank in own or covered.find(1, start, end) < 0 or not stays(rank, text[start:end])
    ]


def _disjoint(finds: list[Find], whole: Set[int], text: str) -> list[Find]:
    """Of overlapping finds the first rule's stays; of a secret also the parts beside it."""
    finds.sort()
    kept: list[Find] = []
    place = 0
    while place < len(finds):
        first, reach = place, finds[place][2]
        place += 1
        while place < len(finds) and finds[place][0] < reach:
            reach = max(reach, finds[place][2])
            place += 1
        kept += (
            finds[first:place] if place - first == 1 else _untied(finds[first:place], whole, text)
        )
    return kept


def _untied(finds: list[Find], whole: Set[int], text: str) -> list[Find]:
    """Finds that overlap as finds that do not.

    Covered characters are looked up: the finds of one rule are disjoint and so no longer together
    than the text, which keeps this linear.
    """
    offset = finds[0][0]
    covered = bytearray(max(find[2] for find in finds) - offset)
    kept: list[Find] = []
    for first, rank, last in sorted(finds, key=lambda find: (find[1], find[0])):
        for start, end in _free(covered, first - offset, last - offset):
            if end - start < last - first:
                here = text[offset + start : offset + end]
                if rank not in whole or not any(map(str.isalnum, here)):
                    continue
                start, end = start + len(here) - len(here.lstrip()), start + len(here.rstrip())
            kept.append((offset + start, rank, offset + end))
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
