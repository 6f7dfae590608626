"""Every check has a whole page, a unique code and name, and rules that exist."""

from __future__ import annotations

import re

import pytest

from diag.battery import checks
from diag.check import Check
from diag.guides import rules
from diag.vocabulary import METRICS, SEVERITIES

HEADINGS = ["What it does", "Why is this bad?", "When it stays silent", "What to do", "References"]
FAMILIES = ("DIV", "SPK", "OVF", "UND", "LRS", "GRD", "NSE", "EVL", "LOG", "PRC", "THR", "RLH", "CFG")


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.code)
def test_page(check: Check) -> None:
    headings = re.findall(r"(?m)^## (.*)$", check.page())
    assert [heading for heading in headings if heading in HEADINGS] == [heading for heading in HEADINGS if heading in headings]
    assert set(HEADINGS[:4]) <= set(headings)
    sections = re.split(r"(?m)^## .*$", check.page())[1:]
    assert all(section.strip() for section in sections)
    assert check.summary().endswith(".")
    assert len(check.summary()) <= 120


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.code)
def test_metadata(check: Check) -> None:
    assert re.fullmatch(r"[A-Z]{3}\d{3}", check.code)
    assert check.code[:3] in FAMILIES
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", check.name)
    assert check.severity in SEVERITIES
    assert set(check.needs) <= set(METRICS)
    assert [rule for rule in check.rules if rule not in rules()] == []


def test_names_are_unique() -> None:
    names = [check.name for check in checks()]
    assert len(names) == len(set(names))
