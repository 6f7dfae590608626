"""The formats' own consumers: each reads a report, fails where the format's rules are broken, and gives back what it read."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import jsonschema
from lxml import etree

import diag

SCHEMAS = Path(__file__).parent / "data" / "schemas"
FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Unicode categories that no report shows as they are; the line feed and the program's own zero-width space aside."""


def assert_harmless(text: str) -> None:
    """No terminal escape, no bidirectional override, no NUL, no character that cannot be seen."""
    bad = {character for character in text if unicodedata.category(character) in FORBIDDEN} - {"\n"}
    assert not bad, [f"U+{ord(character):04X}" for character in sorted(bad)]


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def strict_json(text: str) -> Any:
    """JSON in ASCII without NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert text.isascii()
    return json.loads(text, parse_constant=refuse)


_REPORT = json.loads((Path(diag.__file__).parent / "report" / "schema.json").read_text(encoding="utf-8"))
_LINT = json.loads((Path(diag.__file__).parent / "report" / "lint_schema.json").read_text(encoding="utf-8"))


def read_json(text: str) -> Any:
    """A report that is valid by the schema that the package ships."""
    value = strict_json(text)
    schema = _LINT if "configs" in value else _REPORT
    assert [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(value)] == []
    return value


# --- SARIF -------------------------------------------------------------------------------------------------------

_SARIF = json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
SARIF = jsonschema.Draft4Validator(_SARIF, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)


def read_sarif(text: str) -> dict[str, Any]:
    """The one run of a SARIF log that is valid by the standard's schema and has what GitHub requires."""
    log = strict_json(text)
    assert [error.message for error in SARIF.iter_errors(log)] == []
    (run,) = log["runs"]
    assert_github_takes(log)
    for words in texts(log):
        assert_harmless(words)
    return dict(run)


def assert_github_takes(log: dict[str, Any]) -> None:
    """The properties that "SARIF support for code scanning" marks as required, its lengths and its limits."""
    assert log["$schema"]
    assert log["version"] == "2.1.0"
    assert len(log["runs"]) <= 20
    for run in log["runs"]:
        driver = run["tool"]["driver"]
        assert driver["name"]
        assert len(driver["rules"]) <= 25_000
        assert len(run["results"]) <= 5000
        for rule in driver["rules"]:
            assert rule["id"]
            assert 0 < len(rule["name"]) <= 255
            assert 0 < len(rule["shortDescription"]["text"]) <= 1024
            assert 0 < len(rule["fullDescription"]["text"]) <= 1024
            assert rule["help"]["text"]
            assert rule["defaultConfiguration"]["level"] in ("note", "warning", "error")
            assert rule["properties"]["precision"] in ("very-high", "high", "medium", "low")
            assert rule["properties"]["problem.severity"] in ("error", "warning", "recommendation")
            assert len(rule["properties"]["tags"]) <= 20
            assert "security-severity" not in rule["properties"]
        for result in run["results"]:
            assert result["message"]["text"]
            assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["partialFingerprints"]["primaryLocationLineHash"]
            assert 1 <= len(result["locations"]) <= 1000
            for location in (*result["locations"], *result.get("relatedLocations", [])):
                physical = location["physicalLocation"]
                uri, region = physical["artifactLocation"]["uri"], physical["region"]
                assert uri
                assert ".." not in uri.split("/")
                assert re.fullmatch(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/%]+", uri), uri
                assert physical["artifactLocation"].get("uriBaseId") == "%SRCROOT%" or uri.startswith("file:///")
                assert 1 <= region["startLine"] <= region["endLine"]
                assert 1 <= region["startColumn"] <= region["endColumn"]
        prints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
        assert len(prints) == len(set(prints))
        suppressed = [result.get("suppressions") is None for result in run["results"]]
        assert all(suppressed) or not any(suppressed)  # SARIF 2.1.0, 3.27.23


# --- JUnit -------------------------------------------------------------------------------------------------------

XSD = etree.XMLSchema(etree.parse(str(SCHEMAS / "junit-10.xsd")))


def read_junit(text: str) -> Any:
    """The root of a JUnit document that is valid by the schema of Jenkins' plugin and whose counts are right."""
    from junitparser import JUnitXml

    root = etree.fromstring(text.encode())
    assert XSD.validate(root), XSD.error_log
    assert_harmless("".join(root.itertext()).replace("\n", ""))
    for element in root.iter():
        for value in element.attrib.values():
            assert_harmless(str(value))
    for suite in JUnitXml.fromstring(text.encode()):
        told = (suite.tests, suite.failures, suite.errors, suite.skipped)
        suite.update_statistics()  # type: ignore[no-untyped-call]
        assert told == (suite.tests, suite.failures, suite.errors, suite.skipped)
    return root


# --- GitHub ------------------------------------------------------------------------------------------------------

COMMAND = re.compile(r"::(?P<name>[a-z-]+)(?: (?P<properties>[^:]*(?:%3A[^:]*)*))?::(?P<message>.*)")


def read_github(text: str) -> list[dict[str, str]]:
    """Annotations as the runner understands them; every line must be one, and no line may be another command."""
    found = []
    for line in text.split("\n")[:-1]:
        match = COMMAND.fullmatch(line)
        assert match is not None, line
        assert match["name"] in ("error", "warning", "notice")
        entry = {"name": match["name"], "message": _unescaped(match["message"])}
        for pair in (match["properties"] or "").split(","):
            key, equals, value = pair.partition("=")
            assert equals, line
            assert key in ("file", "line", "col", "title")
            entry[key] = _unescaped(value.replace("%3A", ":").replace("%2C", ","))
        assert_harmless(entry["message"])
        found.append(entry)
    return found


def _unescaped(value: str) -> str:
    return value.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


# --- GitLab ------------------------------------------------------------------------------------------------------


def read_gitlab(text: str) -> list[dict[str, Any]]:
    """Entries that GitLab's "Code Quality report format" takes, all of them shown."""
    entries: list[dict[str, Any]] = strict_json(text)
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["description"].startswith(entry["check_name"])
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert re.fullmatch(r"[0-9a-f]{16}", entry["fingerprint"])
        assert type(entry["location"]["lines"]["begin"]) is int
        assert entry["location"]["lines"]["begin"] >= 1
        assert not entry["location"]["path"].startswith(("/", "./", "../"))
    assert len({entry["fingerprint"] for entry in entries}) == len(entries)
    for words in texts(entries):
        assert_harmless(words)
    return entries


# --- Markdown ----------------------------------------------------------------------------------------------------

TAGS = frozenset(
    [
        "p",
        "h2",
        "h3",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "pre",
        "ul",
        "li",
        "em",
        "strong",
        "details",
        "summary",
        "html",
        "body",
        "div",
    ]
)
MENTION = re.compile(r"@\w|(?<!\w)#\d|\bGH-\d|\w+://|\bwww\.", re.IGNORECASE)
"""What GitHub makes a link of in text that is not code."""


def read_markdown(text: str) -> Any:
    """The page as GitHub's own parser renders it: only the elements that the program writes, no link, mention or reference."""
    import cmarkgfm
    from cmarkgfm.cmark import Options
    from lxml import html

    assert_harmless(text)
    assert len(text) <= 1 << 20
    rendered = cmarkgfm.github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE)
    root = html.fromstring(f"<div>{rendered}</div>")
    assert {element.tag for element in root.iter()} <= TAGS
    assert all(set(element.attrib) <= {"align", "class", "lang"} for element in root.iter())
    for element in root.iter():
        own = [element.text or "", *((child.tail or "") for child in element)]
        if element.tag not in ("code", "pre"):
            assert not [words for words in own if MENTION.search(words)], own
    return root


# --- tables ------------------------------------------------------------------------------------------------------


def read_csv(text: str) -> list[dict[str, str]]:
    """The rows; no cell of them is taken for a formula."""
    rows = list(csv.DictReader(StringIO(text, newline=""), strict=True))
    for row in rows:
        assert None not in row
        for name, cell in row.items():
            assert_harmless(cell)
            assert name in ("confidence", "step_start", "step_end") or cell.lstrip()[:1] not in tuple("=+-@＝＋－＠") or not cell, cell
    return rows


def read_parquet(content: bytes) -> list[dict[str, Any]]:
    """The rows."""
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(BytesIO(content)).to_pylist()
    for words in texts(rows):
        assert_harmless(words)
    return rows


CONCISE = re.compile(
    r"(?P<path>.+?):(?P<line>\d+):(?P<column>\d+): (?P<severity>error|warning|info) (?P<code>[A-Z]{3}\d{3}) (?P<message>.+)"
)


def read_concise(text: str) -> list[dict[str, str]]:
    """The lines, by the one pattern that a problem matcher needs."""
    found = [CONCISE.fullmatch(line) for line in text.split("\n")[:-1]]
    for line in text.split("\n"):
        assert_harmless(line)
    assert all(found), text
    return [match.groupdict() for match in found if match]


READERS: dict[str, Any] = {
    "concise": read_concise,
    "csv": read_csv,
    "github": read_github,
    "gitlab": read_gitlab,
    "json": read_json,
    "junit": read_junit,
    "markdown": read_markdown,
    "parquet": read_parquet,
    "sarif": read_sarif,
}


def read(name: str, content: str | bytes) -> Any:
    """What a format's consumer reads; a format without one must at least be harmless to print and to open."""
    if name in READERS:
        return READERS[name](content)
    text = content if isinstance(content, str) else content.decode()
    assert_harmless(text)
    return text
