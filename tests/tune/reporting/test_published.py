"""The rows of a preset: published values beside measured ones, also when only some rows were run."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from rich.console import Console

import tune.reporting
from reporting.stories import TEST_IMAGES, Story
from trainables.storage.pretrained_files import Weights, write_weights
from tune.cli import main
from tune.experiment.report_json import Report, RowReport
from tune.finals.intervals import wilson
from tune.reporting.published_rows import chosen, not_as_published, published_table
from tune.reporting.report import write_report

SCHEMA = json.loads((Path(tune.reporting.__file__).parent / "report.schema.json").read_text())
EVIL = "<script>alert(1)</script>"
PRESET: dict[str, Any] = {
    "title": f"Three rows {EVIL}",
    "notes": ["the photos were seen before"],
    "settings": {},
    "rows": {
        "three": {
            "title": f"k 3 {EVIL}",
            "recipe": "knn",
            "config": {"neighbors": 3},
            "train_on": "train+val",
            "published": {"test": {"accuracy": 0.5}},
        },
        "mlp": {
            "title": "MLP",
            "recipe": "mlp",
            "epochs": 20,
            "published": {"val": {"accuracy": 0.99, "loss": 0.1}, "test": {"weighted_f1": 0.7}},
        },
        "other": {"title": "never run", "recipe": "knn", "published": {}},
    },
}


def told(begin: Callable[..., Story], **given: Any) -> Story:
    """Two of three rows were run."""
    story = begin(preset="p.yaml", **given)
    story.experiment.write("preset.yaml", yaml.safe_dump(PRESET, sort_keys=False))
    story.row("three", {"neighbors": 3}, right=24, val_right=None)
    story.row("mlp", {"width": 256}, right=32, val_right=38, epochs=3)
    return story


def written(story: Story) -> dict[str, Any]:
    write_report(story.experiment, story.study.records, [], [], seconds=1.0)
    summary: dict[str, Any] = story.experiment.read("report.json")
    jsonschema.validate(summary, SCHEMA)
    return summary


def rows_of(story: Story) -> dict[str, RowReport]:
    return Report.model_validate(written(story)).rows


def figures(summary: dict[str, Any], row: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(line["split"], line["metric"]): line for line in summary["preset"]["rows"][row]["figures"]}


def test_published_and_measured_stand_side_by_side(begin: Callable[..., Story]) -> None:
    summary = written(told(begin))
    (line,) = figures(summary, "three").values()
    expected = wilson(24, TEST_IMAGES)
    assert (line["measured"], line["low"], line["high"]) == (expected.mean, expected.low, expected.high)
    assert line["published"] == 0.5
    assert line["inside"] is True
    mlp = figures(summary, "mlp")
    on_val = wilson(38, TEST_IMAGES)
    assert (mlp["val", "accuracy"]["low"], mlp["val", "accuracy"]["high"]) == (on_val.low, on_val.high)
    assert mlp["val", "accuracy"]["inside"] is (on_val.low <= 0.99 <= on_val.high)
    half = 2.0227 * 0.2 / 39**0.5  # Student's t of 39 degrees of freedom
    assert mlp["val", "loss"] == {
        "split": "val", "metric": "loss", "published": 0.1, "measured": 0.4, "low": pytest.approx(0.4 - half),
        "high": pytest.approx(0.4 + half), "inside": False,
    }  # fmt: skip
    assert mlp["test", "weighted_f1"]["low"] < mlp["test", "weighted_f1"]["measured"]


def test_a_row_that_was_not_run_has_no_figures_and_no_result(begin: Callable[..., Story]) -> None:
    entry = written(told(begin))["preset"]["rows"]["other"]
    assert entry["test"] is None
    assert entry["config"] is None
    (line,) = entry["figures"]
    assert (line["split"], line["metric"], line["published"], line["measured"]) == ("test", "accuracy", None, None)


def test_without_a_test_split_what_is_published_of_test_has_no_measure(begin: Callable[..., Story]) -> None:
    preset = {**PRESET, "rows": {"mlp": PRESET["rows"]["mlp"]}}
    story = begin(preset="p.yaml", card={"images": {"train": 60, "val": 40, "test": 0}})
    story.experiment.write("preset.yaml", yaml.safe_dump(preset))
    story.row("mlp", {"width": 256}, right=32, val_right=32)
    lines = figures(written(story), "mlp")
    assert lines["test", "weighted_f1"]["measured"] is None
    assert lines["val", "accuracy"]["measured"] == 32 / TEST_IMAGES
    assert lines["val", "accuracy"]["low"] == wilson(32, TEST_IMAGES).low


def test_the_reports_show_them_escaped_with_what_differs_and_the_notes(begin: Callable[..., Story]) -> None:
    story = told(begin)  # of 9 epochs
    assert written(story)["preset"]["notes"] == ["the photos were seen before"]
    page = (story.experiment.folder / "report/index.html").read_text()
    text = (story.experiment.folder / "report.md").read_text()
    assert EVIL not in page
    assert EVIL not in text
    for document in (page, text):
        assert "Published and measured" in document
        assert "9 of 20 epochs" in document
        assert "the photos were seen before" in document
        assert "+0.1000" in document
    drawn = json.loads(page.split('id="figures">')[1].split("</script>")[0])
    assert [(trace["name"], trace["line"]["dash"]) for trace in drawn["rows"]["data"]] == [
        ("MLP", "dot"),
        ("MLP", "solid"),
    ]
    assert "confusion-row-three" in drawn
    assert "compared by cross-validation" in page


TUNED: dict[str, Any] = {
    "title": "Tuned",
    "settings": {"data": "digits", "recipes": ["timm_finetune", "yolo_cls", "mlp"]},
    "rows": {
        name: {"title": title, "recipe": recipe, "published": {}}
        for name, title, recipe in (
            ("frozen", "ResNet, frozen", "timm_finetune"),
            ("full", "ResNet, full", "timm_finetune"),
            ("given", "YOLO", "yolo_cls"),
            ("random", "YOLO, dropout", "yolo_cls"),
            ("mlp", "MLP", "mlp"),
        )
    },
}


def test_training_in_bfloat16_is_not_as_published(begin: Callable[..., Story]) -> None:
    story = told(begin)
    file = story.experiment.folder / "rows/mlp/final.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mixed": True}))
    rows = written(story)["preset"]["rows"]
    said = "trained in bfloat16 on a GPU, convolutions channels-last"
    assert {name: said in row["changes"] for name, row in rows.items()} == {"three": False, "mlp": True, "other": False}
    for report in ("report/index.html", "report.md"):
        assert said in (story.experiment.folder / report).read_text()


@pytest.mark.parametrize("rows_only", [True, False])
def test_the_weights_that_rows_began_with_are_said_wherever_they_are_reported(
    begin: Callable[..., Story],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    rows_only: bool,
) -> None:
    recipes = tuple(TUNED["settings"]["recipes"])
    story = begin(preset="tuned.yaml", recipes=recipes, rows_only=rows_only)
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(TUNED, sort_keys=False))
    story.experiment.write("preset.yaml", (tmp_path / "tuned.yaml").read_text())
    hub = Weights(file="/nowhere", source="a hub", digest="ab" * 32)
    file = Weights(file="/nowhere", source="/home/me/yolo11n-cls.safetensors", digest="cd" * 32)
    write_weights(story.experiment.folder, {"timm_finetune.resnet50": hub, "yolo_cls.yolo11n-cls": file})
    for name in ("frozen", "full"):
        story.row(name, {"model": "resnet50", "pretrained": "yes"}, right=30, val_right=30)
    for name, asked in (("given", "yes"), ("random", "no")):
        story.row(name, {"model": "yolo11n-cls", "pretrained": asked}, right=30, val_right=30)
    story.row("mlp", {"width": 64}, right=30, val_right=30)
    summary = written(story)
    said = [
        "ResNet, frozen; ResNet, full: a hub (SHA-256 abababababababab)",
        "YOLO: /home/me/yolo11n-cls.safetensors (SHA-256 cdcdcdcdcdcdcdcd)",
        "YOLO, dropout: none, random weights instead (pretrained=no)",
    ]
    warning = "published rows that began with random weights, not with pretrained ones: YOLO, dropout"
    assert warning in summary["warnings"]
    page = (story.experiment.folder / "report/index.html").read_text()
    visible = re.sub("<details.*?</details>", "", page, flags=re.DOTALL)
    text = (story.experiment.folder / "report.md").read_text()
    monkeypatch.setattr("tune.search.search", lambda experiment, console: Path("page"))
    flags = ["--rows-only"] if rows_only else []
    places = ["--out", str(tmp_path), "--name", "story"]
    main(["search", "--preset", str(tmp_path / "tuned.yaml"), *flags, *places])
    terminal = capsys.readouterr().out.splitlines()
    for line in said:
        assert f"<b>Pretrained weights:</b> {line}." in visible
        assert f"- {line}" in text
        assert f"pretrained weights: {line}" in terminal
    assert warning in visible
    assert f"warning: {warning}" in terminal


def test_rows_that_are_left_out_are_said(begin: Callable[..., Story]) -> None:
    story = told(begin, recipes=("mlp",))
    assert "2 published rows not run, as --recipes leaves out knn" in written(story)["warnings"]


def test_what_a_grid_chose_is_beside_what_was_published(begin: Callable[..., Story]) -> None:
    story = told(begin)
    (story.experiment.folder / "rows/three/final.json").write_text(
        json.dumps(
            json.loads((story.experiment.folder / "rows/three/final.json").read_text())
            | {
                "scores": [
                    {"config": {"neighbors": n, "scale": "none"}, "accuracy": 0.1 * n, "seconds": 2.0} for n in (1, 3)
                ]
            }
        )
    )
    entries = rows_of(story)
    three = entries["three"].model_copy(update={"published_best": {"neighbors": 1}})
    assert chosen([three, entries["other"]]) == [f"k 3 {EVIL}: neighbors 3 (published: neighbors 1)"]
    assert three.seconds == 2.0 + 4.0


def test_rows_alone_are_a_whole_report(begin: Callable[..., Story]) -> None:
    story = told(begin, rows_only=True)
    summary = written(story)
    assert not [line for line in summary["warnings"] if "no trial was begun" in line or "no recipe was tested" in line]
    page = (story.experiment.folder / "report/index.html").read_text()
    assert "<h2>Recipes</h2>" not in page
    assert "<h2>Data</h2>" in page
    assert "No trial" not in page


def test_a_row_that_is_better_than_the_search_is_named(begin: Callable[..., Story]) -> None:
    story = told(begin)
    trial = story.trial("mlp", [0.5])
    story.final(trial, seed=0, val=0.5, right=30)
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    text = (story.experiment.folder / "report.md").read_text()
    assert "A published row did better than the search: MLP, trained here, has a test accuracy of 0.8000." in text
    better = story.trial("mlp", [0.6])
    story.final(better, seed=0, val=0.6, right=32)
    write_report(story.experiment, story.study.records, story.finalists(better), [], seconds=1.0)
    assert "did better than the search" not in (story.experiment.folder / "report.md").read_text()


def test_what_is_not_as_published_of_all_rows_is_said_once(begin: Callable[..., Story]) -> None:
    story = told(begin, limit=50, seed=3)
    entries = list(rows_of(story).values())
    assert [entry.changes for entry in entries] == [
        ["at most 50 images of train, and val"], ["9 of 20 epochs", "at most 50 images of train"],
        ["at most 50 images of train"],
    ]  # fmt: skip
    for entry in entries:
        entry.changes.append("seed 3, not 0")
    assert not_as_published(entries) == [
        "all rows: seed 3, not 0",
        f"k 3 {EVIL}: at most 50 images of train, and val",
        "MLP: 9 of 20 epochs; at most 50 images of train",
        "never run: at most 50 images of train",
    ]
    assert not_as_published(entries[:1]) == [f"k 3 {EVIL}: at most 50 images of train, and val; seed 3, not 0"]
    alike = [entry.model_copy(update={"title": "all rows"}) for entry in entries[1:]]
    assert not_as_published(alike) == [
        "all rows: at most 50 images of train; seed 3, not 0", "all rows: 9 of 20 epochs",
    ]  # fmt: skip


def test_a_preset_without_a_row_left_is_a_search(begin: Callable[..., Story]) -> None:
    story = begin(preset="p.yaml", recipes="plain_cnn")
    story.experiment.write("preset.yaml", yaml.safe_dump(PRESET, sort_keys=False))
    summary = written(story)
    assert summary["preset"]["rows"] == {}
    assert "3 published rows not run, as --recipes leaves out knn, mlp" in summary["warnings"]
    for file in ("report/index.html", "report.md"):
        assert "Published and measured" not in (story.experiment.folder / file).read_text()


def test_a_terminal_shows_a_line_a_row_and_split(
    begin: Callable[..., Story], capsys: pytest.CaptureFixture[str]
) -> None:
    entries = list(rows_of(told(begin)).values())
    Console(width=120).print(published_table(entries))
    out = capsys.readouterr().out.splitlines()
    lines = [line for line in out if " test " in line or " val " in line]
    assert len(lines) == 4
    assert "weighted_f1" in out[out.index(lines[2]) + 1]
    assert [line.rstrip().endswith("*") for line in lines] == [False, True, False, False]
    assert "0.5000" in lines[0]
    assert "+0.1000" in lines[0]
