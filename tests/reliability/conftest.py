"""Count what was tried, file by file, and write the table that the book shows.

A file of tests is a row, and the first line of its docstring says what is tried. A test counts as one case, or as many
as it records under `cases`. Rows of files that were not run this time stay as they were.
"""

import ast
import json
import platform
import time
from pathlib import Path

import pytest

import metamerlib as ml

ROOT = Path(__file__).resolve().parents[2]
OUTCOMES = {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--summary", type=Path, help="file for the counts of what was tried, in JSON")


def what_is_tried(path: str) -> str:
    """Return the first line of a test file's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text("utf8"))) or path
    return text.splitlines()[0].removesuffix(".")


def counts(reports: dict[str, list[pytest.TestReport]]) -> list[dict[str, object]]:
    """Return one row for each file: what, file, cases, and how many of the cases passed, failed or were skipped."""
    rows: dict[str, dict[str, object]] = {}
    for kind, outcome in OUTCOMES.items():
        for report in reports.get(kind, []):
            path = report.nodeid.partition("::")[0]
            row = rows.setdefault(path, {"what": what_is_tried(path), "file": path, "cases": 0})
            number = dict(report.user_properties).get("cases", 1)
            row["cases"] += number
            row[outcome] = row.get(outcome, 0) + number
    return [{**dict.fromkeys(OUTCOMES.values(), 0), **rows[path]} for path in sorted(rows)]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    path = config.getoption("summary")
    if path is None:
        return
    held = json.loads(path.read_text("utf8")) if path.is_file() else {"date": "", "rows": []}
    today = {"date": time.strftime("%Y-%m-%d", time.gmtime())}
    found = {row["file"]: {"date": held["date"], **row} for row in held["rows"]}
    found |= {row["file"]: row | today for row in counts(terminalreporter.stats)}
    rows = [found[file] for file in sorted(found) if (ROOT / file).is_file()]
    about = {"date": min((row["date"] for row in rows), default=""), "python": platform.python_version()}
    about |= {"metamerlib": ml.__version__, "rows": rows}
    path.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", "utf8")
    terminalreporter.write_line(f"{sum(row['cases'] for row in rows)} cases, counted in {path}")
