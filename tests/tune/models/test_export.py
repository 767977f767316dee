"""Winners as ONNX. Torch's exporter takes 5 to 10 s."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from search_spaces import InputError, recipes
from trainables import Classifier
from trainables.data import TrainData, load_test, load_train
from trainables.inference.onnx_classifier import Card, OnnxClassifier
from trainables.training.conformance import default
from trainables.training.protocol import build_of
from tune.cli import main
from tune.experiment.experiment import Experiment
from tune.experiment.model_folders import recipes_tested
from tune.models.export import CHECKED, LOGIT_TOLERANCE, compare, export, images_of, to_onnx
from tune.models.model_folder import ModelFolder
from tune.models.predict import find, load, predict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(searched: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exports") / "below" / "cnn.onnx"
    exported = export(searched.folder, "plain_cnn", output)
    assert exported.parity.passed
    assert exported.parity.images == 256
    assert exported.parity.difference < 1e-5
    assert exported.file == output
    assert exported.mib == output.stat().st_size / 2**20
    return output


@pytest.fixture
def converted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is converted to `file`, as torch's exporter takes so long."""
    monkeypatch.setattr("tune.models.export.to_onnx", lambda classifier, card: file.read_bytes())


def test_one_file_holds_all_and_says_what_it_is(searched: Experiment, file: Path) -> None:
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    model = onnx.load(file)
    onnx.checker.check_model(model)
    metrics = searched.read("best/plain_cnn/metrics.json")
    card = OnnxClassifier.load(file).card
    assert (card.recipe, card.config) == ("plain_cnn", metrics["config"])
    assert card.classes == [str(digit) for digit in range(10)]
    assert (card.shape, card.variant, card.data) == ([1, 8, 8], "whole", searched.read("data.json")["digest"])


def test_batches_of_any_size_get_the_logits_of_pytorch(searched: Experiment, file: Path) -> None:
    classifier, exported = Classifier.load(searched.folder / "best" / "plain_cnn"), OnnxClassifier.load(file)
    images, _ = load_train(searched.folder, torch.device("cpu")).train.arrays()
    for size in (1, 2, 7, 100):
        np.testing.assert_allclose(exported.logits(images[:size]), classifier.logits(images[:size]), atol=1e-5)


def test_an_exported_file_predicts_what_the_experiment_predicts(
    searched: Experiment, file: Path, tmp_path: Path
) -> None:
    image = (load_digits().images[7] * 255 / 16).round().astype(np.uint8)
    Image.fromarray(image).resize((40, 30)).save(tmp_path / "seven.png")
    (one,), (two,) = (
        predict(model, find([tmp_path]), top=3) for model in (load(file), load(searched.folder, "plain_cnn"))
    )
    assert [name for name, _ in one.ranked] == [name for name, _ in two.ranked]
    assert [share for _, share in one.ranked] == pytest.approx([share for _, share in two.ranked], abs=1e-5)


def test_the_docs_run_an_exported_file_without_toprung(searched: Experiment, file: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
    (block,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "InferenceSession" in code)
    shutil.copy(file, tmp_path / "photos-plain_cnn.onnx")
    for name, number, size in (("a.jpg", 7, (40, 30)), ("b.png", 0, (21, 33))):
        image = (load_digits().images[number] * 255 / 16).round().astype(np.uint8)
        Image.fromarray(image).resize(size).convert("RGB").save(tmp_path / name)
    block += "import sys\nassert not {'torch', 'toprung', 'trainables', 'tune'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-I", "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    model = load(searched.folder, "plain_cnn")
    expected = predict(model, [tmp_path / "a.jpg", tmp_path / "b.png"], top=1)
    assert done.stdout.split() == [prediction.ranked[0][0] for prediction in expected]


def test_another_model_does_not_pass(searched: Experiment, file: Path) -> None:
    classifier = Classifier.load(searched.folder / "best" / "plain_cnn")
    images, _ = load_train(searched.folder, torch.device("cpu")).val.arrays()
    exported = OnnxClassifier.load(file)
    assert compare(classifier, exported, images).passed

    class Shifted(torch.nn.Module):
        def __init__(self, by: torch.Tensor) -> None:
            super().__init__()
            self.by = by

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return classifier.model(images) + self.by  # type: ignore[no-any-return]

    for by in (2e-4, -2e-4):  # added to every logit, so the classes stay the same
        slightly = compare(replace(classifier, model=Shifted(torch.tensor(by))), exported, images)
        assert slightly.difference == pytest.approx(2e-4, rel=0.1)
        assert (slightly.passed, slightly.disagreements, slightly.noise) == (False, 0, 0)
    for by in (torch.eye(10)[0] * 100, torch.full((10,), torch.nan)):
        other = compare(replace(classifier, model=Shifted(by)), exported, images)
        assert not other.passed


@pytest.mark.parametrize("recipe", [recipe for recipe in recipes() if recipe != "knn"])
def test_a_network_of_every_recipe_gives_the_same_logits_exported(recipe: str, digits: TrainData) -> None:
    """Random, but with the statistics of images: with those that a norm begins with, logits are all alike."""
    space, classes = default(recipe, digits), list(digits.classes)
    torch.manual_seed(0)
    model = build_of(recipe)(space, digits.shape).train()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    images, _ = digits.val.arrays()
    model(torch.from_numpy(images))
    classifier = Classifier(model=model.eval(), classes=classes, shape=digits.shape, variant="whole")
    told = {"shape": classifier.image_shape, "variant": "whole", "data": "", "decoding": ""}
    card = Card(recipe=recipe, config=space.active(), classes=classes, **told)  # type: ignore[arg-type]
    exported = OnnxClassifier.load(to_onnx(classifier, card))
    parity = compare(classifier, exported, images[:70])
    assert (parity.images, parity.disagreements) == (70, 0)
    assert parity.difference < 1e-4
    assert np.ptp(exported.logits(images), axis=0).min() > 0.01, "images are not told apart"


class Louder:
    """A classifier with logits that are `times` as large."""

    def __init__(self, times: float, quiet: OnnxClassifier) -> None:
        self.times, self.quiet = np.float32(times), quiet

    def logits(self, images: np.ndarray) -> np.ndarray:
        return self.quiet.logits(images) * self.times


class LouderModel(torch.nn.Module):
    def __init__(self, times: float, quiet: torch.nn.Module) -> None:
        super().__init__()
        self.times, self.quiet = times, quiet

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.quiet(images) * self.times  # type: ignore[no-any-return]


def test_logits_beyond_what_float32_can_hold_are_judged_by_its_own_error(searched: Experiment, file: Path) -> None:
    classifier = Classifier.load(searched.folder / "best" / "plain_cnn")
    images, _ = load_train(searched.folder, torch.device("cpu")).val.arrays()
    louder = replace(classifier, model=LouderModel(1e4, classifier.model))
    same = compare(louder, Louder(1e4, OnnxClassifier.load(file)), images)  # type: ignore[arg-type]
    assert same.difference > LOGIT_TOLERANCE
    assert 0 < same.noise < 1e-6 * same.largest
    assert same.passed
    other = compare(louder, Louder(1e4 * (1 + 1e-4), OnnxClassifier.load(file)), images)  # type: ignore[arg-type]
    assert (other.passed, other.disagreements) == (False, 0)


@pytest.mark.usefixtures("converted")  # to plain_cnn
def test_what_fails_the_comparison_is_not_written(
    searched: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mlp.onnx"
    assert main(["export", str(searched.folder), "--recipe", "mlp", "--output", str(output)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("toprung: mlp was not written: on ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_row_is_exported_with_the_data_that_it_was_shown(
    rows_alone: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An input variant of its own: images that are brighter than those of the search."""
    folder = rows_alone.folder
    input_variant = folder / "views" / "whole-8"
    shutil.copytree(folder / "splits", input_variant / "splits")
    card = rows_alone.read("data.json")
    store = tmp_path / "store"
    shutil.copytree(card["store"], store)
    np.save(store / "images.npy", 255 - np.load(store / "images.npy"))
    (input_variant / "data.json").write_text(json.dumps({**card, "digest": "bright", "store": str(store)}))
    metrics = json.loads((folder / "rows/deep/metrics.json").read_text())
    (folder / "rows/deep/metrics.json").write_text(json.dumps({**metrics, "data": "bright"}))
    monkeypatch.chdir(tmp_path)
    exported = export(folder / "rows" / "deep")
    assert exported.file == Path("alone-deep.onnx")
    assert OnnxClassifier.load(tmp_path / "alone-deep.onnx").card.recipe == "mlp"
    shown = images_of(ModelFolder.find(folder / "rows" / "deep"))
    assert shown.mean() > 128
    assert exported.parity.largest == pytest.approx(
        np.abs(Classifier.load(folder / "rows" / "deep").logits(shown)).max()
    )
    assert main(["export", str(folder / "rows" / "near")]) == 2
    assert capsys.readouterr().err.endswith(f"; export another network: toprung export {folder}/rows/deep\n")
    (input_variant / "data.json").unlink()
    input_variant.rename(tmp_path / "gone")
    assert main(["export", str(folder / "rows" / "deep")]) == 2
    assert "no longer has the data of deep" in capsys.readouterr().err


def test_a_model_that_was_taken_away_has_no_images_to_be_checked_on(searched: Experiment, tmp_path: Path) -> None:
    shutil.copytree(searched.folder / "best" / "mlp", tmp_path / "taken")
    with pytest.raises(InputError, match=r"taken was taken away from its experiment, .*; give the folder inside"):
        export(tmp_path / "taken")


def test_few_images_of_test_are_joined_by_those_of_val_and_train(searched: Experiment, tmp_path: Path) -> None:
    shutil.copytree(searched.folder, tmp_path / "small")
    for split, rows in (("test", 3), ("val", 5), ("train", 20)):
        file = tmp_path / "small" / "splits" / f"{split}.npy"
        np.save(file, np.load(file)[:rows])
    images = images_of(ModelFolder.find(tmp_path / "small"))
    assert len(images) == 28
    tested, _ = load_test(tmp_path / "small", torch.device("cpu")).arrays()
    np.testing.assert_array_equal(images[:3], tested)
    assert len(images_of(ModelFolder.find(searched.folder))) == CHECKED


def test_a_winner_of_a_recipe_from_outside_is_exported(searched_outside: Experiment, tmp_path: Path) -> None:
    """The exporting process does not know the recipe."""
    command = [sys.executable, "-m", "tune.cli", "export", str(searched_outside.folder)]
    done = subprocess.run([*command, "--output", str(tmp_path / "p.onnx")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert OnnxClassifier.load(tmp_path / "p.onnx").card.recipe == "linear"


def test_nearest_neighbours_are_refused_and_the_best_network_is_offered(
    searched: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(searched.folder)]) == 2
    best = next(recipe for recipe in recipes_tested(searched) if recipe != "knn")
    assert capsys.readouterr().err == (
        "toprung: knn cannot be exported: it is no network, but the training images themselves; "
        f"export another network: toprung export {searched.folder}/best/{best}\n"
    )


@pytest.mark.parametrize("step", ["torch.onnx.export", "onnxruntime.InferenceSession.run"])
def test_what_exporter_or_runtime_refuse_is_said_in_a_line(
    searched: Experiment, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand much more")

    if step != "torch.onnx.export":
        request.getfixturevalue("converted")
    monkeypatch.setattr(step, refuse)
    with pytest.raises(
        InputError, match=r"^mlp cannot be exported \(no such operator\); .* toprung export /.*/best/plain_cnn$"
    ):
        export(searched.folder, "mlp", tmp_path / "mlp.onnx")


@pytest.mark.usefixtures("converted")
def test_where_it_cannot_be_written_it_says_so(searched: Experiment, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--output .*cnn\.pt: must end in \.onnx"):
        export(searched.folder, "plain_cnn", tmp_path / "cnn.pt")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--output .*cnn\.onnx: .*; choose a file that can be written"):
        export(searched.folder, "plain_cnn", tmp_path / "file" / "cnn.onnx")


def test_without_the_extra_it_says_how_to_install_it(
    searched: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=r"pip install 'toprung\[export\]'"):
            export(searched.folder, "plain_cnn", tmp_path / "cnn.onnx")
        monkeypatch.undo()


@pytest.mark.usefixtures("converted")
def test_by_default_the_file_is_named_after_experiment_and_recipe(
    searched: Experiment,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(searched.folder), "--recipe", "plain_cnn"]) == 0
    assert "onnxruntime and PyTorch give the same classes, and logits differ by at most" in capsys.readouterr().out
    assert (tmp_path / "done-plain_cnn.onnx").read_bytes() == file.read_bytes()
