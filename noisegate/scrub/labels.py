"""Label sets: a value is scrubbed for what it holds and for what its label's name says of it."""

from collections import Counter
from collections.abc import Iterable, Mapping

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from noisegate.scrub.engine import Scrubber

_PROBES = ("q7Zt9LmX2vB4pR8wKd3", "jdoe", "jane.doe", "030 1234567")
"""Values that are nothing alone, and something behind a name such as `password`, `user`, `tel`."""


def scrub_labels(
    scrubber: Scrubber, labels: Mapping[str, pa.Array]
) -> tuple[dict[str, pa.Array], Counter[str]]:
    """Scrub labels: values, and names as well, for a file's columns may be called anything.

    Args:
        scrubber: the one for all texts.
        labels: by name a column of strings, shape (rows,); null: the alert has no such label.

    Returns:
        The same, scrubbed; of names that became one, the first value that is there. And how many
        entities were replaced, by entity.
    """
    counts: Counter[str] = Counter()
    telling = _telling(scrubber, labels)
    clean: dict[str, pa.Array] = {}
    for name, column in labels.items():
        (shown,), found = scrubber.texts([name])
        assert shown is not None
        there = len(column) - column.null_count
        counts += Counter({entity: n * there for entity, n in found.items()})
        if there:
            column, found = scrubber.column(column)
            counts += found
            if name in telling:
                column, found = _by_name(scrubber, shown, column)
                counts += found
        clean[shown] = pc.coalesce(clean[shown], column) if shown in clean else column
    return clean, counts


def pair(name: str, value: str) -> str:
    """A label as JSON writes it: the form in which its name is seen beside its value."""
    return orjson.dumps({name: value}).decode()[1:-1]


def _telling(scrubber: Scrubber, names: Iterable[str]) -> set[str]:
    """The names that make a find of a value which is none alone."""
    asked = [(name, pair(name, value)) for name in names for value in _PROBES]
    answers, _ = scrubber.texts([text for _, text in asked])
    return {name for (name, text), seen in zip(asked, answers, strict=True) if seen != text}


def _by_name(scrubber: Scrubber, name: str, column: pa.Array) -> tuple[pa.Array, Counter[str]]:
    values = column.dictionary_encode()
    pairs = pa.array([pair(name, value) for value in values.dictionary.to_pylist()], pa.string())
    seen, counts = scrubber.column(pa.DictionaryArray.from_arrays(values.indices, pairs))
    encoded = seen.dictionary_encode()
    clean = [_value(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(clean, pa.string()).take(encoded.indices), counts


def _value(text: str) -> str:
    """The value of a pair; where a find took a quote along, what is left of it."""
    try:
        (value,) = orjson.loads(f"{{{text}}}").values()
        return str(value)
    except ValueError:
        return text.partition(":")[2].strip('"')
