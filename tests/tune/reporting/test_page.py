"""The page: self-contained, escaped, and there whatever became of the search."""

import json
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reporting.stories import Story, cost
from search_spaces import space_of
from trainables.data.thumbnails import MAX_SIDE
from tune.experiment.experiment import Experiment
from tune.experiment.trial_record import Heard
from tune.reporting.page.image_samples import EXACT
from tune.reporting.page.page import page
from tune.reporting.report import write_report
from tune.reporting.results import Results
from tune.reporting.summary import summarize

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Elements, their attributes, the text outside of scripts, and the figures of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self.feed(html)
        self.figures: dict[str, Any] = json.loads(self.scripts[0], parse_constant=pytest.fail)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        match self.elements[-1][0] if self.elements else "":
            case "script" if self.get_starttag_text().startswith("<script"):  # type: ignore[union-attr]
                self.scripts.append(data) if data.strip() else None
            case "style" if data.strip():
                self.styles.append(data)
        self.text += f" {data}"


def page_of(experiment: Experiment) -> Page:
    return Page((experiment.folder / "report/index.html").read_text())


def written(story: Story, *finalists: Any) -> Page:
    write_report(story.experiment, story.study.records, story.finalists(*finalists), [], seconds=1.0)
    return page_of(story.experiment)


def test_it_loads_nothing_from_elsewhere(finished: Experiment) -> None:
    page = page_of(finished)
    links = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster")
    ]
    assert links == ["data:,"]
    for style in page.styles:
        assert not re.search(r"@import|url\(", style)
    policy = next(a["content"] for tag, a in page.elements if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


@pytest.mark.slow
def test_500_trials_are_small_enough_to_send(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp", "plain_cnn", "block_cnn"), trials=500, max_epochs=27)
    drawn = [story.trial(recipe, [0.5]) for _ in range(20) for recipe in story.experiment.settings.recipes]
    random, records = np.random.default_rng(0), []
    for number, record in zip(range(500), cycle(drawn), strict=False):
        values = random.random(27 if number % 3 else 9)
        epochs = [
            {**record.epochs[0], "epoch": epoch, "accuracy": value} for epoch, value in enumerate(values, start=1)
        ]
        best = dict(enumerate(np.maximum.accumulate(values).tolist(), start=1))
        heard = {epoch: Heard(1e9 + 10 * number + epoch, f"host {number % 8}") for epoch in best}
        records.append(replace(record, number=number, epochs=epochs, values=best, heard=heard))
    results = Results(experiment=story.experiment, records=records, finalists=[], failures=[], seconds=1.0)
    assert len(page(results, summarize(results)).encode()) < 10e6


def test_the_answer_is_on_top(finished: Experiment) -> None:
    text = " ".join(page_of(finished).text.split())
    assert re.search(r"mlp 80\.0% test accuracy 95% interval \d+\.\d\N{EN DASH}\d+\.\d%", text)
    assert "40 images, 3 seeds" in text
    assert "search 5 trials took 1 min 15 s" in text


def test_means_over_seeds_come_with_their_spread(finished: Experiment) -> None:
    std = finished.read("report.json")["recipes"]["mlp"]["test"]["accuracy"]["std"]
    assert std > 0.001
    told = f"0.8000 \N{PLUS-MINUS SIGN} {std:.3f}"
    assert told in " ".join(page_of(finished).text.split())
    assert f"| {told} |" in (finished.folder / "report.md").read_text()


def test_what_the_models_cost_is_shown(finished: Experiment) -> None:
    text = " ".join(page_of(finished).text.split())
    assert text.count("parameters 12,345 trained 2,345 MACs 67,890 weights MiB 0.06 latency ms 0.12") == 2
    assert "timed on Abacus 2000, 1 thread" in text


def test_every_place_of_a_figure_has_its_figure(finished: Experiment) -> None:
    page = page_of(finished)
    places = {attributes["data-figure"] for _, attributes in page.elements if "data-figure" in attributes}
    places |= {attributes["data-figure-name"] for _, attributes in page.elements if "data-figure-name" in attributes}
    assert places == set(page.figures)
    assert {"curves", "history", "counts", "confusion-mlp", "confusion-knn", "classes-mlp"} <= set(page.figures)


def test_learning_curves_show_every_trial_with_an_epoch(finished: Experiment) -> None:
    curves = page_of(finished).figures["curves"]
    shown = [trace for trace in curves["data"] if "meta" in trace]
    assert sorted(len(trace["x"]) for trace in shown) == [1, 1, 3, 6]
    assert sorted(trace["meta"] for trace in shown) == ["complete", "complete", "failed", "pruned"]
    hover = next(trace["hovertemplate"] for trace in curves["data"] if len(trace["x"]) == 3)
    assert "mlp, trial 2" in hover
    assert "pruned" in hover
    assert "optimizer" in hover
    assert [shape["x0"] for shape in curves["layout"]["shapes"]] == [3]


def test_failed_trials_stand_with_their_note(finished: Experiment) -> None:
    assert "ValueError: broken" in page_of(finished).text


def test_what_comes_from_outside_is_never_markup(begin: Callable[..., Story]) -> None:
    bad = {"path": f"{EVIL}.png", "reason": "</td><img src=x onerror=alert(1)>"}
    pair = [{"path": EVIL, "split": "train", "class": EVIL}, {"path": "\udcff", "split": "val", "class": EVIL}]
    story = begin(
        recipes=("mlp",),
        classes=[EVIL, "</script><b>", "\udcff {{ 7 * 7 }} %{x}"],
        data=f"/tmp/{EVIL}",
        card={
            "source": f"/tmp/{EVIL}",
            "warnings": [EVIL],
            "bad_images": [bad],
            "duplicates": {kind: {"total": 1, "pairs": [pair]} for kind in ("across_splits", "across_labels")},
        },
    )
    trial = story.trial("mlp", [0.5])
    story.trial("mlp", [0.5], "failed", note=f"ValueError: {EVIL} </script> \udcff")
    story.final(trial, seed=0, val=0.5, right=20)
    page = written(story, trial)
    assert sum(tag == "script" for tag, _ in page.elements) == 3
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    html = (story.experiment.folder / "report/index.html").read_text()
    assert EVIL not in html
    assert "{{ 7 * 7 }}" in html
    ticks = page.figures["confusion-mlp"]["layout"]["xaxis"]["ticktext"]
    assert ticks[0].startswith("&lt;script&gt;alert(1)")
    assert "<" not in json.dumps(page.figures["counts"]["data"][0]["customdata"])


def test_with_many_classes_the_pairs_that_were_confused_are_listed(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",), classes=[f"class {n}" for n in range(40)])
    trial = story.trial("mlp", [0.5])
    story.final(trial, seed=0, val=0.5, right=30)
    page = written(story, trial)
    assert "confusion-mlp" not in page.figures
    assert "taken for" in page.text


def test_importance_needs_enough_trials_that_differ(begin: Callable[..., Story]) -> None:
    story = begin()
    for n in range(10):
        story.trial("mlp", [n / 10], "complete" if n % 2 else "pruned")
        story.trial("knn", [0.5])
    page = written(story)
    among_the_best, of_all = page.figures["importance-mlp"]["data"]
    assert sum(among_the_best["x"]) == pytest.approx(1, abs=0.01)
    assert 0 < sum(of_all["x"]) <= 1.01, "of the fields that are shown"
    assert set(of_all["y"]) <= set(among_the_best["y"])
    assert "importance-knn" not in page.figures
    assert "All trials have the same value" in page.text


def test_with_few_trials_it_says_that_they_are_too_few(finished: Experiment) -> None:
    assert "too few to say which fields matter" in page_of(finished).text


@pytest.mark.parametrize("state", ["none", "running", "failed", "pruned"])
def test_it_is_written_whatever_became_of_the_trials(begin: Callable[..., Story], state: str) -> None:
    story = begin(metric="loss")
    if state != "none":
        story.trial("mlp", [], "failed" if state == "failed" else "running")
        story.trial("mlp", [0.5], state)  # type: ignore[arg-type]
    text = " ".join(written(story).text.split())
    assert {
        "none": "No trial came to a result.",
        "running": "The best so far on val is mlp, trial 1: loss 0.5000.",
        "failed": "No trial came to a result.",
        "pruned": "The best so far on val is mlp, trial 1: loss 0.5000.",
    }[state] in text


def test_the_default_stands_beside_the_best_configuration(finished: Experiment) -> None:
    text = " ".join(page_of(finished).text.split())
    config = finished.read("report.json")["recipes"]["mlp"]["config"]
    assert f"depth {config['depth']} 2" in text


def test_mistakes_and_a_sample_are_shown_as_pictures(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",), classes=[EVIL, "bee"])
    told = {"label": 0, "prediction": 1, "probability": 0.987}
    story.examples = [
        {"kind": "mistake", "name": f"{EVIL}.png", **told},
        {"kind": "sample", "name": "right.png", **told, "label": 1},
    ]
    trial = story.trial("mlp", [0.5])
    for seed in (0, 1, 2):
        story.final(trial, seed=seed, val=0.5 + 0.1 * seed, right=20)
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    html = (story.experiment.folder / "report" / "index.html").read_text()
    assert EVIL not in html
    page = Page(html)
    mistake, right = (attrs for tag, attrs in page.elements if tag == "img")
    assert mistake["alt"] == f"{EVIL}.png"
    assert right["alt"] == "right.png"
    _, _, content = str(mistake["src"]).partition("data:image/webp;base64,")
    image = Image.open(BytesIO(b64decode(content)))
    assert (image.size, image.getpixel((0, 0))) == ((8, 8), (50, 50, 50)), "of the seed of median val"
    assert "98.7%" in page.text
    assert f"is {EVIL}" in page.text
    assert page.text.count("is bee") == 0


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_trials_are_drawn_through_their_fields_the_best_boldest(begin: Callable[..., Story], metric: str) -> None:
    story = begin(recipes=("mlp", "knn"), metric=metric)
    values = [0.3, 0.5, 0.9, 0.4, 0.2, 0.6, 0.7, 0.8]
    for value in values:
        story.trial("mlp", [value])
    story.trial("knn", [0.5])
    write_report(story.experiment, story.study.records, [], [], seconds=1.0)
    figures = Page((story.experiment.folder / "report" / "index.html").read_text()).figures
    assert {name for name in figures if name.startswith(("parallel", "slices"))} == {"parallel-mlp", "slices-mlp"}
    lines = figures["parallel-mlp"]["data"]
    assert len(lines) == len(values)
    assert all(0 <= y <= 1 for line in lines for y in line["y"])
    best = 0.9 if metric == "accuracy" else 0.2
    assert f"val {metric} {best:.4f}" in lines[-1]["hovertemplate"], "it is above the others"
    assert lines[-1]["opacity"] == max(line["opacity"] for line in lines) == 1
    names = figures["parallel-mlp"]["layout"]["xaxis"]["ticktext"]
    assert names[-1] == f"val {metric}"
    assert set(names[:-1]) < set(space_of("mlp").domains())
    assert len(figures["slices-mlp"]["data"]) == len(names) - 1


def test_accuracy_is_drawn_against_what_it_costs(begin: Callable[..., Story]) -> None:
    """plain_cnn is as accurate as mlp and slower; kNN has no parameters."""
    costs = ({"parameters": 0, "latency_ms": 1.0}, {"latency_ms": 2.0}, {"latency_ms": 3.0}, {"latency_ms": 4.0})
    story = begin(recipes=("knn", "mlp", "plain_cnn", "small_vit"))
    trials = [story.trial(recipe, [0.5]) for recipe in story.experiment.settings.recipes]
    for trial, right, own in zip(trials, (20, 30, 30, 35), costs, strict=True):
        story.model = {**cost(), **own}
        story.final(trial, seed=0, val=0.5, right=right)
    write_report(story.experiment, story.study.records, story.finalists(*trials), [], seconds=1.0)
    page = Page((story.experiment.folder / "report" / "index.html").read_text())
    of_axis: dict[str, list[dict[str, Any]]] = {}
    for trace in page.figures["cost"]["data"]:
        of_axis.setdefault(trace["xaxis"], []).append(trace)
    front, *points = of_axis["x"]
    assert (front["x"], front["y"]) == ([1.0, 2.0, 4.0], [20 / 40, 30 / 40, 35 / 40])
    assert [point["name"] for point in points] == ["knn", "mlp", "plain_cnn", "small_vit"]
    assert [point["name"] for point in of_axis["x2"][1:]] == ["mlp", "plain_cnn", "small_vit"]
    assert page.figures["cost"]["layout"]["xaxis2"]["title"]["text"] == "parameters (none: knn)"


def test_one_model_alone_is_not_compared_by_cost(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",))
    trial = story.trial("mlp", [0.5])
    story.final(trial, seed=0, val=0.5, right=20)
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    assert "cost" not in Page((story.experiment.folder / "report" / "index.html").read_text()).figures


def test_samples_of_train_are_shown_by_class_with_the_paths_of_their_files(begin: Callable[..., Story]) -> None:
    story = begin(classes=[EVIL, "bee", "cat"])
    story.samples([f"{EVIL}/1.png", "bee/\udcff.png"])
    page = written(story)
    html = (story.experiment.folder / "report" / "index.html").read_text()
    assert EVIL not in html
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert [image["alt"] for image in images] == [f"{EVIL}/1.png", "bee/\\udcff.png"]
    assert all(str(image["src"]).startswith("data:image/webp;base64,") for image in images)
    text = " ".join(page.text.split())
    assert "Samples of train chosen at random; the 2 of 3 classes with the most images" in text


def test_samples_take_little_of_the_page_whatever_is_on_them(begin: Callable[..., Story]) -> None:
    """Noise is what compresses worst."""
    story = begin(classes=[f"class {n}" for n in range(12)])
    without = len(html_of(story))
    story.samples([f"{n}.png" for n in range(72)], side=MAX_SIDE)
    assert 100_000 < len(html_of(story)) - without < 1_000_000
    story.samples([f"{n}.png" for n in range(72)], side=EXACT)
    assert 100_000 < len(html_of(story)) - without < 1_000_000


def html_of(story: Story) -> str:
    written(story)
    return (story.experiment.folder / "report" / "index.html").read_text()


def test_an_experiment_that_keeps_no_samples_shows_none(finished: Experiment) -> None:
    assert "Samples of train" not in page_of(finished).text
