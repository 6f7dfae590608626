"""How often something that takes time may be done, so that it takes a bounded share of all time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Pace:
    """Lets work begin again once it has rested long enough.

    Args:
        share: of the time, that the work may take in the long run, in (0, 1].
        clock: seconds, monotonic.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest = 1 / share - 1
        self._clock = clock
        self._due = -math.inf

    @property
    def is_due(self) -> bool:
        """Whether the work may be done now."""
        return self._clock() >= self._due

    def worked(self, since: float) -> None:
        """The work was done from ``since`` (seconds of the clock) until now: it rests for that long times (1 - share) / share."""
        now = self._clock()
        self._due = now + self._rest * (now - since)
