"""What a rule is: where to look (an anchor), what to find there (an exact pattern), and a check."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from noisegate.scrub.policy import Entity

Span = tuple[int, int]
Check = Callable[[re.Match[str]], Span | None]
"""Given the pattern's match, the span to scrub, or None where it only looks alike."""

START = r"(?:(?<![0-9A-Za-z_])|(?<=\\[nrtbf]))"
"""A word starts here; the letter of a JSON escape such as `\\n` is no part of a word."""


class Copy(StrEnum):
    """The copies of the text that anchors are looked for in; all have its length."""

    TEXT = "text"
    """As it came."""
    LOWER = "lower"
    """A-Z as a-z."""
    SHAPE = "shape"
    """Digits as 0, capitals as A, small letters as a."""
    RUN = "run"
    """Letters, digits, `_` and `-` as w, all else as blanks; `www`: a run of three or more."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of text to find. Every quantifier is bounded or possessive, so that time is linear.

    Attributes:
        id: stable name, shown by `explain`.
        entity: what is found; its treatment comes from the policy.
        on: the copy of the text in which anchors are looked for.
        anchors: patterns that start with a literal, a superset that says only where to look.
        pattern: matched on the text itself; its named group `x` (or `x1`, `x2`...) is scrubbed.
        head: walk back from the anchor over this pattern (matched on the reversed text, so it is
            written backwards) to find the pattern's start; empty: the anchor is the start.
        check: validator; None accepts.
        whole: a candidate that the check refuses is not looked into again.
        token: the name that is written, `<TOKEN>`; empty: the entity's.
        why: what makes a candidate a find, in a clause, as `--explain` says it.
        examples: texts in which this rule finds just what stands between ⟦ and ⟧.
        counter_examples: texts in which it finds nothing.
    """

    id: str
    entity: Entity
    on: Copy
    anchors: tuple[str, ...]
    pattern: str
    head: str = ""
    check: Check | None = None
    whole: bool = False
    token: str = ""
    why: str = ""
    examples: tuple[str, ...] = ()
    counter_examples: tuple[str, ...] = ()


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_TOKEN_NAMES = re.compile("|".join(map("<{}".format, Entity)))


def found(match: re.Match[str]) -> Span:
    """The span of the group that is scrubbed: the last named group `x...` that took part."""
    group = match.lastgroup
    return match.span(group if group and group[0] == "x" else "x")


def before(match: re.Match[str], length: int) -> str:
    """Up to `length` characters of the same text before the match, in lower case.

    The names of our own tokens are left out: `<PHONE>` tells nothing of the next number.
    """
    start = match.start()
    near = match.string[max(0, start - length) : start].rpartition("\0")[2]
    return (_TOKEN_NAMES.sub("", near) if "<" in near else near).lower()
