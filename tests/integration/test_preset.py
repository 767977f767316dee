"""A preset as a person runs it: rows first, then a search around them; and rows alone, on boxes."""

from pathlib import Path

import pytest
import yaml

from tests.trainables.data.pictures import placed, png
from tests.trainables.data.shards import write_hub
from tests.wandb_files import runs_in
from trainables import Classifier
from tune.cli import main
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy

pytestmark = pytest.mark.usefixtures("ray_session")

PRESET = {
    "title": "Digits, by hand",
    "settings": {
        "data": "digits",
        "recipes": ["knn", "mlp"],
        "max_epochs": 3,
        "trials": 6,
        "set": {"knn": {"reduce": "pca"}, "mlp": {"width": "32..64"}},
    },
    "rows": {
        "grid": {
            "title": "PCA, kNN",
            "recipe": "knn",
            "config": {"reduce": "pca", "weights": "uniform"},
            "grid": {"components": [4, 16], "neighbors": [1, 9]},
            "train_on": "train+val",
            "published": {"test": {"accuracy": 0.9}},
        },
        "mlp": {
            "title": "MLP",
            "recipe": "mlp",
            "config": {"width": 48},
            "epochs": 3,
            "published": {"val": {"accuracy": 0.9}},
        },
    },
}


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> list[str]:
    return ["--out", str(tmp_path_factory.mktemp("results")), "--cache", str(cache)]


def test_rows_are_run_and_searched_around(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "digits.yaml"
    file.write_text(yaml.safe_dump(PRESET))
    arguments = ["search", "--preset", str(file), "--limit", "200", "--final-seeds", "1", "--name", "own", *common]
    assert main(arguments) == 0
    file.unlink()  # the experiment keeps its own
    experiment = Experiment.open(Path(common[1]) / "own")
    rows = experiment.read("report.json")["preset"]["rows"]
    scores = {(s["config"]["components"], s["config"]["neighbors"]): s["accuracy"] for s in rows["grid"]["scores"]}
    assert set(scores) == {(4, 1), (4, 9), (16, 1), (16, 9)}
    best = rows["grid"]["config"]
    assert scores[best["components"], best["neighbors"]] == max(scores.values())
    assert rows["grid"]["changes"] == ["at most 200 images of train, and val"]
    records = SearchStudy.load(experiment.storage, "own").records
    assert len(records) == 6
    started = {record.recipe: record.config for record in records if record.number in (2, 3)}
    assert started["mlp"]["width"] == 48
    assert started["knn"]["components"] == best["components"]
    out = capsys.readouterr().out
    assert "PCA, kNN" in out
    assert (experiment.folder / "report/index.html").read_text().count("PCA, kNN") > 1
    assert len(Classifier.load(experiment.folder / "rows/grid").classes) == 10, (
        "also one that keeps all of train and val"
    )
    kept = (experiment.folder / "rows/mlp/final.json").read_bytes()
    assert main(["search", "--resume", str(experiment.folder), "--trials", "7"]) == 0
    assert (experiment.folder / "rows/mlp/final.json").read_bytes() == kept, "a row was trained again"


def test_rows_of_two_views_of_parquet_shards_run_alone(common: list[str], tmp_path: Path) -> None:
    write_hub(tmp_path / "train-0.parquet", range(60))
    write_hub(tmp_path / "validation-0.parquet", range(60, 90))
    arguments = [
        "search", "--preset", "product_masks", "--rows-only", "--data", f"parquet:{tmp_path}/*.parquet",
        "--recipes", "block_cnn", "--image-size", "32", "--max-epochs", "1", "--name", "boxes", "--wandb", "offline",
        *common,
    ]  # fmt: skip
    assert main(arguments) == 0
    folder = Path(common[1]) / "boxes"
    summary = Experiment.open(folder).read("report.json")
    rows = summary["preset"]["rows"]
    assert {name: row["config"]["input_variant"] for name, row in rows.items()} == {
        "blocks-whole": "whole",
        "blocks-augmented": "box",
    }
    assert summary["tested_on"] == "val"
    assert Classifier.load(folder / "rows/blocks-whole").variant == "whole"
    assert Classifier.load(folder / "rows/blocks-augmented").variant == "box"
    assert main(["export", str(folder)]) == 2
    for row in rows.values():
        assert {line["metric"] for line in row["figures"]} == {
            "accuracy", "weighted_precision", "weighted_recall", "weighted_f1",
        }  # fmt: skip
        assert all(line["measured"] is not None for line in row["figures"])
    shown = {run.name: run for run in runs_in(folder / "wandb") if run.job_type == "row"}
    assert set(shown) == set(rows)
    for name, run in shown.items():
        assert run.summary["published/val/accuracy"] == rows[name]["figures"][0]["published"]
        assert run.summary["test/accuracy"] == rows[name]["test"]["accuracy"]["mean"]


def test_trials_see_whole_images_or_boxes_and_winners_know_which(
    common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = write_hub(tmp_path / "train-0.parquet", range(150)).parent
    arguments = [
        "search", "--data", f"parquet:{shards}/*.parquet", "--variant", "either", "--image-size", "32",
        "--recipes", "knn,timm_finetune", "--set", "knn.neighbors=1", "--set", "knn.reduce=none",
        "--set", "knn.scale=none", "--set", "knn.weights=uniform", "--set", "knn.smoothing=0.1",
        "--set", "timm_finetune.input_variant=box", "--set", "timm_finetune.model=test_resnet",
        "--set", "timm_finetune.pretrained=no", "--set", "timm_finetune.resolution=32",
        "--trials", "4", "--max-epochs", "2", "--final-seeds", "1", "--name", "either", *common,
    ]  # fmt: skip
    assert main(arguments) == 0
    experiment = Experiment.open(Path(common[1]) / "either")
    records = SearchStudy.load(experiment.storage, "either").records
    assert {record.config["input_variant"] for record in records if record.recipe == "timm_finetune"} == {"box"}
    neighbors = {record.config["input_variant"]: record for record in records if record.recipe == "knn"}
    assert set(neighbors) == {"whole", "box"}, "all else is fixed"
    assert neighbors["whole"].value != neighbors["box"].value
    for record in neighbors.values():
        assert main(["replay", str(experiment.folder), "--trial", str(record.number)]) == 0
    found = max(neighbors.values(), key=lambda record: record.value or 0.0)
    best = {recipe: experiment.folder / "best" / recipe for recipe in ("knn", "timm_finetune")}
    assert Classifier.load(best["knn"]).variant == found.config["input_variant"]
    assert Classifier.load(best["timm_finetune"]).variant == "box"
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(best["timm_finetune"])]) == 0, "parity on what it was shown"
    capsys.readouterr()
    (tmp_path / "photo.png").write_bytes(png(placed(0)[0]))
    assert main(["predict", str(best["timm_finetune"]), str(tmp_path / "photo.png")]) == 2
    assert "was trained on boxes" in capsys.readouterr().err
    assert main(["search", "--resume", str(experiment.folder), "--trials", "5"]) == 0
