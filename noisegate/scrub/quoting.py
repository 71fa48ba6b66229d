"""What a message may show of words that are not ours: they may quote an alert."""

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noisegate.scrub.engine import Scrubber

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}(?:[ /][\w.-]{1,32}){0,2}|<[A-Z][A-Z0-9_]{1,63}>")
_SHAPE_CHARS = 32


def quotable(words: str) -> str:
    """Other people's words for a message, scrubbed as if there were no settings."""
    (clean,), _ = _scrubber().texts([words])
    assert clean is not None
    return clean


def column_name(text: str) -> str:
    """A column's name for a message; of what is no name (a file without a header) its shape."""
    name = quotable(text)
    return name if _NAME.fullmatch(name) else shape(name)


def shape(value: str) -> str:
    """How a value is written: every digit as 9 and every letter as a, for they may be anybody's."""
    return re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "9", value))[:_SHAPE_CHARS]


@cache
def _scrubber() -> "Scrubber":
    # Here: whoever has nothing to quote need not wait for Arrow and the rules.
    from noisegate.scrub.engine import Scrubber

    return Scrubber(fast=False)
