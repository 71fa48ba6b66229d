"""Time grows with a text's length and no faster, whatever the text: counted in lines of Python run.

The patterns themselves run in C; that theirs is bounded is seen by the longest stretch that any
one match looks at, and by the texts made for them.
"""

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest

from noisegate.scrub import Scrubber
from noisegate.scrub import scan as scan_module

BAD = {
    "at signs": "a@",
    "dotted digits": "1.",
    "e-mail without end": "a.a@a.",
    "colons": "::",
    "hex groups": "a1:",
    "mac groups": "0a-",
    "double colon groups": "1::2:",
    "digits": "0",
    "digit groups": "0000 ",
    "card groups": "4111-1111-",
    "plus": "+1(",
    "brackets": "(4",
    "iban": "GB29 ",
    "schemes": "http://a:",
    "scheme after scheme": "://",
    "passwords": "password=",
    "password colons": "password:'",
    "keys": "key",
    "key escapes": 'token\\":\\"',
    "tokens": "eyJa.",
    "jwt heads": "eyJ",
    "private keys": "-----BEGIN RSA PRIV" + "ATE KEY-----",
    "bearers": "bearer ",
    "basic": "basic ",
    "users": "user ",
    "user keys": "user=",
    "homes": "/home/",
    "for": " for user ",
    "log lines": "] a - 1.1.1.1 ",
    "calls": "call me ",
    "phones": "phone 1 ",
    "ssn": "ssn ",
    "cookies": "cookie: a=",
    "commands": "mysql -u a ",
    "curl": "curl -s ",
    "backslashes": "\\",
    "escaped names": "\\njane@x",
    "percent": "%25",
    "percent mail": "%40a%2e",
    "colours": "\x1b[",
    "wide": "\uff11.",
    "surrogates": "\ud800@",
    "quotes": "\"'",
    "long runs": "a1b2c3d4e5f6g7h8-",
    "blanks": " ",
    "folded": "é@",
    "folded digits": "é1.",
    "zero widths": "a\u200b@",
    "code points": "\\u0041@",
    "lines": "user=a\r\n",
    "tokens of ours": "<EMAIL>.",
    "tokens and names": "<USER>@a.",
    "joints": ">.<",
}


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of the scrubber's own Python a call runs."""
    count = 0

    def local(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return local

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        return local if "scrub" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("unit", BAD.values(), ids=BAD.keys())
def test_ten_times_the_text_takes_at_most_about_ten_times_the_steps(unit: str) -> None:
    scrubber = Scrubber()
    short, long = (unit * (length // len(unit)) for length in (1_000, 10_000))

    few, many = (lines_run(partial(scrubber.texts, [text])) for text in (short, long))

    assert many <= 12 * few + 200


@pytest.mark.parametrize("unit", BAD.values(), ids=BAD.keys())
def test_all_finds_together_are_no_longer_than_a_few_times_the_text(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What bounds the cost of resolving overlaps, and shows that no rule finds the same twice."""
    text = unit * (100_000 // len(unit))
    lengths: list[int] = []
    resolve = scan_module._disjoint

    def watched(finds: Any, whole: Any, joined: str) -> Any:
        lengths.extend(end - start for start, _, end in finds)
        return resolve(finds, whole, joined)

    monkeypatch.setattr(scan_module, "_disjoint", watched)
    Scrubber().texts([text])

    assert sum(lengths) <= 12 * len(text)
