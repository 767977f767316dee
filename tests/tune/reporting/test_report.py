"""Writing a report, and writing it again from the folder."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from reporting.stories import Story
from trainables.storage.pretrained_files import Weights, write_weights
from tune.cli import command_parser
from tune.experiment.experiment import Experiment
from tune.experiment.report_json import read_report
from tune.reporting.command import PLACES, command
from tune.reporting.leaderboard_text import leaderboard_table
from tune.reporting.report import rebuild, write_report
from tune.settings.preset import file_of, read_preset, settings_with
from tune.settings.settings import Settings, make


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_there_and_no_draft_is_left(finished: Experiment) -> None:
    files = contents(finished.folder)
    assert {"trials.parquet", "curves.parquet", "report.json", "report.md", "report/index.html"} <= set(files)
    assert {f"best/mlp/{name}" for name in ("config.yaml", "model.safetensors", "metrics.json")} <= set(files)
    assert not [name for name in files if "draft" in name]


def test_the_page_is_what_is_returned(begin: Callable[..., Story]) -> None:
    story = begin()
    page = write_report(story.experiment, story.study.records, [], [], seconds=0.0)
    assert page == story.experiment.folder / "report" / "index.html"
    assert page.is_file()


def test_rebuilding_writes_the_same_again(finished: Experiment) -> None:
    before = contents(finished.folder)
    assert rebuild(finished) == finished.folder / "report" / "index.html"
    after = contents(finished.folder)
    assert [name for name in before if before[name] != after.get(name)] == []
    assert set(after) == set(before)


def test_a_report_can_be_made_while_the_search_is_running(begin: Callable[..., Story]) -> None:
    story = begin(on_disk=True)
    story.trial("mlp", [0.5, 0.6], "running")
    story.study.note_seconds(12.0)
    rebuild(story.experiment)
    summary = story.experiment.read("report.json")
    assert summary["seconds"] == 12.0
    assert summary["recipes"]["mlp"]["trials"]["running"] == 1
    assert "Not tested yet" in (story.experiment.folder / "report.md").read_text()


def shown(experiment: Experiment, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width)
    report = read_report(experiment)
    assert report is not None
    console.print(leaderboard_table(report))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_leaderboard_has_the_winner_on_top(finished: Experiment) -> None:
    lines = shown(finished)
    rows = [line.split() for line in lines if "mlp" in line or "knn" in line]
    assert [row[:3] for row in rows] == [["1", "mlp", "0.9500"], ["2", "knn", "0.9000"]]
    assert rows[0][-1] == "1/1/1"
    assert any("0.8000" in line for line in lines)
    assert not any("…" in line for line in lines)


def test_recipes_without_finals_have_no_rank_and_stand_below(begin: Callable[..., Story]) -> None:
    story = begin()
    knn, _ = story.trial("knn", [0.4]), story.trial("mlp", [0.9])
    story.final(knn, seed=0, val=0.4, right=20)
    write_report(story.experiment, story.study.records, story.finalists(knn), [], seconds=1.0)
    rows = [line.split() for line in shown(story.experiment) if "mlp" in line or "knn" in line]
    assert [row[:2] for row in rows] == [["1", "knn"], ["\N{EN DASH}", "mlp"]]


def test_the_markdown_escapes_what_comes_from_outside(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("mlp",), classes=["a|b", "<script>alert(1)</script>", "*x*\n# y"])
    trial = story.trial("mlp", [0.5])
    story.final(trial, seed=0, val=0.5, right=20)
    write_report(story.experiment, story.study.records, story.finalists(trial), ["`x` <img>"], seconds=1.0)
    text = (story.experiment.folder / "report.md").read_text()
    assert "| a\\|b |" in text
    assert "<script>" not in text
    assert "<img>" not in text
    assert "| \\*x\\* \\# y |" in text


def test_the_markdown_names_what_was_skipped(begin: Callable[..., Story]) -> None:
    bad = [{"path": f"a/{n}.jpg", "reason": "truncated"} for n in range(60)]
    story = begin(card={"bad_images": bad})
    write_report(story.experiment, story.study.records, [], [], seconds=1.0)
    text = (story.experiment.folder / "report.md").read_text()
    assert "- a/49.jpg: truncated\n- and 10 more, in data.json" in text
    assert "a/50.jpg" not in text


def test_the_markdown_has_answer_configuration_classes_and_command(finished: Experiment) -> None:
    text = (finished.folder / "report.md").read_text()
    assert "mlp is best on val. Its test accuracy is 0.8000" in text
    assert "**mlp**, trial 1" in text
    assert "| bee | 0.7857 | 0.8462 | 0.8148 | 13 |" in text
    assert "toprung search --data digits --recipes knn,mlp" in text
    assert "final mlp-00001-3: out of memory" in text


def test_pretrained_weights_are_named_with_their_source(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("timm_finetune",))
    noted = Weights(file="/nowhere", source="a <hub>", digest="ab" * 32)
    write_weights(story.experiment.folder, {"timm_finetune.resnet50": noted, "timm_finetune.efficientnet_b0": noted})
    trial = story.trial("timm_finetune", [0.5])
    story.final(trial, seed=0, val=0.5, right=20, config={**trial.config, "model": "resnet50", "pretrained": "yes"})
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    text = (story.experiment.folder / "report.md").read_text()
    assert "## Pretrained weights\n\n- timm\\_finetune: a &lt;hub&gt; (SHA-256 abababababababab)\n" in text
    page = (story.experiment.folder / "report" / "index.html").read_text()
    assert "<b>Pretrained weights</b> a &lt;hub&gt; (SHA-256 abababababababab)" in page
    entry = story.experiment.read("report.json")["recipes"]["timm_finetune"]
    assert entry["weights"] == {"source": "a <hub>", "digest": "ab" * 32}


def test_random_weights_of_what_could_be_pretrained_are_said_loudly(begin: Callable[..., Story]) -> None:
    story = begin(recipes=("timm_finetune", "mlp"))
    trial = story.trial("timm_finetune", [0.5])
    story.final(trial, seed=0, val=0.5, right=20, config={**trial.config, "pretrained": "no"})
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    summary = story.experiment.read("report.json")
    assert summary["recipes"]["timm_finetune"]["weights"] is None
    assert "timm_finetune: its best began with random weights, not with pretrained ones" in summary["warnings"]
    page = (story.experiment.folder / "report" / "index.html").read_text()
    assert "<b>Pretrained weights</b> none, random weights instead (pretrained=no)" in page
    text = (story.experiment.folder / "report.md").read_text()
    assert "- timm\\_finetune: none, random weights instead (pretrained=no)" in text


def test_the_command_of_a_preset_says_only_what_is_not_its_own() -> None:
    preset = read_preset(file_of("cifar10_classic"))
    given = {"preset": "cifar10_classic", "data": "digits", "name": "x"}
    settings = make(settings_with(preset, {**given, "rows_only": True, "set": {"knn.neighbors": "3"}}))
    assert command(settings, preset) == (
        "toprung search --data digits --preset cifar10_classic --rows-only --recipes knn,mlp --set knn.neighbors=3 "
        "--seed 0"
    )


def test_the_command_means_the_same_settings(tmp_path: Path) -> None:
    settings = make(
        {
            "data": str(tmp_path / "odd 'name'"),
            "recipes": "mlp,knn",
            "set": {"mlp.lr": "1e-4..1e-3", "mlp.optimizer": "sgd|adamw"},
            "split": "rest,200,0",
            "normalize_classes": True,
            "time_budget": "10m",
            "seed": 3,
            "final_top": 2,
            "out": str(tmp_path),
            "name": "here",
        }
    )
    import shlex

    from tune.cli.flags import assignments

    given = {
        k: v for k, v in vars(command_parser().parse_args(shlex.split(command(settings))[1:])).items() if v is not None
    }
    values = {name: given[name] for name in Settings.model_fields if name in given}
    again = make(values | {"set": assignments(values["set"])})
    assert again.model_dump(exclude=set(PLACES)) == settings.model_dump(exclude=set(PLACES))


def test_json_has_no_nan(finished: Experiment) -> None:
    for path in finished.folder.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)
