"""best/RECIPE: what can be taken away and used."""

from collections.abc import Callable

from reporting.stories import Story
from search_spaces import Choice
from tune.experiment import Experiment
from tune.reporting import write_report
from tune.settings import load, make


def test_the_configuration_is_settings_that_leave_one_value_a_field(finished: Experiment) -> None:
    for recipe, entry in finished.read("summary.json")["recipes"].items():
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
