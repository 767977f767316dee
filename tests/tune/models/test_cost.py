"""The cost of winners, from the final to the text of the report."""

import json
import shutil
from pathlib import Path

import pytest

from search_spaces import InputError
from tune.cli import main
from tune.experiment.experiment import Experiment
from tune.experiment.model_folders import winner_folder
from tune.experiment.report_figures import ModelCost
from tune.models.cost import notes
from tune.reporting.report import rebuild
from tune.settings.settings import make


def test_it_is_measured_with_the_final_and_stored(searched: Experiment) -> None:
    summary = searched.read("report.json")
    for recipe, entry in summary["recipes"].items():
        (final,) = (searched.folder / "finals").glob(f"{recipe}-*")
        assert entry["model"] == json.loads((final / "final.json").read_text())["model"]
        assert entry["model"] == searched.read(f"best/{recipe}/metrics.json")["model"]
    mlp = summary["recipes"]["mlp"]["model"]
    assert mlp["trainable"] == mlp["parameters"] > mlp["macs"] > 0
    assert mlp["weights_mib"] == pytest.approx(mlp["parameters"] * 4 / 2**20, rel=0.02)


@pytest.mark.parametrize("recipe", [None, "mlp"])
def test_the_winners_are_described(
    searched: Experiment, capsys: pytest.CaptureFixture[str], recipe: str | None
) -> None:
    assert main(["describe", str(searched.folder), *(["--recipe", recipe] if recipe else [])]) == 0
    out = capsys.readouterr().out
    models = {name: entry["model"] for name, entry in searched.read("report.json")["recipes"].items()}
    for name, model in models.items():
        listed = recipe in (None, name)
        assert (f" {name} " in out) == listed
        assert (f" {model['macs']:,} " in out) == listed
    assert "1 thread" in out


def test_one_model_is_described_by_its_folder(rows_alone: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(rows_alone.folder / "rows" / "deep")]) == 0
    out = capsys.readouterr().out
    assert f" {json.loads((rows_alone.folder / 'rows/deep/metrics.json').read_text())['model']['macs']:,} " in out
    assert " near " not in out
    assert main(["describe", str(rows_alone.folder)]) == 2
    assert f"give one of them: {rows_alone.folder}/rows/near, " in capsys.readouterr().err


def test_places_are_named_once() -> None:
    figures = {"parameters": 1, "trainable": 1, "macs": 1, "weights_mib": 0.1, "latency_ms": 0.1}
    one, two = (
        ModelCost.model_validate({**figures, "device": device, "threads": threads})
        for device, threads in (("GPU A", 1), ("GPU B", 4))
    )
    assert notes([one, one, two]).endswith("on GPU A, 1 thread; GPU B, 4 threads.")


def test_without_finals_there_is_nothing_to_describe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], searched: Experiment
) -> None:
    settings = make({"out": str(tmp_path), "name": "begun"})
    experiment = Experiment.at(settings)
    experiment.write("settings.yaml", settings.dump())
    assert main(["describe", str(experiment.folder)]) == 2
    assert "no recipe was tested; go on with it: toprung search --resume" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"--recipe vit: .* has no winner of it; it has: knn, "):
        winner_folder(searched, "vit")


def test_an_experiment_from_before_models_were_measured_can_still_be_reported(
    searched: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(searched.folder, tmp_path / "old")
    for file in tmp_path.glob("old/finals/*/final.json"):
        final = json.loads(file.read_text())
        del final["model"]
        file.write_text(json.dumps(final))
    old = Experiment.open(tmp_path / "old")
    assert "timed on" in (old.folder / "report" / "index.html").read_text()
    assert "timed on" not in rebuild(old).read_text()
    assert "## Models" not in (old.folder / "report.md").read_text()
    assert main(["describe", str(old.folder)]) == 2
    assert "was not measured" in capsys.readouterr().err
