"""Thinning a curve for a display: what is kept, and that a drawing of it is the drawing of the whole."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from diag.report.downsampling import means, thin
from diag.run import Column, Curve, make_curve

NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 0.0]))


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    values = draw(st.lists(NUMBERS, max_size=200))
    gaps = draw(st.lists(st.integers(1, 50), min_size=len(values), max_size=len(values)))
    start = draw(st.integers(0, 2**40))
    return make_curve(Column([start + at for at in np.cumsum(gaps, dtype=np.int64).tolist()], values))[0]


STRETCHES = st.integers(1, 30)


def same(a: Curve, b: Curve) -> bool:
    return bool(np.array_equal(a.step, b.step) and np.array_equal(a.value, b.value, equal_nan=True))


@given(curves(), STRETCHES)
def test_what_is_kept_is_part_of_the_curve_and_no_more_than_promised(curve: Curve, stretches: int) -> None:
    kept = thin(curve, stretches)
    places = np.searchsorted(curve.step, kept.step)
    assert same(curve.select(places), kept)
    assert len(kept) <= max(6 * stretches, 4 * stretches if bool(np.isfinite(curve.value).all()) else 0)
    if len(curve) <= 4 * stretches:
        assert same(kept, curve)


@given(curves(), STRETCHES)
def test_ends_extremes_and_what_is_not_finite_survive(curve: Curve, stretches: int) -> None:
    kept = thin(curve, stretches)
    if not len(curve):
        assert not len(kept)
        return
    assert (kept.step[0], kept.step[-1]) == (curve.step[0], curve.step[-1])
    whole, part = curve.finite().value, kept.finite().value
    assert bool(whole.size) == bool(part.size)
    if whole.size:
        assert (part.min(), part.max()) == (whole.min(), whole.max())
    assert bool(np.isfinite(curve.value).all()) == bool(np.isfinite(kept.value).all())


@given(curves(), STRETCHES)
def test_every_stretch_keeps_its_ends_and_extremes(curve: Curve, stretches: int) -> None:
    if len(curve) <= 4 * stretches:
        return
    kept = thin(curve, stretches)
    first, length = float(curve.step[0]), max(float(curve.step[-1]) - float(curve.step[0]), 1.0)
    for number in range(stretches):

        def inside(some: Curve, number: int = number) -> Curve:
            place = np.minimum((some.step.astype(float) - first) / length * stretches, stretches - 1).astype(int)
            return some.select(place == number)

        whole, part = inside(curve), inside(kept)
        assert bool(len(whole)) == bool(len(part))
        if len(whole):
            assert (part.step[0], part.step[-1]) == (whole.step[0], whole.step[-1])
            for pick in (np.min, np.max):
                if len(whole.finite()):
                    assert pick(part.finite().value) == pick(whole.finite().value)
            assert bool(np.isfinite(whole.value).all()) == bool(np.isfinite(part.value).all())


def test_a_lone_spike_in_a_hundred_thousand_points_is_kept() -> None:
    value = np.ones(100_000)
    value[77_777] = 50.0
    kept = thin(make_curve(Column(np.arange(100_000), value))[0], 1000)
    assert len(kept) <= 4000
    assert kept.value[kept.step == 77_777].tolist() == [50.0]


def test_a_drawing_of_the_kept_points_has_the_same_pixels() -> None:
    # M4's promise: with a stretch a column of pixels every column of a plain raster spans the same rows
    random = np.random.default_rng(1)
    curve = make_curve(Column(np.arange(20_000), np.cumsum(random.standard_normal(20_000))))[0]
    columns, rows = 200, 100
    low, high = float(curve.value.min()), float(curve.value.max())

    def raster(some: Curve) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        pixels = np.zeros((rows, columns), dtype=bool)
        across = np.minimum((some.step / curve.step[-1] * columns).astype(int), columns - 1)
        down = ((some.value - low) / (high - low) * (rows - 1)).round().astype(int)
        for i in range(len(some) - 1):
            a, b = sorted((down[i], down[i + 1]))
            if across[i] == across[i + 1]:
                pixels[a : b + 1, across[i]] = True
            else:  # one step to the next column: the joint lies between two kept points in either drawing
                pixels[down[i], across[i]] = pixels[down[i + 1], across[i + 1]] = True
        return pixels

    assert bool((raster(thin(curve, columns)) == raster(curve)).all())


@given(curves(), STRETCHES)
def test_means_are_finite_within_the_extremes_and_in_order(curve: Curve, stretches: int) -> None:
    mean = means(curve, stretches)
    if len(curve) <= 4 * stretches:
        assert same(mean, curve)
        return
    assert len(mean) <= stretches
    assert bool(np.isfinite(mean.value).all())
    assert bool((np.diff(mean.step) > 0).all())
    finite = curve.finite()
    if len(mean):
        slack = 1e-9 * float(np.abs(finite.value).max())
        assert finite.value.min() - slack <= mean.value.min() <= mean.value.max() <= finite.value.max() + slack
        assert finite.step[0] <= mean.step[0] <= mean.step[-1] <= finite.step[-1]
