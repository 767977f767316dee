"""The pictures of report.md."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from reporting.stories import Story
from reporting.test_published import PRESET
from tune.experiment.experiment import Experiment
from tune.reporting.figures.canvas import MAX_FILE_BYTES, png
from tune.reporting.figures.series import PALETTE
from tune.reporting.report import write_report

EVIL = ["<script>alert(1)</script>", r"$\frac{1}{$ a_b^c \ ]", "猫", "قطة", "new\nline\t| x", "\udcff\0\x1b[31m"]


def pictures(experiment: Experiment) -> dict[str, Path]:
    return {path.stem: path for path in (experiment.folder / "report").glob("*.png")}


def alts(experiment: Experiment) -> dict[str, str]:
    """Return the alternative text of each picture in the Markdown."""
    text = (experiment.folder / "report.md").read_text()
    return {name: alt for alt, name in re.findall(r"^!\[(.*)\]\(report/(\w+)\.png\)$", text, re.MULTILINE)}


def written(story: Story, *finalists: Any) -> Experiment:
    write_report(story.experiment, story.study.records, story.finalists(*finalists), [], seconds=1.0)
    return story.experiment


def finals_of(story: Story) -> list[Any]:
    mlp, knn = story.trial("mlp", [0.5, 0.7]), story.trial("knn", [0.6])
    story.final(mlp, seed=0, val=0.7, right=30)
    story.final(knn, seed=0, val=0.6, right=33)
    return [mlp, knn]


def colours_of(path: Path) -> list[str]:
    """The first two colours by their places from the top."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    tops = {}
    for colour in PALETTE[:2]:
        found = np.flatnonzero((pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=1))
        if len(found):
            tops[colour] = found[0]
    return sorted(tops, key=lambda colour: tops[colour])


def test_the_markdown_shows_what_lies_beside_the_page(finished: Experiment) -> None:
    assert set(alts(finished)) == set(pictures(finished)) == {"leaderboard", "curves", "progress", "confusion"}
    for path in pictures(finished).values():
        image = Image.open(path)
        assert image.width == 1800
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert path.stat().st_size < MAX_FILE_BYTES


def test_who_cannot_see_them_is_told_what_there_is(finished: Experiment) -> None:
    told = alts(finished)
    assert re.fullmatch(
        r"test accuracy of each recipe's best with its 95% interval: mlp 0\.8000 \(.+\); knn 0\.9500 \(.+\)",
        told["leaderboard"],
    )
    best = "the best: knn 0.9000 in trial 0, mlp 0.9500 in trial 1"
    assert told["curves"] == f"val accuracy by epoch of every trial; {best}"
    assert told["progress"] == f"best val accuracy by number of trial; {best}"
    assert told["confusion"].startswith("confusion matrix of mlp on test, seed 2; most often ant was taken for bee: ")


def test_recipes_have_their_colours_and_the_winner_is_on_top(finished: Experiment) -> None:
    knn, mlp = PALETTE[:2]
    assert colours_of(pictures(finished)["leaderboard"]) == [mlp, knn]
    assert colours_of(pictures(finished)["curves"]) == [knn, mlp], "the legend is above"


def test_any_name_is_drawn_and_nothing_is_said_of_it(
    begin: Callable[..., Story], capfd: pytest.CaptureFixture[str]
) -> None:
    story = begin(classes=EVIL)
    experiment = written(story, *finals_of(story))
    assert "confusion" in pictures(experiment)
    assert (
        "&lt;script&gt;alert(1)&lt;/script&gt; was taken for $\\\\frac{1}{$ a\\_b^c \\\\ \\]"
        in (alts(experiment)["confusion"])
    )
    assert capfd.readouterr() == ("", "")


def test_what_is_no_longer_there_to_be_drawn_is_removed_here_and_in_the_bucket(
    begin: Callable[..., Story], tmp_path: Path
) -> None:
    story = begin()
    story.experiment = replace(story.experiment, url=str(tmp_path / "bucket"))
    finalists = finals_of(story)
    there = tmp_path / "bucket" / "report"
    assert {"leaderboard", "confusion"} < set(pictures(written(story, *finalists)))
    assert {path.name for path in there.iterdir()} == {
        "index.html", "leaderboard.png", "curves.png", "progress.png", "confusion.png",
    }  # fmt: skip
    assert set(pictures(written(story))) == set(alts(story.experiment)) == {"curves", "progress"}
    assert {path.name for path in there.iterdir()} == {"index.html", "curves.png", "progress.png"}


@pytest.mark.parametrize("values", [None, [], [float("nan")], [3e38]])
def test_where_there_is_nothing_to_draw_there_is_no_picture(
    begin: Callable[..., Story], values: list[float] | None
) -> None:
    story = begin(metric="loss")
    if values is not None:
        story.trial("mlp", values, "failed")
        story.trial("mlp", values, "running")
    assert pictures(written(story)) == alts(story.experiment) == {}


def test_what_is_no_number_is_left_out_of_a_curve(begin: Callable[..., Story]) -> None:
    story = begin()
    for value in np.linspace(0.1, 0.9, 30):
        story.trial("mlp", [value, float("nan"), 0.1])
    assert set(pictures(written(story))) == {"curves", "progress"}


def test_with_more_classes_than_can_be_read_there_is_no_matrix(begin: Callable[..., Story]) -> None:
    story = begin(classes=[f"class {n}" for n in range(31)])
    assert set(pictures(written(story, *finals_of(story)))) == {"leaderboard", "curves", "progress"}


def test_published_figures_are_drawn_beside_measured_ones(begin: Callable[..., Story]) -> None:
    story = begin(preset="p.yaml")
    story.experiment.write("preset.yaml", yaml.safe_dump(PRESET, sort_keys=False))
    story.row("three", {"neighbors": 3}, right=24, val_right=None)
    experiment = written(story)
    what = "accuracy or weighted\\_f1 on test and val, with 95% intervals, of 2 rows"
    assert alts(experiment) == {"published": f"published beside measured {what}"}
    measured, published = PALETTE[:2]
    assert colours_of(pictures(experiment)["published"]) == [published, measured]


def test_a_picture_of_very_many_lines_is_small_enough_to_send() -> None:
    random = np.random.default_rng(0)
    rise = 1 - 0.9 ** np.arange(81)
    lines = [top * rise + random.normal(0, 0.02, 81) for top in random.random(500)]

    def draw(axes: Any) -> None:
        for number, line in enumerate(lines):
            axes.plot(line, color=PALETTE[number % 3], alpha=0.2, linewidth=1)

    file = png(draw, 400)
    assert len(file) < MAX_FILE_BYTES
    assert Image.open(BytesIO(file)).size == (900, 400)


def test_matplotlib_comes_when_something_is_drawn_and_says_nothing_where_it_has_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "matplotlibrc").write_text("backend: tkagg\nfont.size: 40\n")
    code = (
        "import sys, tune.reporting, tune.tracking.runs\n"
        "assert not [name for name in sys.modules if name.startswith('matplotlib')]\n"
        "from tune.reporting.figures.canvas import png\n"
        "sys.stdout.buffer.write(png(lambda axes: axes.set_xlabel('\\u732b $x'), 100))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "file"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert done.stderr.decode() == ""
    assert done.stdout == png(lambda axes: axes.set_xlabel("\u732b $x") and None, 100)
