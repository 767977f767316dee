"""Finals that are trained on val, too, and averaged: real Ray, a real network with weights from a file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.wandb_files import runs_in
from trainables import timm_finetune
from tune.cli import main
from tune.experiment.experiment import Experiment
from tune.experiment.folder import ExperimentFolder

pytestmark = pytest.mark.usefixtures("ray_session")

NETWORK = "test_resnet"


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> list[str]:
    folder = tmp_path_factory.mktemp("finals")
    torch.manual_seed(3)
    save_file(timm_finetune.untrained(NETWORK).state_dict(), folder / "weights.safetensors")
    return [
        "search", "--data", "digits", "--limit", "120", "--recipes", "timm_finetune,knn", "--trials", "4",
        "--set", f"timm_finetune.model={NETWORK}", "--set", "timm_finetune.resolution=32",
        "--weights", str(folder / "weights.safetensors"), "--max-epochs", "2", "--final-seeds", "2",
        "--out", str(folder), "--cache", str(cache),
    ]  # fmt: skip


def test_what_is_taken_away_was_trained_on_val_too_and_val_chose_it(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*common, "--name", "both", "--final-train", "train+val", "--wandb", "offline"]) == 0
    said = capsys.readouterr().out
    assert "finals trained on train+val: " in said
    assert "weight soups made: 2 of 2" in said
    assert "It was trained on train+val. On train alone it has a test accuracy of" in said
    experiment = Experiment.open(Path(common[common.index("--out") + 1]) / "both")
    folder = experiment.folder
    finals, refits = ({place.name: place for place in (folder / kind).iterdir()} for kind in ("finals", "refits"))
    assert set(finals) == set(refits)
    for name in finals:
        final, refit = (ExperimentFolder(place).read("final.json") for place in (finals[name], refits[name]))
        assert (final["train_on"], refit["train_on"]) == ("train", "train+val")
        assert refit["epoch"] == final["epoch"] == len(refit["curves"]), "as long as it was best on val"
        assert final["val"], name
        assert refit["val"] == {}, "which say nothing"
    summary = experiment.read("report.json")
    assert summary["trained_on"] == "train+val"
    for recipe, entry in summary["recipes"].items():
        card = experiment.read(f"best/{recipe}/metrics.json")
        name = f"{recipe}-{entry['best_trial']:05d}-{entry['median_seed']}"
        kept = (folder / "best" / recipe / "model.safetensors").read_bytes()
        assert kept == (refits[name] / "model.safetensors").read_bytes()
        assert card["val"] == ExperimentFolder(finals[name]).read("final.json")["val"]
        assert card["test"] == ExperimentFolder(refits[name]).read("final.json")["test"]
    assert [entry["mean_of"] for entry in summary["ensembles"] if len(entry["models"]) == 1] == [
        "probabilities", "uniform soup", "greedy soup",
    ]  # fmt: skip
    for recipe in ("knn", "timm_finetune"):
        assert main(["predict", str(folder / "best" / recipe), str(_image(folder))]) == 0
    runs = {run.job_type: run for run in runs_in(folder / "wandb")}
    assert set(runs) == {"search", "trial", "final", "refit", "soup"}
    assert runs["refit"].values["train_on"] == "train+val"
    assert main(["predict", str(folder / "soups" / "timm_finetune-uniform"), str(_image(folder))]) == 0
    assert main(["describe", str(folder / "soups" / "timm_finetune-greedy")]) == 0
    assert main(["predict", str(folder / "soups" / "other"), str(_image(folder))]) == 2
    assert "timm_finetune-uniform" in capsys.readouterr().err, "which there are is said"


def _image(folder: Path) -> Path:
    from PIL import Image

    file = folder / "image.png"
    Image.new("L", (8, 8)).save(file)
    return file


def test_what_finals_are_trained_on_may_change_afterwards_and_nothing_is_trained_twice(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*common, "--name", "then"]) == 0
    folder = Path(common[common.index("--out") + 1]) / "then"
    trained = {file: file.stat().st_mtime_ns for file in (folder / "finals").rglob("*")}
    soup = load_file(folder / "soups/timm_finetune-uniform/model.safetensors")
    assert main(["search", "--resume", str(folder), "--final-train", "train+val"]) == 0
    assert ExperimentFolder(folder).read("report.json")["trained_on"] == "train+val"
    assert trained == {file: file.stat().st_mtime_ns for file in (folder / "finals").rglob("*")}
    head = "network.fc.weight"
    assert not torch.equal(soup[head], load_file(folder / "soups/timm_finetune-uniform/model.safetensors")[head])
    refits = {file: file.stat().st_mtime_ns for file in (folder / "refits").rglob("*")}
    assert main(["search", "--resume", str(folder), "--final-train", "train"]) == 0
    assert ExperimentFolder(folder).read("report.json")["trained_on"] == "train"
    assert torch.equal(soup[head], load_file(folder / "soups/timm_finetune-uniform/model.safetensors")[head])
    assert refits == {file: file.stat().st_mtime_ns for file in (folder / "refits").rglob("*")}


def test_without_a_test_split_it_is_refused_as_val_says_nothing_then(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*common, "--name", "refused", "--split", "0.8,0.2,0", "--final-train", "train+val"]) == 2
    assert "--final-train train+val: there is no test split" in capsys.readouterr().err
    assert not (Path(common[common.index("--out") + 1]) / "refused").exists()
