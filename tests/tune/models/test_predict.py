"""Files and folders on the command line, classified by winners."""

import csv
import json
import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from sklearn.datasets import load_digits

from search_spaces import InputError
from trainables import Classifier
from trainables.inference.onnx_classifier import Card
from tune.cli import main
from tune.experiment.experiment import Experiment
from tune.models.predict import PREDICTED_AT_ONCE, Prediction, find, load, predict, table

CARD = Card(
    recipe="mlp", config={"width": 3}, classes=["dark", "bright"], shape=[1, 8, 8], variant="whole", data="d",
    decoding="r",
)  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six digits, two of them in a folder below, beside what is no image."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for number, image in enumerate(load_digits().images[:6]):
        place = folder / "below" if number > 3 else folder
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(place / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("hidden")
    return folder


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """An exported model that says how bright an image is: its logits are 0 and the mean of its pixels, less 50."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Sub", ["column", "middle"], ["bright"]),
        helper.make_node("Sub", ["column", "column"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["logits"], axis=1),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("middle", TensorProto.FLOAT, [1], [50.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, CARD.metadata())
    onnx.save(model, tmp_path / "brightness.onnx")
    return tmp_path / "brightness.onnx"


def names(pictures: Path) -> list[str]:
    return [str(pictures / name) for name in ("0.png", "1.png", "2.png", "3.png", "below/4.png", "below/5.png")]


@pytest.mark.parametrize("recipe", ["knn", "mlp", "plain_cnn"])
def test_files_get_the_probabilities_that_the_classifier_gives(
    searched: Experiment, pictures: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    arguments = [str(searched.folder), str(pictures), "--recipe", recipe, "--format", "json", "--top", "3"]
    assert main(["predict", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["image"] for each in found] == names(pictures)
    expected = Classifier.load(searched.folder / "best" / recipe).predict(names(pictures))
    for each, row in zip(found, expected, strict=True):
        best = np.argsort(-row, kind="stable")[:3]
        assert [prediction["class"] for prediction in each["predictions"]] == [str(index) for index in best]
        assert [prediction["probability"] for prediction in each["predictions"]] == pytest.approx(row[best], rel=1e-5)


def test_an_experiment_means_its_winner_and_a_winner_can_be_taken_away(
    searched: Experiment, pictures: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    shutil.copytree(searched.folder / "best" / "knn", taken)
    one, two = (predict(load(source), find([pictures]), top=10) for source in (searched.folder, taken))
    assert one == two


@pytest.mark.slow
def test_a_winner_of_a_recipe_from_outside_is_found_in_its_experiment(
    searched_outside: Experiment, pictures: Path
) -> None:
    """The predicting process does not know the recipe."""
    folder = searched_outside.folder
    for model in (folder, folder / "best" / "linear"):
        command = [sys.executable, "-m", "tune.cli", "predict", str(model), str(pictures), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(json.loads(done.stdout)) == 6


@pytest.mark.slow
def test_where_the_recipe_is_gone_the_folder_that_it_came_from_is_named(
    searched_outside: Experiment, readme_recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    file = searched_outside.folder / "settings.yaml"
    readme_recipe.rename(tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-m", "tune.cli", "predict", str(searched_outside.folder), str(pictures)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"toprung: {file}: recipes_from {readme_recipe}: there is no such folder; ")
    assert done.stderr.count("\n") == 1


def test_rows_are_models_as_winners_are(rows_alone: Experiment, searched: Experiment, pictures: Path) -> None:
    files = find([pictures])
    row = load(rows_alone.folder / "rows" / "deep")
    assert predict(row, files, top=3) == predict(load(searched.folder, "mlp"), files, top=3)


def test_without_a_winner_the_rows_are_offered(rows_alone: Experiment) -> None:
    near, deep = (rows_alone.folder / "rows" / name for name in ("near", "deep"))
    with pytest.raises(InputError, match=f"has no winner, .*; give one of them: {near}, {deep}$"):
        load(rows_alone.folder)
    with pytest.raises(InputError, match=f"rows/failed is not a trained model of .*; there are: {near}, {deep}$"):
        load(rows_alone.folder / "rows" / "failed")
    with pytest.raises(InputError, match=r"--recipe mlp: .*/rows/deep is one model"):
        load(deep, "mlp")


def test_batches_do_not_change_what_is_predicted(searched: Experiment, pictures: Path) -> None:
    model, done = load(searched.folder, "mlp"), []
    files = find([pictures])
    whole = predict(model, files, top=1)
    often = PREDICTED_AT_ONCE // len(files) + 1
    batched = predict(model, files * often, top=1, progress=done.append)
    assert [p.image for p in batched] == files * often
    assert [p.ranked[0][0] for p in batched] == [p.ranked[0][0] for p in whole] * often
    assert done == [PREDICTED_AT_ONCE, len(files) * often]


def test_a_broken_image_is_named_and_the_others_are_classified(
    searched: Experiment, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "1.png").write_bytes(b"no image")
    (pictures / "3.png").write_bytes((pictures / "2.png").read_bytes()[:60])
    for form in ("table", "json", "csv"):
        assert main(["predict", str(searched.folder), str(pictures), "--format", form]) == 1
        out, err = capsys.readouterr()
        assert f"{pictures / '1.png'}: not an image of a known format" in err
        assert str(pictures / "3.png") in err
        assert err.count("\n") == 2
        if form == "csv":
            rows = list(csv.DictReader(StringIO(out)))
            assert len(rows) == 4 * 5
            assert list(rows[0]) == ["image", "rank", "class", "probability"]
            assert [row["rank"] for row in rows[:5]] == ["1", "2", "3", "4", "5"]
        if form == "json":
            assert [("error" in each) for each in json.loads(out)] == [False, True, False, True, False, False]


def test_where_every_image_is_broken_it_says_so(
    searched: Experiment, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = pictures / "notes.txt"  # a file that is named is tried, whatever its suffix
    assert main(["predict", str(searched.folder), str(broken), "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out) == [{"image": str(broken), "error": "not an image of a known format"}]


def test_a_line_of_the_table_has_the_class_and_what_else_it_may_be() -> None:
    ranked = [("a [b] cat", 0.75), ("dog", 0.25)]
    cells = [list(column.cells) for column in table([Prediction(image=Path("[x].png"), ranked=ranked)]).columns]
    assert [str(cell) for (cell,) in cells] == ["[x].png", "a [b] cat", "0.750", "dog 0.250"]


def test_a_file_is_classified_once_and_hidden_ones_not(pictures: Path) -> None:
    found = find([pictures / "below" / "5.png", pictures, pictures / "below"])
    assert [str(file) for file in found] == [names(pictures)[5], *names(pictures)[:5]]


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX alone")
def test_a_name_that_is_no_text_is_written_all_the_same(
    searched: Experiment, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = pictures / os.fsdecode(b"\xff.png")
    shutil.copy(pictures / "0.png", odd)
    for form in ("table", "json", "csv"):
        assert main(["predict", str(searched.folder), str(odd), "--format", form]) == 0
        assert "udcff" in capsys.readouterr().out


def test_an_exported_file_is_run_without_torch(exported: Path, pictures: Path) -> None:
    code = (
        "import sys, tune.cli\n"
        f"code = tune.cli.main(['predict', {str(exported)!r}, {str(pictures)!r}, '--format', 'json'])\n"
        "assert not {'torch', 'ray', 'optuna'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    means = [np.asarray(Image.open(file)).mean() for file in names(pictures)]
    for each, mean in zip(json.loads(done.stdout), means, strict=True):
        bright = 1 / (1 + np.exp(50 - mean))
        shares = {p["class"]: p["probability"] for p in each["predictions"]}
        assert shares == pytest.approx({"dark": 1 - bright, "bright": bright}, abs=1e-5)


def test_the_card_of_a_file_is_read_as_it_was_written() -> None:
    assert Card.of(CARD.metadata() | {"other": "entry"}) == CARD


def test_what_cannot_be_used_is_refused_in_a_line(
    searched: Experiment, pictures: Path, exported: Path, tmp_path: Path
) -> None:
    foreign, garbage = tmp_path / "foreign.onnx", tmp_path / "garbage.onnx"
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    garbage.write_bytes(b"no model")
    boxes = tmp_path / "boxes"
    shutil.copytree(searched.folder / "best" / "mlp", boxes)
    card = json.loads((boxes / "metrics.json").read_text())
    (boxes / "metrics.json").write_text(json.dumps(card | {"variant": "box"}))
    for source, recipe, message in (
        (foreign, None, "does not say its classes and the size of its images; give a file that toprung export wrote"),
        (garbage, None, "garbage.onnx cannot be run by onnxruntime"),
        (exported, "mlp", "--recipe mlp: .*brightness.onnx is one model"),
        (searched.folder, "vit", "--recipe vit"),
        (boxes, None, f"was trained on boxes, not on whole images: in Python, call .*load\\('{boxes}'\\).predict"),
        (pictures, None, "no experiment in"),
    ):
        with pytest.raises(InputError, match=message) as error:
            load(source, recipe)
        assert "\n" not in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no image; it is searched for \.bmp, \.gif"):
        find([tmp_path / "empty"])
    with pytest.raises(InputError, match="--top 0: must be at least 1"):
        predict(load(exported), [], top=0)


def test_without_onnxruntime_the_extra_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"brightness.onnx needs onnx.*: pip install 'toprung\[export\]'"):
        load(exported)
