"""Colours that are told apart with any colour vision, on light and on dark ground; never the only difference between two things.

After Okabe and Ito, "Color Universal Design" (2008), https://jfly.uni-koeln.de/color/: blue, vermilion, bluish green, reddish purple,
orange, grey. Each is darkened or lightened until it has a contrast of 3 to its ground, which WCAG 2.2 (1.4.11) asks of graphics.
"""

from __future__ import annotations

from typing import Final

LINES: Final = ("#0072b2", "#c75300", "#00845f", "#ad5a86", "#947100", "#595959")
"""Lines on white; further ones begin anew with other dashes."""
LINES_ON_DARK: Final = ("#56b4e9", "#f0803c", "#2fc79a", "#dd93bc", "#e6b422", "#b8b8b8")
"""The same on DARK."""
DARK: Final = "#161b22"
DASHES: Final = ((), (6, 3), (2, 2), (8, 3, 2, 3), (12, 3))
"""Dash patterns, lengths of stroke and gap in pixels; the first is for training curves."""
SEVERITIES: Final = {"error": "#b3261e", "warning": "#8a5a00", "info": "#44597a"}
"""Findings on white, as text and lines; shadings are the same with OPACITY."""
SEVERITIES_ON_DARK: Final = {"error": "#ff8a80", "warning": "#f2c037", "info": "#a3b8d9"}
OPACITY: Final = {"error": 0.13, "warning": 0.12, "info": 0.05}
INK: Final = "#1f2328"
GRID: Final = "#d8dee4"
SIGNS: Final = {"error": "✗", "warning": "!", "info": "i"}
"""What tells severities apart without colour."""


def style(number: int, evaluated: bool) -> tuple[int, int]:
    """The colour and the dash pattern of a line, as indices: solid blue for the training, the others for evaluations in their order.

    Args:
        number: how many lines of its kind its panel has before it.
        evaluated: whether it is an evaluation.
    """
    place = number + evaluated
    return place % len(LINES), (1 + number % (len(DASHES) - 1) if evaluated else number % len(DASHES))
