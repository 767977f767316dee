"""The content of report.json, which follows its schema."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import tune.reporting
from reporting.stories import TEST_IMAGES, Story, cost
from search_spaces import InputError
from tests.tune.draws import draws_of
from trainables.storage.pretrained_files import Weights, write_weights
from tune.experiment.experiment import Experiment
from tune.experiment.report_json import Report, read_report
from tune.reporting.figures.finals import optimism
from tune.reporting.formatting import TIMES
from tune.reporting.leaderboard import leaderboard
from tune.reporting.report import rebuild, write_report
from tune.reporting.report_schema import schema

SCHEMA = json.loads((Path(tune.reporting.__file__).parent / "report.schema.json").read_text())


def summary_of(story: Story, *finalists: Any, failures: list[str] | None = None) -> dict[str, Any]:
    """The summary as written, checked against its schema."""
    write_report(story.experiment, story.study.records, story.finalists(*finalists), failures or [], seconds=10.0)
    summary: dict[str, Any] = story.experiment.read("report.json")
    jsonschema.validate(summary, SCHEMA)
    return summary


def test_it_matches_its_schema(finished: Experiment) -> None:
    jsonschema.validate(finished.read("report.json"), SCHEMA)


def test_the_schema_is_that_of_the_report() -> None:
    assert schema() == SCHEMA, "python -m tune.reporting.report_schema > tune/reporting/report.schema.json"


def test_what_is_read_back_is_what_was_written(finished: Experiment) -> None:
    report = read_report(finished)
    assert report is not None
    assert report.model_dump() == finished.read("report.json")


def test_a_report_of_a_later_version_is_read_without_what_is_new_in_it(finished: Experiment) -> None:
    content = finished.read("report.json")
    content["new"] = content["recipes"]["mlp"]["new"] = content["recipes"]["mlp"]["test"]["accuracy"]["new"] = 1
    assert Report.model_validate(content) == read_report(finished)


def test_what_is_no_report_is_refused_and_written_again(begin: Callable[..., Story]) -> None:
    story = begin(on_disk=True)
    for content in ("{", "{}", '{"recipes": 3}'):
        (story.experiment.folder / "report.json").write_text(content)
        with pytest.raises(InputError, match=r"report\.json: is no report; write it again: toprung report "):
            read_report(story.experiment)
    rebuild(story.experiment)
    assert read_report(story.experiment) is not None


def test_the_schema_refuses_what_it_does_not_name(finished: Experiment) -> None:
    summary = finished.read("report.json")
    summary["recipes"]["mlp"]["extra"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(summary, SCHEMA)


def test_the_winner_is_best_on_val_though_another_is_better_on_test(finished: Experiment) -> None:
    summary = finished.read("report.json")
    test = {recipe: entry["test"]["accuracy"]["mean"] for recipe, entry in summary["recipes"].items()}
    assert test["knn"] > test["mlp"]
    assert summary["winner"] == "mlp"
    assert list(summary["recipes"]) == ["mlp", "knn"]


def test_without_a_test_split_it_says_what_was_tested_on(begin: Callable[..., Story]) -> None:
    story = begin(card={"images": {"train": 60, "val": 40, "test": 0}})
    trial = story.trial("mlp", [0.5])
    story.final(trial, seed=0, val=0.5, right=20)
    summary = summary_of(story, trial)
    assert summary["tested_on"] == "val"
    assert any(line.startswith("no test split: winners were measured on val") for line in summary["warnings"])
    for file in ("report.md", "report/index.html"):
        text = (story.experiment.folder / file).read_text()
        text = re.sub("<(script|style).*?</\\1>", "", text, flags=re.DOTALL)
        assert "val accuracy" in text
        assert "winners were measured on val, which they were chosen on, so the figures are too good" in text
        assert "val images" in text
        assert not re.search(r"test accuracy|on test\b", text)
    assert "Confusion on val" in text
    assert "test decides nothing" not in text


def test_figures_of_a_recipe_are_means_over_its_seeds(finished: Experiment) -> None:
    entry = finished.read("report.json")["recipes"]["mlp"]
    assert entry["trials"] == {"complete": 1, "pruned": 1, "failed": 1, "running": 0}
    assert entry["best_trial"] == 1
    assert entry["val"]["accuracy"] == pytest.approx(0.95)
    assert entry["test"]["accuracy"]["mean"] == pytest.approx(32 / TEST_IMAGES)
    assert entry["test"]["accuracy"]["low"] < 32 / TEST_IMAGES < entry["test"]["accuracy"]["high"]
    assert (entry["test"]["n"], entry["test"]["seeds"]) == (TEST_IMAGES, [0, 1, 2])
    assert [final["epoch"] for final in entry["finals"]] == [3, 4, 5]


def test_recipes_are_compared_with_the_winner_on_the_same_images(begin: Callable[..., Story]) -> None:
    """8 images more are right of knn, and 1 of plain_cnn; and none of them less."""
    story = begin(recipes=("knn", "mlp", "plain_cnn"))
    told = {"mlp": (0.9, 30), "knn": (0.8, 38), "plain_cnn": (0.7, 31)}
    trials = [story.trial(recipe, [val]) for recipe, (val, _) in told.items()]
    for trial in trials:
        val, right = told[trial.recipe]
        story.final(trial, seed=0, val=val, right=right)
    recipes = summary_of(story, *trials)["recipes"]
    assert recipes["mlp"]["against_winner"] is None
    assert recipes["knn"]["against_winner"]["p"] == pytest.approx(2 / 2**8)  # by Holm twice that of McNemar
    assert recipes["knn"]["against_winner"]["difference"]["mean"] == pytest.approx(8 / 40)
    assert recipes["knn"]["against_winner"]["difference"]["low"] > 0
    assert recipes["plain_cnn"]["against_winner"]["p"] == pytest.approx(0.5)
    text = (story.experiment.folder / "report.md").read_text()
    assert "Second on val is knn with a test accuracy of 0.9500. On the same images that is +0.200 (+0." in text
    assert " against mlp, p 0.008: ahead of it beyond chance, but winners are chosen on val." in text
    (row,) = [line for line in text.splitlines() if line.startswith("| 3 | plain\\_cnn |")]
    assert " | not distinguishable (+0.000 to +0." in row
    assert '<td class="n">not distinguishable<br><span class="soft">(+0.000 to +0.' in page_of(story)


@pytest.mark.parametrize(
    ("right", "said"),
    [(38, "against mlp, p 0.500: not distinguishable."), (20, "against mlp, p below 0.001: behind it beyond chance.")],
)
def test_the_second_is_behind_or_not_to_be_told_apart(begin: Callable[..., Story], right: int, said: str) -> None:
    story = begin()
    knn, mlp = story.trial("knn", [0.8]), story.trial("mlp", [0.8])
    story.final(knn, seed=0, val=0.8, right=right)
    story.final(mlp, seed=0, val=0.9, right=39)
    assert summary_of(story, knn, mlp)["winner"] == "mlp"
    assert said in page_of(story)


@pytest.fixture
def exact() -> Iterator[None]:
    with draws_of(2000):
        yield


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    ("right", "said"),
    [
        (20, "the search gained +0.475 (+0.325 to +0.625), p below 0.001: beyond chance."),
        (39, ", p 1.000: not distinguishable."),
        (38, ", p 0.500: not distinguishable."),
    ],
)
def test_the_winner_is_compared_with_its_default_point(begin: Callable[..., Story], right: int, said: str) -> None:
    story = begin(recipes=("mlp",))
    trial = story.trial("mlp", [0.8])
    story.final(trial, seed=0, val=0.9, right=39)
    assert summary_of(story, trial)["default"] is None
    story.default("mlp", seed=0, val=0.8, right=right)
    default = summary_of(story, trial)["default"]
    assert default["gain"]["difference"]["mean"] == pytest.approx((39 - right) / TEST_IMAGES)
    assert default["test"]["accuracy"]["mean"] == pytest.approx(right / TEST_IMAGES)
    for text in (page_of(story), (story.experiment.folder / "report.md").read_text()):
        assert (
            f"Its default point, trained alike, has a test accuracy of {right / TEST_IMAGES:.4f}. On the same" in text
        )
        assert said in text


def test_where_the_default_point_won_there_is_no_gain(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",), final_top=2)
    first, second = story.trial("mlp", [0.8]), story.trial("mlp", [0.8])
    story.final(first, seed=0, val=0.9, right=39, config=story.experiment.default("mlp"))
    story.final(second, seed=0, val=0.8, right=30)
    assert summary_of(story, first, second)["default"]["gain"] is None
    assert "No other configuration of mlp was better on val than its default point." in page_of(story)


def test_a_default_point_among_the_finalists_is_compared(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",), final_top=2)
    first, second = story.trial("mlp", [0.8]), story.trial("mlp", [0.8])
    story.final(first, seed=0, val=0.8, right=30, config=story.experiment.default("mlp"))
    story.final(second, seed=0, val=0.9, right=39)
    assert summary_of(story, first, second)["default"]["gain"]["difference"]["mean"] == pytest.approx(9 / TEST_IMAGES)


def test_finals_are_worth_something_together_and_are_as_sure_as_they_say(begin: Callable[..., Story]) -> None:
    story = begin()
    knn, mlp = story.trial("knn", [0.8]), story.trial("mlp", [0.8])
    story.final(knn, seed=0, val=0.8, right=24)
    for seed, right in enumerate((20, 32, 32)):
        story.final(mlp, seed=seed, val=0.9, right=right)
    summary = summary_of(story, knn, mlp)
    seeds, everything = summary["ensembles"]
    assert (seeds["models"], everything["models"]) == ({"mlp": 3}, {"mlp": 3, "knn": 1})
    assert seeds["test"]["accuracy"]["mean"] == pytest.approx(32 / TEST_IMAGES)
    assert seeds["against_winner"]["difference"]["mean"] == pytest.approx((32 - 28) / TEST_IMAGES)
    calibration = summary["recipes"]["knn"]["calibration"]
    assert calibration["ece"] == pytest.approx(0.8 - 24 / TEST_IMAGES, abs=1e-3)
    assert calibration["ece_with_temperature"] < 0.01, "val is like test here"
    assert calibration["temperature"] > 1, "it was too sure of itself"
    assert f"mlp {TIMES} 3, knn {TIMES} 1" in page_of(story)
    text = (story.experiment.folder / "report.md").read_text()
    assert f"| mlp {TIMES} 3 | " in text
    assert "| knn | 20.0% | " in text


def test_finals_on_train_and_val_are_ranked_by_those_on_train_and_compared_with_them(
    begin: Callable[..., Story],
) -> None:
    story = begin(final_train="train+val")
    knn, mlp = story.trial("knn", [0.9]), story.trial("mlp", [0.8])
    story.final(knn, seed=0, val=0.9, right=30)
    for seed in range(3):
        story.final(mlp, seed=seed, val=0.8, right=20)
        story.refit(mlp, seed=seed, right=40)
    story.refit(knn, seed=0, right=31)
    summary = summary_of(story, knn, mlp)
    assert (summary["winner"], summary["trained_on"]) == ("knn", "train+val")
    (both,), (alone,) = (summary["recipes"]["knn"][name] for name in ("finals", "finals_on_train_alone"))
    assert (both["val"], both["test"]["accuracy"]) == ({}, 31 / 40)
    assert (alone["val"]["accuracy"], alone["test"]["accuracy"]) == (0.9, 0.75)
    assert optimism(Report.model_validate(summary)) == pytest.approx(((0.9 - 0.75) + 3 * (0.8 - 0.5)) / 4)
    assert summary["recipes"]["mlp"]["test"]["accuracy"]["mean"] == 1.0
    assert summary["recipes"]["mlp"]["val"]["accuracy"] == pytest.approx(0.8)
    assert summary["recipes"]["mlp"]["against_train_alone"]["difference"]["mean"] == pytest.approx(0.5)
    assert summary["recipes"]["mlp"]["against_train_alone"]["p"] < 0.05
    page, text = page_of(story), (story.experiment.folder / "report.md").read_text()
    said = "It was trained on train+val. On train alone it has a test accuracy of 0.7500."
    assert said in page
    assert said in text
    assert "trained on train alone" in page
    card = story.experiment.read("best/knn/metrics.json")
    assert card["trained_on"] == "train+val"
    assert "trained on train+val" in (story.experiment.folder / "best/knn/README.md").read_text()


def test_soups_stand_beside_the_ensembles_they_compete_with(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("timm_finetune", "knn"))
    tuned, knn = story.trial("timm_finetune", [0.9]), story.trial("knn", [0.8])
    for seed in range(3):
        story.final(tuned, seed=seed, val=0.9, right=30)
    story.final(knn, seed=0, val=0.7, right=20)
    pool = [f"timm_finetune-00000-{seed}" for seed in range(3)]
    story.soup(tuned, "uniform", pool=pool, right=36)
    story.soup(tuned, "greedy", pool=pool[:2], right=36)  # a soup of a different pool
    noted = Weights(file="/x", source="a hub", digest="0" * 64)
    write_weights(story.experiment.folder, {f"timm_finetune.{name}": noted for name in ("resnet50", "efficientnet_b0")})
    entries = summary_of(story, tuned, knn)["ensembles"]
    assert [entry["mean_of"] for entry in entries] == ["probabilities", "uniform soup", "probabilities"]
    assert entries[1]["models"] == {"timm_finetune": 3}
    assert entries[1]["test"]["accuracy"]["mean"] == pytest.approx(36 / TEST_IMAGES)
    assert entries[1]["against_winner"]["difference"]["mean"] == pytest.approx(6 / TEST_IMAGES)
    assert "uniform soup" in page_of(story)
    assert f"| uniform soup | timm\\_finetune {TIMES} 3 |" in (story.experiment.folder / "report.md").read_text()
    card = story.experiment.read("soups/timm_finetune-uniform/metrics.json")
    assert (card["soup"], card["members"], card["recipe"]) == ("uniform", pool, "timm_finetune")


def page_of(story: Story) -> str:
    return (story.experiment.folder / "report" / "index.html").read_text()


def test_the_model_is_that_of_the_seed_of_median_val(finished: Experiment) -> None:
    for recipe, entry in finished.read("report.json")["recipes"].items():
        assert entry["model"] == finished.read(f"best/{recipe}/metrics.json")["model"] == cost()


def test_figures_of_classes_are_those_of_the_seed_of_median_val(finished: Experiment) -> None:
    entry = finished.read("report.json")["recipes"]["mlp"]
    assert entry["median_seed"] == 2
    assert sum(entry["confusion"][i][i] for i in range(3)) == 32
    assert list(entry["per_class"]) == ["ant", "bee", "cat"]
    assert entry["per_class"]["bee"] == {
        "precision": pytest.approx(11 / 14),
        "recall": pytest.approx(11 / 13),
        "f1": pytest.approx(22 / 27),
        "support": 13,
    }


def test_warnings_are_of_data_and_search_and_failures_of_finals(finished: Experiment) -> None:
    summary = finished.read("report.json")
    assert summary["warnings"] == [
        "two images are alike",
        "1 trial not finished when this was written; if it was stopped, --resume goes on",
    ]
    assert summary["failures"] == ["final mlp-00001-3: out of memory"]
    assert summary["seconds"] == 75.0


def test_of_loss_the_smaller_wins(begin: Callable[..., Story]) -> None:
    story = begin(metric="loss")
    knn, mlp = story.trial("knn", [0.30]), story.trial("mlp", [0.5, 0.2, 0.4])
    story.final(knn, seed=0, val=0.30, right=38)
    story.final(mlp, seed=0, val=0.25, right=30)
    summary = summary_of(story, knn, mlp)
    assert summary["winner"] == "mlp"
    assert summary["recipes"]["mlp"]["val"]["loss"] == 0.25


def test_of_several_finalists_the_best_on_val_stands_for_the_recipe(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",), final_top=2)
    first, second = story.trial("mlp", [0.9]), story.trial("mlp", [0.8])
    story.final(first, seed=0, val=0.7, right=38)
    story.final(second, seed=0, val=0.8, right=30)
    entry = summary_of(story, first, second)["recipes"]["mlp"]
    assert entry["best_trial"] == second.number
    assert [other["best_trial"] for other in entry["finalists"]] == [first.number]
    assert entry["finalists"][0]["test"]["accuracy"]["mean"] == 38 / TEST_IMAGES


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_two_seeds_are_said_to_be_few(begin: Callable[..., Story], seeds: int) -> None:
    story = begin()
    mlp = story.trial("mlp", [0.9])
    for seed in range(seeds):
        story.final(mlp, seed=seed, val=0.9, right=30 + seed)
    warned = [warning for warning in summary_of(story, mlp)["warnings"] if "intervals are too narrow" in warning]
    assert len(warned) == (seeds == 2)


def test_a_recipe_without_finals_is_shown_by_its_best_trial(begin: Callable[..., Story]) -> None:
    story = begin()
    knn, mlp = story.trial("knn", [0.4]), story.trial("mlp", [0.5, 0.99, 0.6])
    story.final(knn, seed=0, val=0.4, right=20)
    summary = summary_of(story, knn, failures=["final mlp-00001-0: diverged"])
    assert summary["winner"] == "knn"
    entry = summary["recipes"]["mlp"]
    assert entry["test"] is None
    assert entry["model"] is None
    assert entry["best_trial"] == mlp.number
    assert entry["val"]["accuracy"] == 0.99
    assert "mlp: not tested, as its best trial was not trained again" in summary["warnings"]
    assert summary["untested"] == ["mlp"]
    page, text = page_of(story), (story.experiment.folder / "report.md").read_text()
    assert "knn is best on val of what was tested. " in text
    for said in (page, text):
        assert "Not tested: mlp, whose best trial has a val accuracy of 0.9900." in said


def test_without_any_final_there_is_no_winner(begin: Callable[..., Story]) -> None:
    story = begin()
    story.trial("knn", [0.4])
    summary = summary_of(story)
    assert summary["winner"] is None
    assert summary["recipes"]["knn"]["val"]["accuracy"] == 0.4
    assert "mlp: no trial was begun" in summary["warnings"]


def test_without_a_complete_trial_the_best_stopped_one_is_shown(begin: Callable[..., Story]) -> None:
    story = begin()
    story.trial("mlp", [0.4, 0.4, 0.4], "pruned")
    best = story.trial("mlp", [0.5, 0.5, 0.5], "pruned")
    assert summary_of(story)["recipes"]["mlp"]["best_trial"] == best.number


def test_what_the_best_see_is_said_where_not_all_see_whole_images(begin: Callable[..., Story]) -> None:
    story = begin(variant="either")
    story.experiment.write("views/box/data.json", {**story.experiment.read("data.json"), "variant": "box"})
    for recipe, seen in (("knn", "whole"), ("mlp", "box")):
        trial = story.trial(recipe, [0.8])
        story.final(trial, seed=0, val=0.8, right=30, config={**trial.config, "input_variant": seen})
    summary = summary_of(story, *story.study.records)
    assert [row.sees for row in leaderboard(Report.model_validate(summary)).rows] == ["whole", "box"]
    assert '<br><span class="soft">box</span></th>' in page_of(story)
    text = (story.experiment.folder / "report.md").read_text()
    assert "knn (whole) is best on val." in text
    assert "| mlp box |" in text


def test_where_all_trials_failed_it_says_so(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",))
    for reason in ("no", "never"):
        story.trial("mlp", [], "failed", note=f"RuntimeError: {reason}")
    summary = summary_of(story)
    assert summary["winner"] is None
    assert summary["recipes"]["mlp"]["best_trial"] is None
    assert summary["warnings"] == [
        "no recipe was tested, as no finalist was trained",
        "mlp: all of its 2 trials failed: RuntimeError: no",
    ]


def test_where_time_was_up_before_the_first_epoch_it_says_so(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",))
    story.trial("mlp", [], "pruned", note="the time budget was used up")
    story.trial("mlp", [], "failed", note="RuntimeError: no")
    assert summary_of(story)["warnings"] == [
        "no recipe was tested, as no finalist was trained",
        "mlp: the time budget was used up before a trial had trained an epoch",
    ]


def test_what_is_no_number_becomes_null(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",))
    story.trial("mlp", [0.5], loss=float("nan"), train_loss=float("inf"))
    assert summary_of(story)["recipes"]["mlp"]["val"]["loss"] is None
