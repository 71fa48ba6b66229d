"""Hyperscan as the finder of anchors: the extra `[fast]`."""

import threading
from array import array
from collections.abc import Iterable

import hyperscan
import numpy as np

from noisegate.scrub.anchors import TABLES, Form, Places, Signs
from noisegate.scrub.rule import Copy


class Hyperscan:
    """Finds forms by one Hyperscan database for each copy of the text that they look at.

    Small and capital letters are told apart in the expressions, so LOWER needs no copy of its own.
    A database may be used by many threads, its scratch space by one at a time.
    """

    def __init__(self, forms: tuple[Form, ...]) -> None:
        by_copy: dict[Copy, list[Form]] = {}
        for form in forms:
            on = Copy.TEXT if form.on is Copy.LOWER else form.on
            by_copy.setdefault(on, []).append(form)
        self._databases = [(on, some, _database(some)) for on, some in by_copy.items()]
        self._scratches = threading.local()

    def __call__(self, codes: bytes) -> Iterable[tuple[Form, Places]]:
        """All places of forms in an encoded text, in order."""
        if not hasattr(self._scratches, "own"):
            self._scratches.own = [hyperscan.Scratch(base) for _, _, base in self._databases]
        for (on, forms, base), scratch in zip(self._databases, self._scratches.own, strict=True):
            ends: list[array[int]] = [array("q") for _ in forms]
            add = [one.append for one in ends]

            def seen(number: int, start: int, end: int, flags: int, _: object) -> None:
                add[number](end)  # noqa: B023 - the scan is over before `add` is another

            text = codes if on is Copy.TEXT else codes.translate(TABLES[on])
            base.scan(text, match_event_handler=seen, scratch=scratch)
            for form, found in zip(forms, ends, strict=True):
                if found:
                    yield form, np.frombuffer(found, np.int64) - len(form.signs)


def _database(forms: list[Form]) -> hyperscan.Database:
    expressions = ["".join(map(_set, _signs(form))).encode() for form in forms]
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=expressions,
        ids=list(range(len(forms))),
        elements=len(forms),
        flags=[0] * len(forms),
    )
    return database


def _signs(form: Form) -> tuple[Signs, ...]:
    return form.in_text() if form.on is Copy.LOWER else form.signs


def _set(signs: Signs) -> str:
    return "[" + "".join(rf"\x{code:02x}" for code in sorted(signs)) + "]"
