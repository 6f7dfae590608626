"""Lines of a time stamp, a value and a step, as MLflow's file store writes them, turned into arrays digit by digit.

Python reads a float of 17 digits in half a microsecond; a metric file is little else. Here the digits of all lines are
gathered side by side, which takes a few passes over small arrays. A decimal ``m / 10**k`` is computed with twice the precision
of a float64 and rounded once, so the result is the float nearest to the decimal, as ``float`` gives it; the few lines that
are not of this form (``nan``, exponents, a tie that is too close to call) are left to ``float``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from diag.run import FloatArray, IntArray

SPACE: Final = 0x20
NEWLINE: Final = 0x0A
POINT: Final = 0x2E
MINUS: Final = 0x2D
ZERO: Final = 0x30

MAX_DIGITS: Final = 18
"""Digits of a whole number that fit 64 bits with room to spare."""
MARGIN: Final = 32
"""Bytes put before the text."""
BLOCK_LINES: Final = 8192
"""Lines worked through at a time, so that their arrays stay in the cache."""
MAX_PLACES: Final = 24
"""Digits behind the point up to which a decimal is read here."""
SPLITTER: Final = 134217729.0
"""2**27 + 1: splits a float64 into two halves whose products are exact (Dekker 1971)."""
TIE_MARGIN: Final = 2.0**-30
"""How near to the middle between two floats, in half units of the last place, a decimal is left to ``float``."""

Text = npt.NDArray[np.uint8]


def parse_lines(data: bytes) -> tuple[IntArray, FloatArray, IntArray] | None:
    """Time stamps, values and steps of the lines; None where a line is not three fields separated by single spaces."""
    if not data.endswith(b"\n"):
        data += b"\n"
    text = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero((text == SPACE) | (text == NEWLINE))
    if ends.size % 3:
        return None
    if not bool((text[ends].reshape(-1, 3) == (SPACE, SPACE, NEWLINE)).all()):
        return None
    padded = np.concatenate([np.full(MARGIN, ZERO, dtype=np.uint8), text])  # so that digits may be read from right to left
    low = (np.concatenate([[0], ends[:-1] + 1]) + MARGIN).reshape(-1, 3)
    high = (ends + MARGIN).reshape(-1, 3)
    parts = []
    for row in range(0, len(low), BLOCK_LINES):
        begin, end = low[row : row + BLOCK_LINES], high[row : row + BLOCK_LINES]
        stamps, steps = _whole(padded, begin[:, 0], end[:, 0]), _whole(padded, begin[:, 2], end[:, 2])
        values = _decimals(padded, begin[:, 1], end[:, 1])
        if stamps is None or steps is None or values is None:
            return None
        parts.append((stamps, values, steps))
    if not parts:
        return None
    all_stamps, all_values, all_steps = zip(*parts, strict=True)
    return np.concatenate(all_stamps), np.concatenate(all_values), np.concatenate(all_steps)


_COLUMNS: Final = np.arange(MAX_DIGITS, dtype=np.uint8)
_WEIGHTS: Final = 10.0 ** np.arange(MAX_DIGITS // 2 - 1, -1, -1)


def _digits(padded: Text, low: IntArray, high: IntArray) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """The whole numbers between two places each, and where there is something else than 1 to MAX_DIGITS digits.

    The MAX_DIGITS bytes before each end are gathered as a row, what lies before the number is made zero, and the two halves of
    the row are weighed with powers of ten, which float64 does exactly.
    """
    rows = np.ndarray((padded.size - MAX_DIGITS + 1,), f"V{MAX_DIGITS}", padded.data, 0, (1,))[high - MAX_DIGITS]
    digits = rows.view(np.uint8).reshape(-1, MAX_DIGITS) - np.uint8(ZERO)  # anything but a digit wraps to 10 or more
    length = high - low
    first = np.clip(MAX_DIGITS - length, 0, MAX_DIGITS).astype(np.uint8)
    digits *= first[:, None] <= _COLUMNS
    weighed = (digits.reshape(-1, MAX_DIGITS // 2).astype(np.float64) @ _WEIGHTS).reshape(-1, 2)
    number = weighed[:, 0].astype(np.uint64) * np.uint64(10 ** (MAX_DIGITS // 2)) + weighed[:, 1].astype(np.uint64)
    wrong = (length < 1) | (length > MAX_DIGITS)
    if int(digits.max(initial=0)) > 9:
        wrong |= digits.max(axis=1, initial=0) > 9
    return number, wrong


def _whole(padded: Text, low: IntArray, high: IntArray) -> IntArray | None:
    """Signed whole numbers, None where one is none."""
    negative = padded[low] == MINUS
    number, wrong = _digits(padded, low + negative, high)
    if bool(wrong.any()):
        return None
    whole = number.astype(np.int64)
    return np.where(negative, -whole, whole)


def _decimals(padded: Text, low: IntArray, high: IntArray) -> FloatArray | None:
    """Signed decimals, None where one is not even for ``float`` a number."""
    negative = padded[low] == MINUS
    first = low + negative
    point = np.full(low.size, -1)
    # repr puts the point behind one to sixteen digits; looking for it from the left is quick because most values are small.
    for offset in range(int((high - first).max(initial=0))):
        place = np.minimum(first + offset, high - 1)
        here = (padded[place] == POINT) & (point < 0)
        point = np.where(here, place, point)
        if bool((point >= 0).all()):
            break
    has_point = point >= 0
    point = np.where(has_point, point, high)
    whole, wrong = _digits(padded, first, point)
    places = np.where(has_point, high - point - 1, 0)
    behind = np.where(has_point, point + 1, high)
    # Digits behind the point: the last MAX_DIGITS of them, if those before are zeros.
    leading = np.maximum(places - MAX_DIGITS, 0)
    for place in range(int(leading.max(initial=0))):
        wrong |= (place < leading) & (padded[np.minimum(behind + place, high - 1)] != ZERO)
    fraction, bad = _digits(padded, behind + leading, high)
    wrong |= np.where(places > 0, bad, False) | (places > MAX_PLACES)
    fraction = np.where(places > 0, fraction, np.uint64(0))
    # One whole number for both sides of the point, where it stays below 10**MAX_DIGITS.
    shift = np.minimum(places, MAX_DIGITS)
    wrong |= (whole > 0) & ((places > MAX_DIGITS) | (whole.astype(np.float64) * 10.0**shift >= 10.0**MAX_DIGITS))
    mantissa = np.where(wrong, np.uint64(0), whole * _POWERS[shift] + fraction)
    value, close = _quotient(mantissa, np.where(wrong, 0, places))
    value = np.where(negative, -value, value)
    for index in np.flatnonzero(wrong | close).tolist():
        try:
            value[index] = float(padded[low[index] : high[index]].tobytes())
        except ValueError:
            return None
    return value


_POWERS: Final = np.array([10**power for power in range(MAX_DIGITS + 1)], dtype=np.uint64)


@lru_cache(maxsize=1)
def _reciprocals() -> tuple[FloatArray, FloatArray]:
    """``10**-k`` for k up to MAX_PLACES as the sum of two float64."""
    from fractions import Fraction

    exact = [Fraction(1, 10**power) for power in range(MAX_PLACES + 1)]
    high = [float(value) for value in exact]
    return np.array(high), np.array([float(value - Fraction(part)) for value, part in zip(exact, high, strict=True)])


def _quotient(mantissa: npt.NDArray[np.uint64], places: IntArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """``mantissa / 10**places`` rounded to the nearest float64, and where the rounding is too close to call.

    The mantissa is the sum of two float64, the reciprocal too; their product is summed from the exact product of the leading
    parts (Dekker's two-product) and the cross terms, which leaves a relative error near 2**-100.
    """
    high = mantissa.astype(np.float64)
    low = (mantissa - high.astype(np.uint64)).view(np.int64).astype(np.float64)
    table_high, table_low = _reciprocals()
    factor, rest = table_high[places], table_low[places]
    product = high * factor
    big = SPLITTER * high
    high_1 = big - (big - high)
    high_2 = high - high_1
    big = SPLITTER * factor
    factor_1 = big - (big - factor)
    factor_2 = factor - factor_1
    error = ((high_1 * factor_1 - product) + high_1 * factor_2 + high_2 * factor_1) + high_2 * factor_2
    tail = error + (high * rest + low * factor)
    value = product + tail
    left = tail - (value - product)
    half = np.spacing(value) / 2
    # At a power of two the floats below lie half as far apart, so a quarter unit is a tie there.
    close = (np.abs(np.abs(left) - half) <= half * TIE_MARGIN) | (np.abs(np.abs(left) - half / 2) <= half * TIE_MARGIN)
    return value, close & (places > 0)
