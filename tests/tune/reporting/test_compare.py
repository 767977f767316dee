"""Several experiments in one page: ranked, paired, or explained where neither is valid."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reporting.stories import Story, environment, evaluated
from reporting.test_page import EVIL, Page
from search_spaces import InputError
from tune.cli import main
from tune.experiment.experiment import Experiment, several
from tune.reporting.formatting import TIMES
from tune.reporting.report import side_by_side, write_comparison, write_report

Tell = Callable[..., Experiment]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """An experiment in which mlp won, and knn is second; without `right` it has no finals."""

    def experiment(
        name: str,
        *,
        val: float = 0.9,
        right: int | None = 30,
        seeds: int = 1,
        report: bool = True,
        environment: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        **given: Any,
    ) -> Experiment:
        story = Story.begin(tmp_path / "results", name=name, on_disk=True, **given)
        mlp, knn = story.trial("mlp", [val - 0.2, val - 0.1]), story.trial("knn", [val - 0.15])
        story.trial("mlp", [0.1], "failed", note="ValueError: broken")
        if right is not None:
            for seed in range(seeds):
                story.final(mlp, seed=seed, val=val, right=right, config=config)
            story.final(knn, seed=0, val=val - 0.1, right=right - 4)
        if environment:
            story.experiment.write("environment.json", environment)
        if report:
            write_report(story.experiment, story.study.records, story.finalists(mlp, knn), [], seconds=75.0)
        story.study.close()
        return story.experiment

    return experiment


def lines_of(*experiments: Experiment) -> list[str]:
    return side_by_side(several([str(experiment) for experiment in experiments])).lines()


def page_of(folder: Path, *experiments: Experiment) -> Page:
    side = side_by_side(several([str(experiment) for experiment in experiments]))
    return Page(write_comparison(side, folder / "comparison.html").read_text())


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_the_best_on_val_wins_whatever_test_says(tell: Tell, tmp_path: Path) -> None:
    experiments = tell("worse", val=0.8, right=38), tell("better", val=0.9, right=30)
    first, second = lines_of(*experiments)
    assert first.startswith("better is best on val, with mlp: accuracy 0.9000. Its test accuracy is 0.7500 (95% inter")
    assert second.startswith("worse: on the same test images +0.200 (+0.")
    assert second.endswith("against better, p 0.004: ahead of it beyond chance, but winners are chosen on val.")
    text = words(page_of(tmp_path, *experiments))
    assert "2 experiments compared better 75.0% test accuracy" in text
    assert "Best on val. Second on val is worse, with mlp and a test accuracy of 0.9500. On the same images" in text


def test_who_is_as_good_is_not_distinguishable(tell: Tell) -> None:
    experiments = [tell(f"e{number}", val=0.9 - number / 100, right=31 - number) for number in range(3)]
    assert [line.split(": ")[-1] for line in lines_of(*experiments[::-1])[1:]] == ["not distinguishable."] * 2


def test_p_is_corrected_for_all_comparisons(tell: Tell) -> None:
    best = tell("best", right=36)
    alone = side_by_side(several([str(best), str(tell("a", val=0.8, right=30))]))
    assert alone.against["a"].comparison.p == pytest.approx(1 / 2**6)
    all_three = side_by_side(several([str(best), str(best.folder.parent / "a"), str(tell("b", val=0.7, right=30))]))
    assert all_three.against["a"].comparison.p == pytest.approx(2 / 2**6)
    assert all_three.against["b"].comparison.difference.mean == pytest.approx(-6 / 40)


def test_what_was_chosen_and_tested_on_other_images_is_neither_ranked_nor_paired(tell: Tell, tmp_path: Path) -> None:
    first, second = tell("first"), tell("second", val=0.8)
    other = {"digest": "f" * 64, "images_digest": "f" * 64, "evaluated": evaluated("other", "other")}
    strange = tell("strange", val=0.99, card=other)
    lines = lines_of(strange, first, second)
    assert lines[0].startswith("first is best on val")
    assert lines[-1] == "strange: other val and test images: not comparable with first."
    page = page_of(tmp_path, strange, first, second)
    assert "Not ranked with those above: other val images" in words(page)
    assert "not comparable other test images" in words(page)
    assert [trace["name"] for trace in page.figures["progress"]["data"]] == [
        "first", "second", "strange (other val images)",
    ]  # fmt: skip
    assert len(page.figures["cost"]["data"]) == 3 * 3, "a front and two winners a cost"


def test_of_two_that_cannot_be_ranked_none_is_best(tell: Tell, tmp_path: Path) -> None:
    """The source has a test split of its own, and val is dealt by the seed."""
    dealt = {"digest": "f" * 64, "evaluated": evaluated("dealt otherwise", "test")}
    experiments = tell("a", right=36), tell("b", right=30, card=dealt, seed=0)
    lines = lines_of(*experiments)
    assert lines[0].startswith("No two of these experiments can be ranked")
    assert lines[1].startswith("b: on the same test images \N{MINUS SIGN}0.150 (")
    assert lines[1].endswith("; not ranked with a: other val images, as the same data were split otherwise.")
    text = words(page_of(tmp_path, *experiments))
    assert "compared No two of these" in text


def test_another_size_or_train_leaves_val_and_test_as_they_are(tell: Tell) -> None:
    larger = {"digest": "f" * 64, "images_digest": "f" * 64}
    first, second = lines_of(tell("small"), tell("large", val=0.95, card=larger))
    assert first.startswith("large is best on val")
    assert second.startswith("small: on the same test images")


def test_boxes_and_whole_images_are_the_same_images_by_their_names(tell: Tell) -> None:
    on_boxes = evaluated("val", "test")
    for digests in on_boxes.values():
        digests["pixels"] = "of boxes"
    other = {"digest": "f" * 64, "images_digest": "f" * 64, "evaluated": on_boxes}
    whole, boxes = tell("whole"), tell("boxes", val=0.95, card={**other, "variant": "box"})
    assert lines_of(whole, boxes)[1].startswith("whole: on the same test images")
    changed = tell("changed", val=0.95, card=other)
    assert lines_of(whole, changed)[1] == "changed: other val and test images: not comparable with whole."


def test_older_experiments_are_the_same_only_by_their_digest(tell: Tell) -> None:
    same, first = tell("same", val=0.8), tell("first")
    for experiment in (same, first):
        card = experiment.read("data.json")
        del card["evaluated"]
        experiment.write("data.json", card)
    assert lines_of(same, first)[1].startswith("same: on the same test images")
    first.write("data.json", {**first.read("data.json"), "digest": "f" * 64})
    assert "not known to be the same" in lines_of(same, first)[1]


def test_metrics_are_not_ranked_with_each_other(tell: Tell, tmp_path: Path) -> None:
    experiments = tell("by-accuracy"), tell("by-f1", val=0.95, metric="macro_f1")
    assert lines_of(*experiments)[1].endswith("; not ranked with by-accuracy: chosen by macro_f1, not by accuracy.")
    page = page_of(tmp_path, *experiments)
    assert "not drawn, as chosen by another metric: by-f1" in words(page)
    assert "0.9500 macro_f1" in words(page)


def test_the_least_loss_is_best(tell: Tell) -> None:
    assert lines_of(tell("more", val=0.9, metric="loss"), tell("less", val=0.5, metric="loss"))[0].startswith("less is")


@pytest.mark.parametrize("report", [True, False])
def test_what_has_no_finals_comes_last(tell: Tell, tmp_path: Path, report: bool) -> None:
    untested, tested = tell("untested", val=0.99, right=None, report=report), tell("tested")
    lines = lines_of(untested, tested)
    assert lines == ["Nothing to rank yet: tested alone was tested.", "untested: nothing was tested yet."]
    text = words(page_of(tmp_path, untested, tested))
    assert "mlp so far 0.8900" in text
    both = lines_of(untested, tell("other", right=None))
    assert both[0] == "Nothing was tested yet. The best so far on val is untested, with mlp: accuracy 0.8900."


def test_what_has_no_trial_yet_is_there(tell: Tell, tmp_path: Path) -> None:
    story = Story.begin(tmp_path / "results", name="begun", on_disk=True)
    story.study.close()
    page = page_of(tmp_path, story.experiment, tell("tested"))
    assert "begun: nothing was tested yet." in words(page)
    assert [trace["name"] for trace in page.figures["progress"]["data"]] == ["tested"]


def test_a_report_that_is_behind_is_not_believed(tell: Tell) -> None:
    with_report, without = tell("a", val=0.8), tell("b", report=False)
    expected = lines_of(with_report, without)
    summary = with_report.read("report.json")
    summary["recipes"]["mlp"] |= {"test": None, "val": {"accuracy": 0.99}}
    with_report.write("report.json", summary)
    assert lines_of(with_report, without) == expected


def test_nothing_is_written_into_experiments(tell: Tell, tmp_path: Path) -> None:
    experiments = tell("a"), tell("b", report=False), tell("c", right=None, report=False)

    def there() -> dict[Path, tuple[int, bytes]]:
        files = sorted((tmp_path / "results").rglob("*"))
        return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in files}

    before = there()
    assert main(["compare", *map(str, experiments), "--output", str(tmp_path / "comparison.html")]) == 0
    assert there() == before


def test_what_a_search_writes_meanwhile_is_seen(tell: Tell, tmp_path: Path) -> None:
    story = Story.begin(tmp_path / "results", name="running", on_disk=True)
    story.trial("mlp", [0.5], "running")
    before = {path.name for path in story.experiment.folder.iterdir()}
    (contender,) = (
        each for each in side_by_side(several([str(story.experiment), str(tell("a"))])).all if each.name == "running"
    )
    assert len(contender.results.records) == 1
    assert {path.name for path in story.experiment.folder.iterdir()} == before
    story.study.close()


def test_all_recipes_are_in_one_leaderboard(tell: Tell, tmp_path: Path) -> None:
    text = words(page_of(tmp_path, tell("a"), tell("b", val=0.85)))
    board = text.split("All recipes")[1].split("Ranked as above")[0]
    places = [board.index(f" {rank} {name} {recipe} {val}") for rank, name, recipe, val in (
        (1, "a", "mlp", "0.9000"), (2, "b", "mlp", "0.8500"), (3, "a", "knn", "0.8000"), (4, "b", "knn", "0.7500"),
    )]  # fmt: skip
    assert places == sorted(places)


def test_only_what_differs_of_settings_and_environment_is_shown(tell: Tell, tmp_path: Path) -> None:
    there = environment() | {"device": "Abacus 3000"}
    experiments = tell("a", trials=6), tell("b", val=0.8, trials=9, set={"mlp.lr": "0.01"}, environment=there)
    text = words(page_of(tmp_path, *experiments)).split("What differs")[1]
    assert "Settings a b trials 6 9 set mlp.lr \N{EN DASH} 0.01 Environment a b device cpu Abacus 3000 Data" in text
    assert "the same images, labels and splits" in text
    assert "max-epochs" not in text.split("Repeat them")[0]
    assert "--trials 9" in text


def test_configurations_stand_side_by_side(tell: Tell, tmp_path: Path) -> None:
    base = {"input_variant": "whole", "optimizer": "adamw"}
    page = page_of(
        tmp_path, tell("a", config={**base, "lr": 0.01}), tell("b", val=0.8, config={**base, "lr": 0.02, "width": 64})
    )
    text = words(page).split("Winning configurations")[1]
    assert "recipe mlp mlp input_variant whole whole optimizer adamw adamw lr 0.01 0.02" in text
    rows = [attributes for tag, attributes in page.elements if tag == "tr" and attributes.get("class") == "differs"]
    assert len(rows) == 1, "lr alone: width is not in both"


def test_latency_is_compared_only_on_one_machine(tell: Tell, tmp_path: Path) -> None:
    a, b = tell("a"), tell("b", val=0.8, report=False)
    assert "xaxis3" in page_of(tmp_path, a, b).figures["cost"]["layout"]
    for file in b.folder.glob("finals/*/final.json"):
        final = json.loads(file.read_text())
        file.write_text(json.dumps({**final, "model": {**final["model"], "device": "Abacus 3000"}}))
    layout = page_of(tmp_path, a, b).figures["cost"]["layout"]
    assert [layout[axis]["title"]["text"] for axis in ("xaxis", "xaxis2")] == ["parameters", "weights, MiB"]
    assert "xaxis3" not in layout


def test_it_loads_nothing_and_links_to_reports_by_relative_paths(tell: Tell, tmp_path: Path) -> None:
    page = page_of(tmp_path / "pages", tell("a"), tell("b", val=0.8), tell("c", val=0.7, report=False))
    links = {value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")}
    assert links == {"data:,", "../results/a/report/index.html", "../results/b/report/index.html"}
    places = {attributes["data-figure"] for _, attributes in page.elements if "data-figure" in attributes}
    places |= {attributes["data-figure-name"] for _, attributes in page.elements if "data-figure-name" in attributes}
    assert places == set(page.figures) == {"progress", "progress-epochs", "progress-time", "cost"}


def test_what_comes_from_outside_is_never_markup(tell: Tell, tmp_path: Path) -> None:
    evil = [EVIL, "</script><b>", "\udcff {{ 7 * 7 }} %{x}"]
    first = tell("a", classes=evil, data=f"/tmp/{EVIL}", card={"source": f"/tmp/{EVIL}"})
    renamed = tell("b", val=0.8, classes=evil, environment=environment() | {"device": EVIL})
    named = renamed.folder.rename(renamed.folder.with_name("<img src=x onerror=alert(1)>#?"))
    page = page_of(tmp_path, first, replace(renamed, folder=named))
    assert sum(tag == "script" for tag, _ in page.elements) == 3
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert EVIL not in (tmp_path / "comparison.html").read_text()
    assert "&lt;img" in json.dumps(page.figures["progress"]["data"][1]["name"])
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert "results/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%23%3F/report/index.html" in links


def test_experiments_of_one_name_are_told_apart(tell: Tell) -> None:
    first = tell("same")
    other = first.folder.parent / "more" / "same"
    other.parent.mkdir()
    first.folder.rename(other)
    side = side_by_side(several([str(other), str(tell("same"))]))
    assert [contender.name for contender in side.all] == ["more/same", "results/same"]


def test_the_table_fits_into_80_columns_and_the_page_is_named_last(
    tell: Tell, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    experiments = tell("a-name-that-is-as-long-as-names-may-be-which-is-of-64-characters", seeds=3), tell("b", val=0.8)
    assert main(["compare", *map(str, experiments)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[: next(place for place, line in enumerate(lines) if line.startswith("ranked by val"))]
    assert max(map(len, table)) <= 80
    assert any(f"40 {TIMES} 3" in line and "1 min 15 s" in line for line in table)
    assert lines[-1] == f"comparison: {tmp_path / 'comparison.html'}"
    assert (tmp_path / "comparison.html").is_file()


def test_bad_input_is_refused(tell: Tell, tmp_path: Path) -> None:
    a, b = map(str, (tell("a"), tell("b", val=0.8)))
    with pytest.raises(InputError, match="is one experiment; give two or more"):
        side_by_side(several([a]))
    with pytest.raises(InputError, match="are the same experiment; give each once"):
        side_by_side(several([a, b, f"{tmp_path}/results/../results/a/"]))
    with pytest.raises(InputError, match="there is no such folder"):
        side_by_side(several([a, f"{tmp_path}/nowhere"]))
    side = side_by_side(several([a, b]))
    (tmp_path / "file").touch()
    for output in (tmp_path, tmp_path / "file" / "page.html"):
        with pytest.raises(
            InputError, match=r"--output .*: (Is a directory|File exists); choose a file that can be written"
        ):
            write_comparison(side, output)
    assert not list(tmp_path.glob("**/.*.draft"))
    (tmp_path / "results" / "b" / "study.db").unlink()
    with pytest.raises(InputError, match="its study cannot be read"):
        side_by_side(several([a, b]))
    (tmp_path / "results" / "b" / "data.json").unlink()
    with pytest.raises(InputError, match=r"has no data\.json, as its search did not begin; leave it out"):
        side_by_side(several([a, b]))
