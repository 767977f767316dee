"""A search as a person runs it: real Ray, real Optuna storage, real digits."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import yaml
from optuna.trial import TrialState
from PIL import Image
from sklearn.datasets import load_digits

from tests.trainables.data.pictures import noise, save
from trainables import Classifier
from tune.cli import main
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy
from tune.experiment.trial_record import TrialRecord

pytestmark = pytest.mark.usefixtures("ray_session")

PROBE = Path(__file__).parent.parent / "recipes"
"""A recipe that reports its training process."""

QUICK = ["--data", "digits", "--limit", "200", "--max-epochs", "6", "--grace-period", "1", "--reduction-factor", "2"]


def records(experiment: Path) -> list[TrialRecord]:
    opened = Experiment.open(experiment)
    return SearchStudy.load(opened.storage, opened.settings.name).records


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def common(out: Path, cache: Path) -> list[str]:
    return ["search", *QUICK, "--out", str(out), "--cache", str(cache)]


@pytest.fixture(scope="module")
def searched(ray_session: None, out: Path, common: list[str]) -> Path:
    """An experiment over the recipes that are shipped."""
    recipes = ["--recipes", "knn,mlp,plain_cnn", "--set", "plain_cnn.width=8..16", "--set", "mlp.width=32..64"]
    assert main([*common, "--name", "digits", *recipes, "--trials", "12", "--final-seeds", "2"]) == 0
    return out / "digits"


def test_every_trial_has_an_end_and_each_recipe_its_share(searched: Path) -> None:
    found = records(searched)
    assert len(found) == 12
    assert all(record.state in ("complete", "pruned") for record in found)
    for recipe in ("knn", "mlp", "plain_cnn"):
        assert sum(record.recipe == recipe for record in found) == 4
    assert any(record.state == "pruned" for record in found)


def test_stopped_trials_are_pruned_with_all_their_epochs(searched: Path) -> None:
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{searched / 'study.db'}")
    for trial, record in zip(study.trials, records(searched), strict=True):
        epochs = sorted(trial.intermediate_values)
        assert epochs == list(range(1, len(record.epochs) + 1))
        if trial.state == TrialState.PRUNED:
            assert epochs[-1] in (1, 2, 4)
            assert trial.value == trial.intermediate_values[epochs[-1]]
        else:
            assert epochs[-1] == (1 if record.recipe == "knn" else 6)


def test_the_reported_value_is_the_best_so_far(searched: Path) -> None:
    for record in records(searched):
        accuracies = [epoch["accuracy"] for epoch in record.epochs]
        assert list(record.values.values()) == [max(accuracies[: n + 1]) for n in range(len(accuracies))]


def test_every_epoch_reports_what_is_promised(searched: Path) -> None:
    promised = {
        "epoch", "loss", "accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision",
        "weighted_recall", "weighted_f1", "seconds", "loading_seconds", "images_per_second", "memory_mib",
    }  # fmt: skip
    for record in records(searched):
        for epoch in record.epochs:
            assert promised <= set(epoch)
            if record.recipe != "knn":
                assert {"train_loss", "train_accuracy", "lr"} <= set(epoch)


def test_the_default_point_of_each_recipe_is_its_first_trial(searched: Path) -> None:
    firsts = {}
    for record in records(searched):
        firsts.setdefault(record.recipe, record)
    assert firsts["knn"].config["neighbors"] == 5
    assert firsts["mlp"].config["lr"] == firsts["plain_cnn"].config["lr"] == 2e-3
    assert firsts["plain_cnn"].config["width"] == 16  # the default, 32, is outside the given domain


def test_only_the_best_complete_trial_of_a_recipe_keeps_checkpoints(searched: Path) -> None:
    kept = {int(folder.name) for folder in (searched / "trials").iterdir() if (folder / "checkpoints").exists()}
    for recipe in ("knn", "mlp", "plain_cnn"):
        complete = [r for r in records(searched) if r.recipe == recipe and r.state == "complete"]
        best = max(complete, key=lambda r: r.value or 0)
        assert [r.number for r in records(searched) if r.recipe == recipe and r.number in kept] == [best.number]


def test_finals_have_their_seeds_and_one_for_a_deterministic_recipe(searched: Path) -> None:
    finals = sorted(folder.name for folder in (searched / "finals").iterdir() if "-default-" not in folder.name)
    of_recipe = {recipe: [name for name in finals if name.startswith(recipe)] for recipe in ("knn", "mlp", "plain_cnn")}
    assert {recipe: len(names) for recipe, names in of_recipe.items()} == {"knn": 1, "mlp": 2, "plain_cnn": 2}


def test_the_winners_default_point_is_trained_as_the_winner_was(searched: Path) -> None:
    summary = json.loads((searched / "report.json").read_text())
    winner, default = summary["winner"], summary["default"]
    assert default["config"] == next(record.config for record in records(searched) if record.recipe == winner)
    assert default["config"] != summary["recipes"][winner]["config"], "the story has another winner"
    assert default["test"]["seeds"] == summary["recipes"][winner]["test"]["seeds"]
    assert [folder.name for folder in sorted((searched / "finals").glob("*-default-*"))] == [
        f"{winner}-default-{seed}" for seed in default["test"]["seeds"]
    ]
    means = [each["test"]["accuracy"]["mean"] for each in (summary["recipes"][winner], default)]
    assert default["gain"]["difference"]["mean"] == pytest.approx(means[0] - means[1])


def test_the_folder_has_all_that_is_promised(searched: Path) -> None:
    for name in (
        "settings.yaml", "environment.json", "data.json", "study.db", "trials.parquet", "curves.parquet",
        "report.json", "report.md", "report/index.html", "report/leaderboard.png", "report/curves.png",
        "best_configs.yaml", "samples.npz",
    ):  # fmt: skip
        assert (searched / name).is_file(), name
    for recipe in ("knn", "mlp", "plain_cnn"):
        for name in ("config.yaml", "model.safetensors", "metrics.json"):
            assert (searched / "best" / recipe / name).is_file(), f"{recipe}/{name}"
    assert pq.read_table(searched / "trials.parquet").num_rows == 12
    assert pq.read_table(searched / "curves.parquet").num_rows == sum(len(r.epochs) for r in records(searched))
    assert not list(searched.rglob("*.draft"))
    summary = json.loads((searched / "report.json").read_text())
    assert summary["winner"] in ("knn", "mlp", "plain_cnn")
    assert summary["recipes"]["mlp"]["test"]["seeds"] == [0, 1]


def test_a_trial_is_reproduced_from_its_record(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for recipe in ("knn", "mlp", "plain_cnn"):
        number = next(r.number for r in records(searched) if r.recipe == recipe)
        assert main(["replay", str(searched), "--trial", str(number)]) == 0
        assert "reproduced" in capsys.readouterr().out
    assert main(["replay", str(searched), "--trial", "99"]) == 2
    assert "trials 0 to 11" in capsys.readouterr().err


def test_a_trial_that_another_seed_trains_is_not_reproduced(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = next(r.number for r in records(searched) if r.recipe == "mlp")
    copy = shutil.copytree(searched, tmp_path / "copy")
    with closing(sqlite3.connect(copy / "study.db")) as database:
        seeds = "key = 'seed' AND trial_id = (SELECT trial_id FROM trials WHERE number = ?)"
        with database:
            changed = database.execute(f"UPDATE trial_user_attributes SET value_json = '1' WHERE {seeds}", (number,))
    assert changed.rowcount == 1
    assert main(["replay", str(copy), "--trial", str(number)]) == 1
    said = capsys.readouterr().out
    assert "epoch 1: " in said
    assert "not reproduced: a figure deviates by" in said
    assert "the environment is the same as in the record" in said


def test_the_best_predicts_files_as_it_did_the_test_images(searched: Path) -> None:
    rows = np.load(searched / "splits" / "test.npy")
    files = []
    for image in load_digits().images[rows]:
        file = BytesIO()
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    for recipe in ("knn", "mlp", "plain_cnn"):
        seed = json.loads((searched / "best" / recipe / "metrics.json").read_text())["seed"]
        (final,) = (searched / "finals").glob(f"{recipe}-0*-{seed}")
        classifier = Classifier.load(searched / "best" / recipe)
        probabilities = classifier.predict(files)
        assert probabilities.shape == (len(rows), 10)
        assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
        assert probabilities.argmax(1).tolist() == np.load(final / "predictions.npy").tolist()
        assert classifier.classes == [str(digit) for digit in range(10)]


@pytest.mark.parametrize("recipe", ["mlp", "plain_cnn"])
def test_a_winner_is_exported_and_predicts_files_as_it_did(
    searched: Path, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, image in enumerate(load_digits().images[:20]):
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(tmp_path / f"{number:02d}.png")
    file = tmp_path / "model.onnx"
    assert main(["export", str(searched), "--recipe", recipe, "--output", str(file)]) == 0
    assert "onnxruntime and PyTorch give the same classes" in capsys.readouterr().out
    predictions = []
    for arguments in ([str(file)], [str(searched), "--recipe", recipe]):
        assert main(["predict", *arguments, str(tmp_path), "--format", "json", "--top", "1"]) == 0
        predictions.append([each["predictions"][0]["class"] for each in json.loads(capsys.readouterr().out)])
    one, two = predictions
    assert len(one) == 20
    assert one == two


def test_what_the_winners_cost_was_measured_with_their_finals(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["describe", str(searched)]) == 0
    described = capsys.readouterr().out
    for recipe, entry in json.loads((searched / "report.json").read_text())["recipes"].items():
        assert entry["model"]["macs"] > 0
        assert entry["model"]["latency_ms"] > 0
        assert f" {recipe} " in described
        assert f"{entry['model']['macs']:,}" in described


def test_a_name_that_exists_is_refused_and_nothing_is_touched(
    searched: Path, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in searched.rglob("*")}
    assert main([*common, "--name", "digits"]) == 2
    assert "choose another name, or go on with it: --resume" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in searched.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "fashion"], "fashion"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--gpus-per-trial", "1"], "no node has more than 0 GPUs"),
        (["--cpus-per-trial", "1000"], "--cpus-per-trial 1000"),
        (["--storage", "nonsense"], "give an Optuna storage URL"),
        (["--limit", "5"], "limit"),
        (["--out", "/proc/results"], "--out /proc/results"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_and_leaves_nothing(
    common: list[str], arguments: list[str], message: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(out.iterdir())
    assert main([*common, "--name", "refused", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") <= 2
    assert "Traceback" not in err
    assert set(out.iterdir()) == before


def test_resumed_with_more_trials_it_keeps_what_it_has_and_tests_no_final_again(searched: Path) -> None:
    before = records(searched)
    finals = {path: path.stat().st_mtime_ns for path in (searched / "finals").rglob("*")}
    assert main(["search", "--resume", str(searched), "--trials", "15"]) == 0
    after = records(searched)
    assert after[:12] == before
    assert len(after) == 15
    assert all(record.state in ("complete", "pruned") for record in after)
    assert finals.items() <= {p: p.stat().st_mtime_ns for p in (searched / "finals").rglob("*")}.items()
    assert yaml.safe_load((searched / "settings.yaml").read_text())["trials"] == 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--recipes", "mlp,knn,plain_cnn"],
            "--recipes mlp,knn,plain_cnn: the experiment was begun with knn,mlp,plain_cnn, and --resume cannot",
        ),
        (["--trials", "3"], "already; give as many or more"),
        (["--seed", "1"], "--seed 1: the experiment was begun with 0, and --resume cannot change that; begin a new "),
        (["--metric", "loss"], "--metric 'loss': the experiment was begun with 'accuracy'"),
        (["--set", "mlp.depth=1"], "--set {'mlp.depth': '1'}: the experiment was begun with"),
        (["--data", "/other"], "--data '/other': the experiment was begun with 'digits'"),
    ],
)
def test_resumed_otherwise_it_is_refused(
    searched: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (searched / "settings.yaml").read_text()
    assert main(["search", "--resume", str(searched), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert (searched / "settings.yaml").read_text() == before


def test_resumed_with_other_data_it_is_refused(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = searched / "data.json"
    before = card.read_text()
    card.write_text(json.dumps({**json.loads(before), "digest": "other"}))
    assert main(["search", "--resume", str(searched), "--trials", "16"]) == 2
    assert "is not what" in capsys.readouterr().err
    card.write_text(before)


def test_a_folder_of_ones_own_photos_by_processes_that_are_used_again(
    out: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    for number in range(36):
        animal = ("cat", "dog", "yak")[number % 3]
        size = (20 + number, 30)
        save(photos / animal / f"p{number // 6}-{number}.jpg", noise(number, size))
    (photos / "yak" / "broken.jpg").write_bytes(b"no picture")
    asked = [
        "search", "--data", str(photos), "--image-size", "8", "--group-by", "p[0-9]", "--out", str(out),
        "--cache", str(cache), "--name", "photos", "--recipes", f"{PROBE},knn", "--set", "probe.behaviour=train",
        "--trials", "6", "--max-epochs", "2", "--grace-period", "2", "--concurrent", "1", "--final-seeds", "1",
    ]  # fmt: skip
    assert main(asked) == 2
    assert "yak/broken.jpg" in capsys.readouterr().err
    assert main([*asked, "--on-bad-image", "skip"]) == 0
    assert "begins" not in capsys.readouterr().out
    said = (out / "photos" / "logs" / "driver.log").read_text()
    assert re.search(r"process \d+ begins", said), "what workers print is kept"
    card = json.loads((out / "photos" / "data.json").read_text())
    assert card["classes"] == ["cat", "dog", "yak"]
    assert [bad["path"] for bad in card["bad_images"]] == ["yak/broken.jpg"]
    assert card["groups"] == 6
    found = records(out / "photos")
    assert {record.state for record in found} == {"complete"}
    probes = [record for record in found if record.recipe == "probe"]
    assert len(probes) == 3
    assert len({epoch["lr"] for record in probes for epoch in record.epochs}) == 1, "with kNN between them"
    capsys.readouterr()
    assert main(["predict", str(out / "photos"), str(photos / "cat" / "p0-0.jpg"), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split(",")[2] in card["classes"]


def test_the_time_budget_ends_a_search_by_loss_whose_sampler_chooses_the_recipe(out: Path, common: list[str]) -> None:
    arguments = [
        "--name", "budget", "--recipes", "mlp,knn", "--allocate", "adaptive", "--metric", "loss", "--trials", "500",
        "--time-budget", "12s", "--final-seeds", "1",
    ]  # fmt: skip
    assert main([*common, *arguments]) in (0, 1)  # 1 where the machine is so slow that no epoch was finished
    found = records(out / "budget")
    assert 0 < len(found) < 500
    assert all(record.state in ("complete", "pruned") for record in found)
    assert any("time budget" in record.note for record in found)
    assert {record.recipe for record in found[:2]} == {"mlp", "knn"}
    for record in found:  # the best loss is the smallest
        losses = [epoch["loss"] for epoch in record.epochs]
        assert record.value == min(losses, default=None)
