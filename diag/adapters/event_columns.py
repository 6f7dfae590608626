"""Numbers out of equally formed payloads, column by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from diag.adapters.event_checksums import Bytes
from diag.adapters.event_wire import BFLOAT_BYTES, BFLOAT_KIND, HALF_KIND, VARINT_KINDS, Scalar
from diag.run import FloatArray, IntArray

SHORT_DIGITS = 7
"""Significant decimal digits up to which a float32 is taken to be the decimal that the writer logged (float32 holds 7.2)."""

EXACT_POWER = 1e22
"""Largest power of ten that a float64 holds exactly; a quotient by one is the float64 nearest to the decimal."""


def items(payloads: Bytes, offset: int, dtype: str) -> npt.NDArray[Any]:
    """The items of ``dtype`` at one offset of each payload."""
    width = np.dtype(dtype).itemsize
    return np.ascontiguousarray(payloads[:, offset : offset + width]).view(dtype).reshape(-1)


def varints(payloads: Bytes, offset: int, width: int) -> IntArray:
    """The varints of one width at one offset of each payload, as signed 64-bit numbers; zeros for a width of 0."""
    number = np.zeros(payloads.shape[0], dtype=np.uint64)
    for byte in range(width):
        number |= (payloads[:, offset + byte].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(7 * byte)
    return number.view(np.int64)


def numbers(payloads: Bytes, scalar: Scalar) -> FloatArray:
    """The scalar's value in each payload."""
    if not scalar.width:
        return np.zeros(payloads.shape[0])
    if scalar.kind in VARINT_KINDS:
        return _from_bits(varints(payloads, scalar.offset, scalar.width), scalar.kind)
    if scalar.kind == BFLOAT_BYTES:
        return _from_bits(items(payloads, scalar.offset, "<u2").astype(np.int64), BFLOAT_KIND)
    found = items(payloads, scalar.offset, scalar.kind)
    return shortest(found) if scalar.kind == "<f" else found.astype(np.float64)


def _from_bits(bits: IntArray, kind: str) -> FloatArray:
    """Numbers from the integers that stand for them on the wire."""
    if kind == HALF_KIND:
        return bits.astype(np.uint16).view(np.float16).astype(np.float64)
    if kind == BFLOAT_KIND:
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    return bits.astype(np.float64)


def number(payload: bytes, scalar: Scalar) -> float:
    """The scalar's value in one payload."""
    return float(numbers(np.frombuffer(payload, dtype=np.uint8).reshape(1, -1), scalar)[0])


def shortest(value: npt.NDArray[np.float32]) -> FloatArray:
    """float32 as float64, through the decimal of at most SHORT_DIGITS digits where one stands for the same float32.

    A learning rate of 1e-4 that went through float32 comes back as 1e-4 and not as 9.999999747378752e-05. Shape (n,) -> (n,).
    """
    exact = value.astype(np.float64)
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log10(np.abs(exact)))
        scale = 10.0 ** np.abs(SHORT_DIGITS - 1 - exponent)
        small = exponent < SHORT_DIGITS
        decimal = np.where(small, np.rint(exact * scale) / scale, np.rint(exact / scale) * scale)
        return np.where((decimal.astype(np.float32) == value) & (scale <= EXACT_POWER), decimal, exact)
