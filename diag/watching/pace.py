"""How often something that takes time may be done, so that it takes a bounded share of all time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pace:
    """Lets work begin again once it has rested long enough.

    Args:
        share: of the time, that the work may take in the long run, in (0, 1].
        clock: seconds, monotonic.
    """

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        self._rest = 1 / share - 1
        self._clock = clock
        self._due = -float("inf")

    @property
    def is_due(self) -> bool:
        """Whether the work may be done now."""
        return self._clock() >= self._due

    @contextmanager
    def work(self) -> Iterator[None]:
        """Do the work; what it took is what it then rests for, times (1 - share) / share."""
        began = self._clock()
        try:
            yield
        finally:
            ended = self._clock()
            self._due = ended + self._rest * (ended - began)
