"""The view of a text that rules look at: look-alikes folded, encodings undone, offsets kept."""

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from noisegate.scrub.rule import Span

_PERCENT = (
    r"(?:%(?:25){0,3}[89A-Fa-f][0-9A-Fa-f]){1,8}"  # percent-encoded UTF-8, of one or more bytes
    r"|%(?:25){0,3}[2-7][0-9A-Fa-f]|%(?:25){0,3}0[9AaDd]"  # percent-encoded ASCII, twice too
)
_ESCAPE = r"\\u(?!0022|005[cC])[0-9A-Fa-f]{4}"  # JSON's, but those that end a string
_COLOUR = r"(?:\x1b|\\u001[bB])\[[0-9;]{0,12}m"  # a terminal's
# NUL separates texts in a scan, so a text of its own with NUL is folded, too.
_SPECIAL = re.compile(rf"[^\x01-\x7f]|{_PERCENT}|{_COLOUR}|{_ESCAPE}")
_LONG_SPECIAL = re.compile(rf"{_PERCENT}|{_COLOUR}|{_ESCAPE}")
_ENCODED = re.compile(r"%(?:25){0,3}(?:[2-9A-Fa-f][0-9A-Fa-f]|0[9AaDd])")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Letters of other scripts that look like Latin ones (Unicode's confusables, those of one letter).
_HOMOGLYPHS = dict(
    zip("аеіјорсухѕԁһӏԛԝɡΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανρυАВЕКМНОРСТУХЅІЈ",
        "aeijopcyxsdhlqwgABEZHIKMNOPTYXoavpuABEKMHOPCTYXSIJ", strict=True)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """A text as the rules see it.

    Attributes:
        text: what is searched; holds no NUL.
        starts: where each of its characters starts in the original; None: at the same place.
        ends: where each of its characters ends in the original.
    """

    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None

    def original(self, span: Span) -> Span:
        """A span of the view, as a span of the original."""
        if self.starts is None or self.ends is None:
            return span
        return self.starts[span[0]], self.ends[span[1] - 1]

    def seen(self, span: Span) -> Span:
        """A span of the original, as the span of the view that holds it; empty: nothing of it."""
        if self.starts is None or self.ends is None:
            return span
        return bisect_right(self.ends, span[0]), bisect_left(self.starts, span[1])


def mend(text: str) -> str:
    """Lone surrogates as U+FFFD: they can be neither written nor sent."""
    return _SURROGATE.sub("\ufffd", text)


def plain(text: str) -> bool:
    """Whether the text is its own view."""
    return (
        text.isascii()
        and "\0" not in text
        and "\x1b" not in text
        and ("%" not in text or _ENCODED.search(text) is None)
        and ("\\u" not in text or _SPECIAL.search(text) is None)
    )


def view(text: str) -> View:
    """Fold a text for matching.

    Compatibility forms (NFKC) and any script's digits become plain; zero-width, bidirectional and
    combining marks vanish; look-alike letters become Latin; percent and JSON escapes are undone,
    terminal colours become a blank.
    """
    if _LONG_SPECIAL.search(text) is None:
        return _letter_by_letter(text)
    pieces: list[str] = []
    starts, ends = array("l"), array("l")
    at = 0
    for special in _SPECIAL.finditer(text):
        start, end = special.span()
        folded = _fold(special[0])
        if folded == special[0]:
            continue
        pieces += text[at:start], folded
        starts.extend(range(at, start))
        ends.extend(range(at + 1, start + 1))
        starts.extend([start] * len(folded))
        ends.extend([end] * len(folded))
        at = end
    if at == 0:
        return View(text)
    pieces.append(text[at:])
    starts.extend(range(at, len(text)))
    ends.extend(range(at + 1, len(text) + 1))
    return View("".join(pieces), starts, ends)


def _letter_by_letter(text: str) -> View:
    folded = list(map(_fold_letter, text))
    seen = "".join(folded)
    if len(seen) == len(text) and all(folded):
        return View(seen)
    places = enumerate(map(len, folded))
    starts = [place for place, length in places for _ in range(length)]
    return View(seen, starts, [start + 1 for start in starts])


@lru_cache(maxsize=4096)
def _fold(special: str) -> str:
    if special[0] == "%":
        return _fold_letters(unquote("%" + re.sub("%(?:25)*", "%", special)[1:]))
    if special[0] == "\x1b" or special[-1] == "m":
        return " "
    if special[0] == "\\":
        code = int(special[2:], 16)
        return _fold_letters(chr(code)) if code >= ord(" ") else " "
    return _fold_letters(special)


def _fold_letters(text: str) -> str:
    return "".join(map(_fold_letter, text))


@lru_cache(maxsize=4096)
def _fold_letter(letter: str) -> str:
    if letter == "\0":
        return "\x01"
    if letter.isascii():
        return letter
    if (digit := unicodedata.digit(letter, None)) is not None:
        return str(digit)
    if unicodedata.category(letter) in ("Cf", "Mn", "Me", "Cs"):
        return ""
    plain_form = unicodedata.normalize("NFKC", letter).replace("\0", "")
    return "".join(_HOMOGLYPHS.get(one, one) for one in plain_form)
