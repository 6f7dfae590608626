"""Lengths of the training samples, where the user gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from diag.plan import Plan

LEAST_SAMPLES: Final = 20
"""Lengths below which the 95th percentile is nothing but the longest sample."""

GRANULE: Final = 64
"""Tokens that a suggested length is rounded up to: kernels work on multiples of it."""


def lengths(plan: Plan) -> list[int]:
    """Tokens of the training samples, sorted; [] where there are too few to judge."""
    known = sorted(length for length in plan.options.sample_lengths if length > 0)
    return known if len(known) >= LEAST_SAMPLES else []


def percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest length that at least ``share`` of the samples do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def rounded(tokens: float) -> int:
    """The next multiple of GRANULE."""
    return math.ceil(tokens / GRANULE) * GRANULE
