"""Compatibility with experiments made by version 0.1.0: show, report, predict, resume."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tune.cli import main
from tune.experiment.experiment import Experiment

pytestmark = pytest.mark.usefixtures("ray_session")

MADE = Path(__file__).parent.parent / "experiments" / "made_by_0_1"


@pytest.fixture
def older(tmp_path: Path, cache: Path) -> Experiment:
    """A copy of the experiment, with its original folders replaced by this machine's."""
    folder = tmp_path / "experiments" / MADE.name
    shutil.copytree(MADE, folder)
    for name in ("settings.yaml", "data.json"):
        text = (folder / name).read_text().replace("/experiments/cache", str(cache))
        (folder / name).write_text(text.replace("/experiments", str(folder.parent)))
    return Experiment.open(folder)


def test_an_experiment_of_version_0_1_is_read_as_it_was(
    older: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert older.read("environment.json")["packages"]["toprung"] == "0.1.0"
    before = older.read("report.json")
    assert main(["list", str(older.folder.parent)]) == 0
    assert "0.9291" in capsys.readouterr().out
    assert main(["show", str(older.folder)]) == 0
    assert capsys.readouterr().out.count("complete") == 4
    assert main(["report", str(older.folder)]) == 0
    capsys.readouterr()
    after = older.read("report.json")
    old, new = (report["recipes"]["knn"]["test"] for report in (before, after))
    assert {name: new[name] for name in old} == old
    assert set(new) - set(old) == {"loss", "top5_accuracy"}, "what it kept is enough for the metrics that are new"
    assert {name: entry["test"]["accuracy"]["mean"] for name, entry in after["recipes"].items()} == {
        name: entry["test"]["accuracy"]["mean"] for name, entry in before["recipes"].items()
    }
    digits = load_digits()
    image = tmp_path / "digit.png"
    Image.fromarray((digits.images[0] / 16 * 255).astype(np.uint8)).save(image)
    assert main(["predict", str(older.folder), str(image), "--format", "csv"]) == 0
    assert ",0," in capsys.readouterr().out.splitlines()[1]


def test_a_search_of_version_0_1_goes_on(older: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    states = {"knn": 2, "mlp": 2}
    before = older.read("report.json")["recipes"]
    assert {name: sum(entry["trials"].values()) for name, entry in before.items()} == states
    assert main(["search", "--resume", str(older.folder), "--trials", "6"]) == 0
    after = older.read("report.json")["recipes"]
    assert {name: sum(entry["trials"].values()) for name, entry in after.items()} == {"knn": 3, "mlp": 3}
