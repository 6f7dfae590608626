"""Configuration of the documentation: ``sphinx-build -W -b html docs docs/_build``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the pictures on the pages are drawn from the tests' specimens
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import diag

project = "diag"
author = "the diag authors"
copyright = author
release = version = diag.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated", "examples"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_ext", "_generated/keys"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"diag {release}"
html_static_path = ["_static"]
html_css_files = ["diag.css"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
suppress_warnings = ["myst.header"]
