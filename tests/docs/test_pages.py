"""The generated pages: what they must tell of every check, and that their links lead somewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from diag import gate
from diag.adapters.registry import registry
from diag.battery import checks
from diag.check import Check, Documented
from diag.dialects import table
from diag.dialects.recognition import DIALECTS
from diag.linting import lints

sys.path.append(str(Path(__file__).parents[2] / "docs" / "_ext"))
import generated
import pages
from keys import key_tables

DOCS = Path(__file__).parents[2] / "docs"
EVERY: list[pages.Page] = [*checks(), *lints(), *gate.pages()]
CODES = {page.code for page in EVERY}


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.code)
def test_the_page_of_a_check_tells_all_there_is(check: Check) -> None:
    text = pages.check_page(check)
    headings = re.findall(r"(?m)^## (.*)$", text)
    order = ["A run that has it", "What it does", "Why is this bad?", "When it stays silent", "What to do", "A run that nearly has it"]
    assert [heading for heading in headings if heading in order] == order
    has, nearly = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert f"{check.code}</code>" in has
    assert nearly.endswith("Nothing is found.")
    assert "\n\n" not in text[text.index("<figure>") : text.index("</figure>")], "Markdown would end the figure there"
    for threshold in check.thresholds:
        assert f"`{check.code}.{threshold.name}`" in text
    linked = re.findall(r"\]\(\.\./(checks|lint|gate)/([A-Z]{3}\d{3})\.md\)", text)
    assert {code for _, code in linked} <= CODES
    assert check.code not in {code for _, code in linked}


def test_every_number_of_a_check_is_in_its_table_once() -> None:
    by_code = {check.code: check for check in checks()}
    table = pages.check_page(by_code["OVF001"]).partition("## Thresholds")[2]
    rows = re.findall(r"(?m)^\| (`[A-Z].*?) \| (.*?) \| (.*?) \| (.*?) \|$", table)
    assert ("`PROBLEM`", "`0.05`", "`OVF001.problem`") in [(row[0], row[1], row[3]) for row in rows]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row[0])].count("TREND_ALPHA") == 1
    assert "--threshold OVF001.problem=0.05" in table


def test_a_check_and_the_lint_rule_about_the_same_thing_name_each_other() -> None:
    lint = next(rule for rule in lints() if rule.code == "CFG010")
    check = next(check for check in checks() if check.code == "UND005")
    assert "[CFG010 " in pages.check_page(check)
    assert "[UND005 " in pages.lint_page(lint)


class NotMet(Documented):
    """A requirement is not met.

    ## What it does
    Compares with what was asked for; OVF001 judges the run by itself.
    """

    code = "GAT901"
    name = "not-met"


def test_the_findings_of_the_gate_have_pages_beside_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "pages", lambda: [NotMet])
    text = pages.gate_page(NotMet)
    assert text.startswith("# GAT901 not-met\n\nA requirement is not met.\n")
    assert "[OVF001](../checks/OVF001.md) judges" in text
    overfit = next(check for check in checks() if check.code == "OVF001")
    assert "At the gate: [GAT901 not-met](../gate/GAT901.md)" in pages.check_page(overfit)
    index = generated.index_page(checks(), [NotMet])
    assert "## The gate" in index
    assert "[GAT901](../gate/GAT901.md)" in index
    assert "\n../gate/GAT901\n" in index
    assert "## The gate" not in generated.index_page(checks())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_framework_has_a_page_with_its_keys(dialect: str) -> None:
    folder = DOCS / "how-to" / "frameworks"
    page = (folder / f"{dialect}.md").read_text(encoding="utf-8")
    assert f"```{{include}} ../../_generated/keys/{dialect}.md" in page
    index = (folder / "index.md").read_text(encoding="utf-8")
    assert f"| `{dialect}` |" in index and f"\n{dialect}\n" in index
    for row in table.rows(dialect):
        if not row.canonical.startswith("_"):
            assert f"`{row.native}`" in key_tables()[dialect]


@pytest.mark.parametrize("adapter", sorted(registry().adapters))
def test_every_source_is_told_of_on_a_page(adapter: str) -> None:
    pages_of_sources = {"trainer_state": "huggingface", "csv": "tables", "jsonl": "json-lines", "json_history": "json-lines"}
    assert (DOCS / "how-to" / "sources" / f"{pages_of_sources.get(adapter, adapter)}.md").is_file()
