"""Decimal numbers in a byte buffer to float64, many at a time, rounded as ``float()`` rounds.

Eight digits are converted at once with integer arithmetic on 64-bit words. A number is then an integer m of up to 63
bits and a power of ten; the quotient m / 10^k for k <= 22 (10^22 is the largest power of ten that is exact in float64) is
rounded correctly with one error-compensated division: T. J. Dekker, "A floating-point technique for extending the
available precision", Numerische Mathematik 18 (1971). What does not fit is left to ``float()``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diag.run import FloatArray, IntArray

PADDING: Final = 32
"""Bytes that must follow the last number in the buffer, so that whole words can be read."""
WIDTH: Final = 24
"""Characters of the longest number that is converted here; the longest repr of a float64 has 24."""
EXACT_POWER: Final = 22
EXACT_INTEGER: Final = 2**53
MAX_INTEGER: Final = 2**62
MAX_DIGITS: Final = 18
"""Digits that always fit 63 bits."""

_Words = npt.NDArray[np.uint64]
_TENS: Final[FloatArray] = np.array([float(10**power) for power in range(EXACT_POWER + 1)])
_INTEGER_TENS: Final = 10 ** np.arange(MAX_DIGITS + 1, dtype=np.int64)
_SPLITTER: Final = 2.0**27 + 1
_DOT, _MINUS, _PLUS = 46, 45, 43


def words(buffer: bytes) -> _Words:
    """The 64-bit little-endian word that starts at each byte of a buffer, as a view."""
    return np.ndarray(shape=(max(len(buffer) - 7, 0),), dtype="<u8", buffer=buffer, strides=(1,))


def parse(view: _Words, start: IntArray, end: IntArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Values of the numbers in byte ranges, and which of them could be converted (the others are NaN).

    Args:
        view: ``words`` of the buffer, which must have PADDING bytes after the last range.
        start, end: byte ranges, int64, shape (n,). A range that holds anything but a JSON number is not converted.
    """
    length = end - start
    text = np.stack([view[start + 8 * word] for word in range(WIDTH // 8)], axis=1).view(np.uint8)
    inside = np.arange(WIDTH) < length[:, None]
    is_dot = (text == _DOT) & inside
    is_exponent = ((text | 0x20) == ord("e")) & inside
    exponent_at = np.where(is_exponent.any(axis=1), is_exponent.argmax(axis=1), length)
    has_dot = is_dot.any(axis=1)
    dot_at = np.where(has_dot, is_dot.argmax(axis=1), exponent_at)
    negative = text[:, 0] == _MINUS
    whole_digits = dot_at - negative
    fraction_digits = np.maximum(exponent_at - dot_at - 1, 0)
    good = (length <= WIDTH) & (whole_digits >= 1) & (whole_digits <= 16) & (dot_at <= exponent_at) & (~has_dot | (fraction_digits >= 1))
    whole, valid = _digits(view, start + negative, np.clip(whole_digits, 0, 16))
    good &= valid
    fraction, valid = _digits(view, start + dot_at + 1, np.clip(fraction_digits, 0, WIDTH))
    good &= valid & ((whole_digits + fraction_digits <= MAX_DIGITS) | ((whole == 0) & (fraction_digits <= EXACT_POWER)))
    mantissa = whole * _INTEGER_TENS[np.minimum(fraction_digits, MAX_DIGITS)] + fraction
    power = -fraction_digits
    scaled = np.flatnonzero(exponent_at < length)
    if scaled.size:
        at = start[scaled] + exponent_at[scaled] + 1
        mark = (view[at] & np.uint64(0xFF)).astype(np.int64)
        signed = (mark == _MINUS) | (mark == _PLUS)
        count = end[scaled] - at - signed
        shift, valid = _digits(view, at + signed, np.clip(count, 0, 8))
        good[scaled] &= valid & (count >= 1) & (count <= 4)
        power[scaled] += np.where(mark == _MINUS, -shift, shift)
    good &= (
        (power >= -EXACT_POWER)
        & (power <= EXACT_POWER)
        & (mantissa >= 0)
        & (mantissa < MAX_INTEGER)
        & ((power <= 0) | (mantissa < EXACT_INTEGER))
    )
    value = _scaled(np.where(good, mantissa, 0), np.clip(power, -EXACT_POWER, EXACT_POWER))
    return np.where(good, np.where(negative, -value, value), np.nan), good


def _digits(view: _Words, at: IntArray, count: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Integers of ``count`` digits (at most 24, value below 2^63) at byte positions, and whether all characters are digits."""
    value, good = _eight(view, at + np.maximum(count - 8, 0), np.minimum(count, 8))
    for step, tens in ((8, 10**8), (16, 10**16)):
        more = np.flatnonzero(count > step)
        if not more.size:
            break
        high, valid = _eight(view, at[more] + np.maximum(count[more] - step - 8, 0), np.minimum(count[more] - step, 8))
        good[more] &= valid & (high < 2**63 // tens)
        value[more] += np.minimum(high, 2**63 // tens - 1) * tens
    return value, good


def _eight(view: _Words, at: IntArray, count: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Integers of 0 to 8 digits: the characters are moved to the top of the word and zeros ("0") put before them."""
    zeros = np.uint64(0x3030303030303030)
    gap = ((8 - count) * 8).astype(np.uint64)
    blank = count == 0
    gap[blank] = 0
    word = (view[at] << gap) | ((zeros >> (np.uint64(63) - gap)) >> np.uint64(1))
    word[blank] = zeros
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    good = ((word & high) == zeros) & (((word + np.uint64(0x0606060606060606)) & high) == zeros)
    word = ((word & np.uint64(0x0F0F0F0F0F0F0F0F)) * np.uint64(2561)) >> np.uint64(8)
    word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
    word = ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)
    return word.astype(np.int64), good


def _scaled(mantissa: IntArray, power: IntArray) -> FloatArray:
    """``mantissa * 10**power`` for |power| <= 22, rounded once (the mantissa below 2^53 where the power is positive)."""
    near = mantissa.astype(np.float64)
    rest = (mantissa - near.astype(np.int64)).astype(np.float64)
    ten: FloatArray = _TENS[np.abs(power)]
    quotient = near / ten
    remainder = _minus_product(near, quotient, ten) + rest
    divided = quotient + remainder / ten
    return np.where(power > 0, near * ten, divided)


def _minus_product(value: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """``value - first * second`` without the rounding of the product (Dekker's splitting); the two must be close."""
    product = first * second
    first_high, first_low = _split(first)
    second_high, second_low = _split(second)
    error = ((first_high * second_high - product) + first_high * second_low + first_low * second_high) + first_low * second_low
    result: Any = (value - product) - error
    return np.asarray(result, dtype=np.float64)


def _split(value: FloatArray) -> tuple[FloatArray, FloatArray]:
    scaled = value * _SPLITTER
    high = scaled - (scaled - value)
    return high, value - high
