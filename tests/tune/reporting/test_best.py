"""best/RECIPE: what can be taken away and used."""

from collections.abc import Callable

import pytest
import yaml

from reporting.stories import Story
from search_spaces import Choice
from trainables.storage.pretrained_files import Weights, write_weights
from tune.experiment.experiment import Experiment
from tune.reporting.report import write_report
from tune.settings.settings import make
from tune.settings.settings_file import load


def test_the_configuration_is_settings_that_leave_one_value_a_field(finished: Experiment) -> None:
    for recipe, entry in finished.read("report.json")["recipes"].items():
        settings = make(load(finished.folder / "best" / recipe / "config.yaml"))
        assert settings.recipes == (recipe,)
        domains = settings.domains(recipe)
        assert {name: domains[name] for name in entry["config"]} == {
            name: Choice((value,)) for name, value in entry["config"].items()
        }


def test_weights_and_metrics_are_of_the_seed_of_median_val(finished: Experiment) -> None:
    assert (finished.folder / "best/mlp/model.safetensors").read_bytes() == b"weights of seed 2"
    metrics = finished.read("best/mlp/metrics.json")
    assert (metrics["seed"], metrics["trial"], metrics["epoch"]) == (2, 1, 5)
    assert metrics["val"]["accuracy"] == 0.95
    assert metrics["test"]["accuracy"] == 0.8
    assert metrics["classes"] == ["ant", "bee", "cat"]


def test_a_value_that_small_data_clamped_is_written_as_the_space_has_it(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",))
    trial = story.trial("mlp", [0.5])
    story.final(trial, seed=0, val=0.5, right=20, config=trial.config | {"batch_size": 20})
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    settings = make(load(story.experiment.folder / "best/mlp/config.yaml"))
    assert settings.domains("mlp")["batch_size"] == Choice((32,))


def test_a_recipe_whose_finals_are_gone_has_no_folder_any_more(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",))
    trial = story.trial("mlp", [0.5])
    story.final(trial, seed=0, val=0.5, right=20)
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    assert (story.experiment.folder / "best/mlp").is_dir()
    write_report(story.experiment, story.study.records, [], [], seconds=1.0)
    assert not (story.experiment.folder / "best/mlp").exists()


def test_the_model_card_says_how_it_is_used_and_what_it_is_worth(finished: Experiment) -> None:
    text = (finished.folder / "best" / "mlp" / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "image-classification"
    assert "Tells 3 classes apart: ant, bee, cat." in body
    assert 'Classifier.load("best/mlp")' in body
    assert "| accuracy | 0.8000 |" in body
    assert "| bee | 0.7857 | 0.8462 | 0.8148 | 13 |" in body
    assert "- two images are alike" in body
    assert "boxes" not in body


def test_the_card_of_a_winner_on_boxes_asks_for_them_and_names_are_escaped(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",), variant="box", classes=["<script>alert(1)</script>", "a|b"])
    trial = story.trial("mlp", [0.9])
    story.final(trial, seed=0, val=0.9, right=30, config={**trial.config, "input_variant": "box"})
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    text = (story.experiment.folder / "best" / "mlp" / "README.md").read_text()
    assert 'predict(["a.jpg"], boxes=[(10, 20, 200, 100)])' in text
    assert "<script>" not in text
    assert "a\\|b" in text


def test_one_file_has_the_configurations_of_all_recipes_the_best_first(finished: Experiment) -> None:
    text = (finished.folder / "best_configs.yaml").read_text()
    content = yaml.safe_load(text)
    recipes = finished.read("report.json")["recipes"]
    assert [entry["recipe"] for entry in content["best"]] == list(recipes) == ["mlp", "knn"]
    mlp, knn = content["best"]
    assert (mlp["trial"], mlp["seeds"], knn["seeds"]) == (1, [0, 1, 2], [0])
    assert mlp["val"] == recipes["mlp"]["val"]
    assert mlp["val"]["accuracy"] == pytest.approx((0.93 + 0.97 + 0.95) / 3)
    assert mlp["test"] == {name: recipes["mlp"]["test"][name] for name in ("accuracy", "macro_f1")}
    assert set(mlp["test"]["accuracy"]) == {"mean", "low", "high", "std"}
    for entry in content["best"]:
        config = recipes[entry["recipe"]]["config"]
        assert entry["config"] == config
        assert {name: type(value) for name, value in entry["config"].items()} == {
            name: type(value) for name, value in config.items()
        }
        assert "weights" not in entry
    assert "toprung search --config best/RECIPE/config.yaml" in text.splitlines()[1]


def test_what_was_not_tested_is_there_with_its_val_alone_and_weights_are_named(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("timm_finetune", "mlp", "knn"))
    noted = Weights(file="/nowhere", source="a hub", digest="ab" * 32)
    write_weights(story.experiment.folder, {"timm_finetune.resnet50": noted})
    tuned = story.trial("timm_finetune", [0.5])
    story.final(tuned, seed=0, val=0.5, right=20, config={**tuned.config, "model": "resnet50", "pretrained": "yes"})
    story.trial("mlp", [0.9])
    write_report(story.experiment, story.study.records, story.finalists(tuned), [], seconds=1.0)
    first, second = yaml.safe_load((story.experiment.folder / "best_configs.yaml").read_text())["best"]
    assert first["weights"] == {"source": "a hub", "digest": "ab" * 32}
    assert first["config"]["pretrained"] == "yes"
    assert (second["recipe"], second["val"]["accuracy"], second["test"], second["seeds"]) == ("mlp", 0.9, None, [])
