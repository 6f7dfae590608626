"""Every check fires on its specimen, and judges and spares the one that nearly has it."""

from __future__ import annotations

import pytest
from specimens import SPECIMENS

from diag.battery import checks, examine


@pytest.mark.parametrize("code", [check.code for check in checks()])
def test_a_check_fires_on_its_specimen_and_spares_its_neighbour(code: str) -> None:
    specimen = SPECIMENS[code]
    fires, silent = examine(specimen.fires, select=[code]), examine(specimen.silent, select=[code])
    assert not fires.crashes and not silent.crashes
    assert [finding.code for finding in fires.findings]
    assert silent.judged == [code], silent.skipped
    assert silent.findings == []


def test_every_panel_draws_something() -> None:
    for code, specimen in SPECIMENS.items():
        for panel in specimen.panels:
            for run in (specimen.fires, specimen.silent):
                assert any(name in run.curves or name == "seconds" for name in panel), code
