"""The table of docs/reliability.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_each_fault_of_the_table_is_held_by_tests_that_exist() -> None:
    rows = (ROOT / "docs" / "reliability.md").read_text().split("| held by |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, name in named:
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"
