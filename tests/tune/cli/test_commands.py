"""The surface of the command line, which changes on purpose only."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

import search_spaces
from tune.cli import command_parser, main

SURFACE = {
    "search": [
        "--address", "--allocate", "--box-column", "--cache", "--concurrent", "--config", "--cpus-per-trial",
        "--data", "--drop-unseen-classes", "--final-seeds", "--final-top", "--final-train", "--gpus-per-trial",
        "--grace-period", "--group-by", "--help", "--image-column", "--image-size", "--label-column", "--limit",
        "--max-epochs", "--metric", "--name", "--normalize-classes", "--on-bad-image", "--out", "--preset",
        "--progress", "--recipes", "--recipes-from", "--reduction-factor", "--resume", "--rows-only", "--seed", "--set",
        "--split", "--storage", "--sweep-trial", "--tensorboard", "--time-budget", "--trials", "--variant", "--wandb",
        "--wandb-entity", "--wandb-group", "--wandb-project", "--wandb-sweep", "--wandb-tags", "--weights", "-h",
    ],
    "doctor": [
        "--address", "--box-column", "--cache", "--config", "--cpus-per-trial", "--data", "--gpus-per-trial", "--help",
        "--image-column", "--label-column", "--out", "--preset", "--recipes", "--recipes-from", "--variant", "-h",
        "cluster",
    ],
    "list": ["--help", "-h", "folder"],
    "show": ["--help", "--trial", "-h", "experiment"],
    "replay": ["--help", "--trial", "-h", "experiment"],
    "dashboard": ["--help", "--port", "-h", "experiment"],
    "report": ["--help", "-h", "experiment"],
    "compare": ["--help", "--output", "-h", "experiments"],
    "track": [
        "--help", "--wandb", "--wandb-entity", "--wandb-group", "--wandb-project", "--wandb-sweep", "--wandb-tags",
        "-h", "experiment",
    ],
    "sweep": [
        "--box-column", "--cache", "--config", "--data", "--drop-unseen-classes", "--grace-period", "--group-by",
        "--help", "--image-column", "--image-size", "--label-column", "--limit", "--max-epochs", "--method",
        "--metric", "--name", "--normalize-classes", "--on-bad-image", "--output", "--recipes-from",
        "--reduction-factor", "--seed", "--set", "--split", "--trials", "--variant", "--wandb-entity",
        "--wandb-project", "--weights", "-h", "recipe",
    ],
    "agent": ["--count", "--gpus", "--help", "-h", "sweep"],
    "export": ["--help", "--output", "--recipe", "-h", "experiment"],
    "predict": ["--format", "--help", "--json", "--recipe", "--top", "-h", "model", "paths"],
    "describe": ["--help", "--recipe", "-h", "experiment"],
    "recipes": ["--help", "-h", "recipe"],
    "check-recipe": ["--help", "-h", "recipe"],
    "fetch": ["--from", "--help", "--to", "-h", "data"],
}  # fmt: skip


def test_the_surface_is_this() -> None:
    (commands,) = (a for a in command_parser()._actions if isinstance(a, argparse._SubParsersAction))
    surface = {
        name: sorted(option for action in command._actions for option in action.option_strings or [action.dest])
        for name, command in commands.choices.items()
    }
    assert surface == SURFACE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--recipes", "resnet"], "no recipe 'resnet'"),
        (["check-recipe", "resnet"], "no recipe 'resnet'; there are: "),
        (["check-recipe", "./nowhere"], "check-recipe ./nowhere: there is no such folder; give one with search_spaces"),
        (["check-recipe", str(Path(__file__).parent)], "has no recipes: a recipe is search_spaces/NAME.py and"),
        (["search", "--set", "knn.neighbors"], "write recipe.field=value"),
        (["search", "--config", "/nowhere.yaml"], "cannot be read"),
        (["search", "--resume", "/nowhere"], "no experiment in /nowhere"),
        (["search", "--preset", "cifar_classic"], "there is none (did you mean cifar10_classic?);"),
        (["search", "--preset", "/nowhere.yaml"], "preset file /nowhere.yaml cannot be read"),
        (["doctor", "--recipes", "resnet"], "no recipe 'resnet'"),
        (["doctor", "/nowhere.yaml"], "/nowhere.yaml: cannot be read: No such file or directory; give a cluster's"),
        (["search", "--rows-only"], "there are no rows without a preset"),
        (["replay", "/nowhere", "--trial", "1"], "no experiment in /nowhere"),
        (["report", "/nowhere"], "no experiment in /nowhere"),
        (["compare", "/nowhere"], "/nowhere: is one experiment; give two or more"),
        (["compare", "/nowhere", "/tmp"], "no experiment in /nowhere"),
        (["export", "/nowhere"], "no experiment in /nowhere"),
        (["describe", "/nowhere"], "no experiment in /nowhere"),
        (["predict", "/nowhere", "/nothing.png"], "/nothing.png: there is no such file or folder"),
        (["predict", "/nowhere", __file__], "no experiment in /nowhere"),
        (["predict", "/nowhere.onnx", __file__], "cannot read /nowhere.onnx"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


WAY_OUT = "; see toprung search --help"


def test_an_abbreviated_or_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--trial", "--epochs"):
        with pytest.raises(SystemExit) as stop:
            main(["search", flag, "3"])
        assert stop.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert (
        first == "toprung search: unrecognized arguments: --trial 3 (did you mean --trials?); see toprung search --help"
    )
    assert second.startswith("toprung search: unrecognized arguments: --epochs 3")


def test_the_command_that_was_meant_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["searhc"])
    error = capsys.readouterr().err
    assert "invalid choice: 'searhc'" in error
    assert "(did you mean search?)" in error
    assert error.count("\n") == 1


def test_the_flag_that_was_meant_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for typo in (["--trails", "5"], ["--trails=5"]):
        with pytest.raises(SystemExit):
            main(["search", *typo])
        assert capsys.readouterr().err.endswith(f" (did you mean --trials?){WAY_OUT}\n")


@pytest.mark.usefixtures("_forgets_recipes")
def test_a_broken_recipe_is_named_with_its_line_and_the_others_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import math\n\nmath.tau + Flaot\n")
    (tmp_path / "syntax.py").write_text("def build(:\n")
    (tmp_path / "empty.py").write_text("")
    search_spaces.__path__.append(str(tmp_path))
    assert main(["recipes"]) == 2
    out, err = capsys.readouterr()
    assert "knn: " in out
    assert "plain_cnn: " in out
    assert "recipe 'broken' is broken: NameError: name 'Flaot' is not defined" in err
    assert "broken.py, line 3; mend it" in err
    assert "syntax.py, line 1; mend it" in err
    assert "empty.py has 0 classes that are a Space; a recipe has one" in err
    assert err.count("\n") == 3


@pytest.mark.usefixtures("_forgets_recipes")
def test_a_recipe_that_fails_a_check_is_told_why(readme_recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = readme_recipe / "trainables" / "linear.py"
    file.write_text(
        file.read_text().replace("    yield from", "    raise ArithmeticError('as it\\nwas told')\n    yield from")
    )
    assert main(["check-recipe", str(readme_recipe)]) == 1
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("linear:", "7 checks failed")
    assert lines[0] == "  ok     It is a frozen, keyword-only dataclass with a docstring"
    (learns,) = (line for line in lines if line.startswith("  FAILED The default learns: "))
    assert ": ArithmeticError: as it was told, in /" in learns
    assert learns.endswith("my_recipes/trainables/linear.py, line 24")
    assert len(lines) == sum(line.startswith(("  ok     ", "  FAILED ")) for line in lines), "more than a line a check"


@pytest.mark.usefixtures("_forgets_recipes")
@pytest.mark.parametrize(("failing", "last"), [(0, "all checks passed"), (1, "1 check failed"), (2, "2 checks failed")])
def test_failed_checks_are_counted(
    readme_recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: int, last: str
) -> None:
    results = [(f"check {n}", ["one fault", "another"] if n < failing else []) for n in range(3)]
    monkeypatch.setattr("trainables.training.conformance.conform", lambda recipe, samples: results)
    assert main(["check-recipe", str(readme_recipe)]) == (1 if failing else 0)
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == last
    assert out.count(": one fault\n           another\n") == failing


@pytest.mark.parametrize(("command", "code"), [("recipes", 1), ("--help", 0)])  # argparse is silent on its own
def test_who_stops_reading_gets_no_traceback(command: str, code: int) -> None:
    """The reader closes the pipe, as `head` does, before the first line."""
    with subprocess.Popen(
        [sys.executable, "-m", "tune.cli", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == code


def test_recipes_are_listed_with_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert "knn: Nearest neighbors" in listed
    assert "components         2..256 (log)             default 64, when reduce is pca" in listed
    assert "clip_norm          0..10                    default 0.0, searched only with --set" in listed
    assert "default adamw, searched adamw|sgd without --set" in listed


@pytest.mark.parametrize("line", ["name: 2024", "name:", "out:", "out: [1]"])
def test_a_config_file_with_odd_values_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    (tmp_path / "s.yaml").write_text(f"trials: 3\n{line}\n")
    assert main(["search", "--config", str(tmp_path / "s.yaml")]) == 2
    assert capsys.readouterr().err.startswith(f"toprung: --{line.partition(':')[0]} ")


def test_a_config_file_is_overridden_by_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file alone would be refused for its metric; with the flag, the error is the flag's."""
    (tmp_path / "s.yaml").write_text("metric: auc\nset: {knn: {neighbors: 3}}\n")
    assert main(["search", "--config", str(tmp_path / "s.yaml")]) == 2
    assert "'auc'" in capsys.readouterr().err
    assert main(["search", "--config", str(tmp_path / "s.yaml"), "--metric", "loss", "--set", "knn.neighbors=0"]) == 2
    assert "knn.neighbors=0" in capsys.readouterr().err
