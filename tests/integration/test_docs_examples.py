"""The examples of docs/api.md and docs/results.md run as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.usefixtures("ray_session")
def test_the_examples_run(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("TOPRUNG_OUT", raising=False)
    blocks = [*examples("api.md"), *examples("results.md")]
    assert len(blocks) >= 9
    names: dict[str, object] = {"__name__": "examples"}
    for block in blocks:
        exec(compile(block, "docs", "exec"), names)
    assert "val_accuracy" in capsys.readouterr().out
