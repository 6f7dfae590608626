"""Work that takes a bounded share of the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from diag.watching.pace import Pace


@given(st.floats(0.01, 0.9), st.lists(st.floats(0.001, 10.0), min_size=1, max_size=50), st.floats(0.01, 5.0))
def test_the_share_is_kept(share: float, costs: list[float], step: float) -> None:
    now = 0.0
    pace = Pace(share, lambda: now)
    spent = 0.0
    for cost in costs:
        while not pace.is_due:
            now += step
        began = now
        now += cost
        spent += cost
        pace.worked(began)
    while not pace.is_due:
        now += step
    assert spent <= share * now * (1 + 1e-6)


def test_the_first_time_is_at_once() -> None:
    assert Pace(0.1).is_due
