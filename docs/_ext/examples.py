"""Sphinx extension that makes the example report and the pictures of the documentation from recorded runs, before every build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
EXAMPLE = ("hf-overfit", "hf-lora-underfit", "hf-nan", "hf-lr-too-high", "hf-healthy", "grpo", "keras-csv", "tensorboard-healthy")
"""Recorded runs of the example report."""
DRAWN = ("hf-overfit", "hf-lora-underfit")
"""Recorded runs that are drawn."""


def write_examples(app: Sphinx) -> None:
    """Write them to ``docs/_generated``; a file that would be the same is left alone."""
    import diag
    from diag.report import Layout
    from diag.report.html import render
    from diag.report.matplotlib_images import image
    from diag.report.plot import draw

    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    made = {"report.html": render(diag.analyze([FIXTURES / name for name in EXAMPLE]), Layout()).encode("utf-8")}
    for name in DRAWN:
        made[f"{name}.svg"] = image(draw(diag.analyze(FIXTURES / name).runs, metrics=["train/loss", "eval/loss"]), "svg")
    for name, content in made.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("builder-inited", write_examples)
    return {"version": "1", "parallel_read_safe": True}
