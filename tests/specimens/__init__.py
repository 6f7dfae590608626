"""For every check a run that has what it looks for, and one that nearly has it and must not be flagged.

The documentation draws them on the check's page, and tests hold that the first fires and the second is judged and found silent. All are
seeded, so that a picture never changes without a reason.
"""

from __future__ import annotations

from specimens.losses import LOSSES
from specimens.optimization import OPTIMIZATION
from specimens.records import RECORDS
from specimens.specimen import Specimen

SPECIMENS: dict[str, Specimen] = {**LOSSES, **OPTIMIZATION, **RECORDS}
"""Code of the check to its specimen."""

__all__ = ["SPECIMENS", "Specimen"]
