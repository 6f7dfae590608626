"""What the user decided beforehand: configuration files, environment variables and options of the command line, in one order.

An option of the command line wins over a variable ``DIAG_*``, that over a configuration file, and that over the default. The file is
found upwards from each run, so that runs under one root may be judged by different ones; see ``files.find``.

    options.py       the keys there are: type, default, what they mean
    files.py         find and read diag.toml, pyproject.toml, setup.cfg
    resolution.py    the layers, laid over each other; where every value came from
"""

from __future__ import annotations

from diag.configuration.options import OPTIONS, Option
from diag.configuration.resolution import Configuration, Resolved, Setting

__all__ = ["OPTIONS", "Configuration", "Option", "Resolved", "Setting"]
