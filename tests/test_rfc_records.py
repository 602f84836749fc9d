"""The records in docs/rfc keep their form, and every test that they name exists.

Whether a test shows what its row says is for people to judge; that it is there is checked here.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.tree

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/rfc"
HEADER = ["Section", "Level", "What it asks", "Here", "Shown by"]
KEYWORDS = (
    "MUST", "MUST NOT", "REQUIRED", "SHALL", "SHALL NOT", "SHOULD", "SHOULD NOT", "RECOMMENDED",
    "NOT RECOMMENDED", "MAY", "OPTIONAL", "step",
)  # fmt: skip
LEVEL = re.compile(rf"(?:{'|'.join(KEYWORDS)})(?: \((?:MUST|SHLD|MAY|REC)-\d+\))?")
HERE = re.compile(r"yes(?:: \S.*)?|(?:no|n/a): \S.*")
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::((?:\w+::)?test_\w+)`")
PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)+\.[a-z]+)`")
INDEX_LINE = re.compile(r"- \[RFC (\d+)\]\((\d{4})\.md\): (\S.*)")
# The labels of RFC 9293 Appendix B: every one has its row.
APPENDIX_B = {
    *(f"MUST-{n}" for n in range(1, 70)),
    *(f"SHLD-{n}" for n in range(1, 32)),
    *(f"MAY-{n}" for n in range(1, 19)),
    "REC-1",
}


def records() -> list[Path]:
    return sorted(FOLDER.glob("[0-9]*.md"))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@functools.cache
def names_in(path: str) -> frozenset[str]:
    """The test functions of a file: `test_x` wherever it stands, and `Class::test_x`."""
    found = set()
    tree = ast.parse((ROOT / path).read_text())
    for node in ast.walk(tree):
        inside = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= {child.name, inside + child.name}
    return frozenset(name for name in found if name.split("::")[-1].startswith("test_"))


def missing(path: str, test: str) -> str | None:
    if not (ROOT / path).is_file():
        return f"{path} does not exist"
    if test not in names_in(path):
        return f"{path} has no {test}"
    return None


def wrong_row(line: str) -> list[str]:
    """What is wrong with one row of a record's table."""
    row = cells(line)
    if len(row) != len(HEADER) or not line.rstrip().endswith("|"):
        return [f"{len(row)} cells, not {len(HEADER)}"]
    section, level, asks, here, shown = row
    wrong = []
    if not section or not asks:
        wrong.append("section and what it asks are needed")
    if not LEVEL.fullmatch(level):
        wrong.append(f"no such level: {level!r}")
    if not HERE.fullmatch(here):
        wrong.append(f"neither yes, no: REASON nor n/a: REASON: {here!r}")
    named = shown.split("<br>") if shown else []
    if here.startswith("yes") and not named:
        wrong.append("yes, but no test shows it")
    for name in named:
        found = REFERENCE.fullmatch(name.strip())
        fault = missing(*found.groups()) if found else f"not `tests/….py::test_name`: {name}"
        wrong += [fault] if fault else []
    return wrong


def wrong_record(text: str, number: int) -> list[str]:
    """What is wrong with one record, line by line."""
    lines = text.splitlines()
    wrong = []
    if not lines or not re.fullmatch(rf"# RFC {number}: \S.*", lines[0]):
        wrong.append(f"1: the heading is not '# RFC {number}: TITLE'")
    tables = rows = 0
    for at, line in enumerate(lines, 1):
        new = line.startswith("|") and not lines[at - 2].startswith("|")
        if new:
            tables, rows = tables + 1, 0
            if cells(line) != HEADER:
                wrong.append(f"{at}: the table's head is not {HEADER}")
        elif line.startswith("|"):
            rows += 1
            if rows == 1 and set(line) != set("|-"):
                wrong.append(f"{at}: a line of |---| belongs here")
            wrong += [f"{at}: {what}" for what in (wrong_row(line) if rows > 1 else [])]
        else:
            paths = PATH.findall(line)
            wrong += [f"{at}: {p} does not exist" for p in paths if not (ROOT / p).exists()]
    if not tables:
        wrong.append("no table")
    return wrong


def wrong_index(index: str, titles: dict[str, str]) -> list[str]:
    """What is wrong with the index, given each record's file name and heading."""
    lines = [line for line in index.splitlines() if line.startswith("- [RFC ")]
    wrong = [f"not '- [RFC N](NNNN.md): TITLE': {x}" for x in lines if not INDEX_LINE.fullmatch(x)]
    found = [m.groups() for m in map(INDEX_LINE.fullmatch, lines) if m]
    names = [f"{file}.md" for _, file, _ in found]
    if names != sorted(set(names)):
        wrong.append("the index is not sorted, or names a record twice")
    wrong += [f"{name} is not in the index" for name in sorted(set(titles) - set(names))]
    wrong += [f"{name} is in the index and does not exist" for name in sorted({*names} - {*titles})]
    for number, file, title in found:
        heading = titles.get(f"{file}.md", f"# RFC {number}: {title}")
        if heading != f"# RFC {number}: {title}":
            wrong.append(f"{file}.md is {heading!r}, the index says RFC {number}: {title}")
    return wrong


@pytest.mark.parametrize("path", records(), ids=lambda path: path.stem)
def test_record_keeps_the_form_and_names_tests_that_exist(path: Path) -> None:
    assert re.fullmatch(r"\d{4}", path.stem), "a record's name is the RFC's number, four digits"
    assert wrong_record(path.read_text(), int(path.stem)) == []


def test_the_index_has_every_record_once_and_in_order() -> None:
    titles = {path.name: path.read_text().splitlines()[0] for path in records()}
    assert titles, "there are records"
    assert wrong_index((FOLDER / "README.md").read_text(), titles) == []


def test_the_whole_of_appendix_b_of_rfc_9293_is_there() -> None:
    found = re.findall(
        r"\| [A-Z ]+ \(((?:MUST|SHLD|MAY|REC)-\d+)\) \|", (FOLDER / "9293.md").read_text()
    )
    assert set(found) == APPENDIX_B


# ---- the checker itself ------------------------------------------------------------------------

HEAD = "| Section | Level | What it asks | Here | Shown by |\n|---|---|---|---|---|\n"
ME = "`tests/test_rfc_records.py::test_a_good_record_is_accepted`"


def record(row: str, title: str = "# RFC 793: Old") -> str:
    return f"{title}\nIt is in `tests/test_rfc_records.py`.\n\n{HEAD}{row}\n"


def test_a_good_record_is_accepted() -> None:
    rows = [
        f"| 3.1 | MUST (MUST-1) | do it | yes | {ME} |",
        f"| 3.1 | SHOULD NOT | do it | yes: in part | {ME}<br>{ME} |",
        f"| 3.1 | MAY | do it | no: nobody asked | {ME} |",
        "| 3.1 | step | do it | n/a: we are a host | |",
    ]
    text = record("\n".join(rows)) + f"\n## More\n\n{HEAD}{rows[0]}\n"
    assert wrong_record(text, 793) == []


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("| 3.1 | MUST | do it | yes | |", "no test shows it"),
        ("| 3.1 | MUST | do it | perhaps | |", "neither yes"),
        ("| 3.1 | MUST | do it | no | |", "neither yes"),
        ("| 3.1 | MUST | do it | n/a: | |", "neither yes"),
        ("| 3.1 | WANTS | do it | no: reason | |", "no such level"),
        ("| 3.1 | MUST (X-1) | do it | no: reason | |", "no such level"),
        ("| | MUST | do it | no: reason | |", "section"),
        ("| 3.1 | MUST | do it | no: reason |", "4 cells"),
        ("| 3.1 | MUST | do | it | no: reason | |", "6 cells"),
        ("| 3.1 | MUST | do it | yes | `tests/none.py::test_x` |", "tests/none.py does not exist"),
        (f"| 3.1 | MUST | do it | yes | {ME[:-1]}_x` |", "has no test_a_good"),
        (f"| 3.1 | MUST | do it | yes | {ME} and more |", "not `tests/"),
        ("| 3.1 | MUST | do it | yes | `tests/kit/frames.py::pattern` |", "not `tests/"),
    ],
)
def test_a_wrong_row_is_told(row: str, fault: str) -> None:
    found = wrong_record(record(row), 793)
    assert len(found) == 1 and fault in found[0]
    assert found[0].startswith("6: "), "the line is named"


def test_a_wrong_heading_table_or_path_is_told() -> None:
    row = "| 3.1 | MUST | do it | no: reason | |"
    good = record(row)
    assert wrong_record(good, 793) == []
    assert "heading" in wrong_record(good, 794)[0]
    assert "no table" in wrong_record("# RFC 793: Old\n", 793)[0]
    assert "head is not" in wrong_record(good.replace("Level", "Grade"), 793)[0]
    assert "belongs here" in wrong_record(good.replace("|---|---|---|---|---|\n", ""), 793)[0]
    assert "none.c does not exist" in wrong_record(good.replace("It", "`stack/none.c`"), 793)[0]


def test_methods_are_found_by_name_and_by_class() -> None:
    path = "tests/sockets/test_stream.py"
    names = names_in(path)
    method = next(name for name in names if "::" in name)
    assert missing(path, method) is None
    assert missing(path, method.split("::")[1]) is None
    assert missing(path, "TestNobody::test_nothing") is not None


def test_a_wrong_index_is_told() -> None:
    titles = {"0793.md": "# RFC 793: Old", "9293.md": "# RFC 9293: New"}
    old, new = "- [RFC 793](0793.md): Old\n", "- [RFC 9293](9293.md): New\n"
    assert wrong_index("Words.\n\n" + old + new, titles) == []
    assert "sorted" in wrong_index(new + old, titles)[0]
    assert "twice" in wrong_index(old + new + new, titles)[0]
    assert "9293.md is not in the index" in wrong_index(old, titles)[0]
    assert "does not exist" in wrong_index(old + new, {"0793.md": "# RFC 793: Old"})[0]
    assert "the index says" in wrong_index(old + new.replace("New", "Newer"), titles)[0]
    assert "not '- [RFC N]" in wrong_index(old + new + "- [RFC x](x.md)\n", titles)[0]
