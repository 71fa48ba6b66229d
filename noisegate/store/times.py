r"""Times as people's systems write them, to UTC microseconds; whole columns at a time.

Numbers: below 1e11 epoch seconds, below 1e14 milliseconds, below 1e17 microseconds, above
nanoseconds. Text: such a number, or ISO 8601 with Z, an offset, or neither (then UTC); digits
beyond the microsecond are cut. Empty, `null`, `none`, `nan`, `nat`, `\N` and Go's zero time
(an Alertmanager's end of a firing alert) are no time.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TIME = pa.timestamp("us", tz="UTC")

_NONE = pa.array(["", "null", "none", "nan", "nat", "\\n"])
_NUMBER = r"^[+-]?\d{1,19}(\.\d*)?([eE][+-]?\d{1,2})?$"
_ISO = (
    r"^(\d{4}-\d\d-\d\d)"  # date
    r"(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,6})\d*)?"  # time; beyond microseconds: cut
    r" ?(Z|z|UTC|[+-]\d\d(?::?\d\d)?)?)?$"  # zone
)
_ZERO_TIME = "0001-01-01"


def parse_times(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Parse a column of times of any type.

    Returns:
        Timestamps (microseconds, UTC), null where there is none, and a mask of the rows whose
        value is there but is not a time.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), TIME), np.zeros(len(values), bool)
    if pa.types.is_timestamp(kind):
        # A naive one is UTC; finer than a microsecond is cut.
        values = values.cast(pa.timestamp("us", tz=kind.tz), safe=False)
        return values.cast(TIME), np.zeros(len(values), bool)
    if pa.types.is_date(kind):
        return values.cast(pa.timestamp("us")).cast(TIME), np.zeros(len(values), bool)
    if pa.types.is_integer(kind):
        return _from_integers(values)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _from_floats(values.cast(pa.float64()))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = values.cast(pa.string())  # the caller has looked for bytes that are no text
    elif not pa.types.is_string(kind):
        values = values.cast(pa.string())
    return _from_text(values)


def _from_text(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    values = pc.utf8_trim_whitespace(values)
    absent = pc.or_kleene(
        pc.is_in(pc.utf8_lower(values), value_set=_NONE), pc.starts_with(values, _ZERO_TIME)
    )
    values = pc.if_else(absent, None, values)
    numeric = pc.match_substring_regex(values, _NUMBER)
    if pc.all(numeric, min_count=0).as_py():
        return _from_numbers_as_text(values)
    if not pc.any(numeric, min_count=0).as_py():
        return _from_iso(values)
    numbers, bad_number = _from_numbers_as_text(pc.if_else(numeric, values, None))
    iso, bad_iso = _from_iso(pc.if_else(numeric, None, values))
    return pc.coalesce(numbers, iso), bad_number | bad_iso


def _from_numbers_as_text(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    try:
        return _from_integers(values.cast(pa.int64()))
    except pa.ArrowInvalid:
        return _from_floats(pc.replace_substring_regex(values, r"^\+", "").cast(pa.float64()))


def _from_integers(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    present = _present(values)
    numbers = values.cast(pa.int64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
    size = np.abs(numbers)
    micros = np.select(
        [size < 10**11, size < 10**14, size < 10**17],
        [numbers * 10**6, numbers * 1000, numbers],
        numbers // 1000,
    )
    bad = size < 0  # the one number without an absolute value
    return pa.array(micros, TIME, mask=~present | bad), bad


def _from_floats(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    numbers = values.fill_null(np.nan).to_numpy(zero_copy_only=False)
    present = ~np.isnan(numbers)
    bad = present & ~(np.abs(numbers) < 9e18)
    numbers = np.where(present & ~bad, numbers, 0.0)
    size = np.abs(numbers)
    scale = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
    micros = np.rint(numbers * scale).astype(np.int64)
    return pa.array(micros, TIME, mask=~present | bad), bad


def _from_iso(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    present = _present(values)
    shaped = pc.match_substring_regex(values, _ISO).fill_null(False)
    plain = pc.replace_substring_regex(pc.if_else(shaped, values, None), _ISO, r"\1T\2.\3|\4")
    # 'DATE T TIME.FRACTION|ZONE' with parts that may be missing, to the one form that a cast reads.
    plain = pc.replace_substring(plain, ".|", "|")
    plain = pc.replace_substring(plain, "T|", "T00:00|")
    plain = pc.replace_substring_regex(plain, r"\|(z|UTC|)$", "|Z")
    plain = pc.replace_substring(plain, "|", "")
    times = _cast_or_null(plain)
    return times, present & ~_present(times)


def _cast_or_null(texts: pa.Array) -> pa.Array:
    """Cast to timestamps; what is no date (a 13th month) becomes null, found by halving."""
    try:
        return texts.cast(TIME)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, TIME)
        middle = len(texts) // 2
        halves = _cast_or_null(texts[:middle]), _cast_or_null(texts[middle:])
        return pa.concat_arrays(halves)


def _present(values: pa.Array) -> np.ndarray:
    found: np.ndarray = values.is_valid().to_numpy(zero_copy_only=False)
    return found
