"""Figures as people read them: shares, durations, counts, days."""

import math
import re
from datetime import UTC, datetime

from markupsafe import Markup

from noisegate.alert import MICROS

_GAP = "\N{NO-BREAK SPACE}"
_YEAR_US = 365 * 86_400 * MICROS


def percent(share: float, digits: int = 0) -> str:
    """A share in [0, 1] in percent; never 0 % or 100 % unless it is; a dash for NaN."""
    if math.isnan(share):
        return "–"
    text = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if float(text) == 0 and share > 0:
        return f"<{_GAP}{least:.{digits}f}{_GAP}%"
    if float(text) == 100 and share < 1:
        return f">{_GAP}{100 - least:.{digits}f}{_GAP}%"
    return f"{text}{_GAP}%"


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use; a dash for NaN."""
    if math.isnan(seconds):
        return "–"
    if math.isinf(seconds):
        return "never"
    for limit, unit, name in ((180, 1, "s"), (10_800, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{_short(seconds / unit)}{_GAP}{name}"
    return f"{_short(seconds / 86_400)}{_GAP}days"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:.0f}"


def prometheus_duration(seconds: int) -> str:
    """Whole seconds as Prometheus writes a duration, such as 10m."""
    for unit, name in ((3_600, "h"), (60, "m")):
        if seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds}s"


def number(count: float) -> str:
    """A count, with commas between thousands."""
    return f"{count:,.0f}"


def many(count: int, noun: str) -> str:
    """A count with its noun, which gets an s unless there is one of it."""
    return f"{number(count)}{_GAP}{noun}{'' if count == 1 else 's'}"


def day(at_us: int, first_us: int, *, year: bool = True) -> str:
    """The day of a moment (UTC), both microseconds since 1970.

    A history whose first alert lies in the 1970s has a clock of its own: there it is a number.
    """
    if first_us < 10 * _YEAR_US:
        return f"day{_GAP}{at_us // (86_400 * MICROS)}"
    at = datetime.fromtimestamp(at_us / MICROS, tz=UTC)
    return f"{at.day}{_GAP}{at:%b}" + (f"{_GAP}{at.year}" if year else "")


def clipped(text: str, most: int = 120) -> str:
    """A text of at most `most` characters that prints on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def breakable(text: str, most: int = 120) -> Markup:
    """A name, clipped and escaped, that may break between its words (CamelCase, dots, dashes)."""
    words = re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[-_./:@])", clipped(text, most))
    pieces = [word[i : i + 24] for word in words for i in range(0, len(word), 24)]
    return Markup("<wbr>").join(pieces)
