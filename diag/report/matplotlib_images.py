"""Pictures through matplotlib: no window, no clock, the same bytes for the same content and version."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any, Final

from diag.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SALT: Final = "diag"
"""What the ids in an SVG are made from in place of random numbers."""
UNDATED: Final[dict[str, dict[str, Any]]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Metadata that matplotlib would write by itself, left out; the formats there are."""

MOST_PIXELS: Final = 100e6
"""Pixels of a picture; each takes several bytes of memory while it is drawn."""


def require_matplotlib(what: str, otherwise: str = "") -> None:
    """Say how to install matplotlib if it is not there.

    Args:
        what: what needs it.
        otherwise: what can be done without.

    Raises:
        UsageError: it is not.
    """
    from importlib.util import find_spec

    if "matplotlib" not in sys.modules and find_spec("matplotlib") is None:
        raise UsageError(f"{what} needs matplotlib; install it with: pip install 'diag[plot]'{otherwise}")


def blank(width: float, height: float, dpi: int) -> Figure:
    """An empty figure of so many inches that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def image(figure: Figure, kind: str) -> bytes:
    """The figure as a file: ``png``, ``svg`` or ``pdf``.

    Raises:
        UsageError: it would be too large.
    """
    from matplotlib import rc_context

    width, height = figure.get_size_inches() * figure.dpi
    if kind == "png" and width * height > MOST_PIXELS:
        raise UsageError(
            f"a picture of {width:.0f} by {height:.0f} dots is too large; take fewer inches or dots per inch, or write .svg or .pdf"
        )
    written = io.BytesIO()
    with rc_context({"svg.hashsalt": SALT}):
        figure.savefig(written, format=kind, metadata=UNDATED[kind])
    return written.getvalue()
