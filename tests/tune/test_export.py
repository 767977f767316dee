"""Winners as ONNX. Torch's exporter takes 5 to 10 s."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from search_spaces import InputError
from trainables import Classifier
from trainables._data import load_train
from trainables._onnx import OnnxClassifier
from tune.cli import main
from tune.experiment import Experiment
from tune.export import compare, export
from tune.predict import find, load, predict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(searched: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exports") / "below" / "cnn.onnx"
    exported = export(searched, "plain_cnn", output)
    assert exported.parity.passed
    assert exported.parity.images == 256
    assert exported.parity.difference < 1e-5
    assert exported.file == output
    assert exported.mib == output.stat().st_size / 2**20
    return output


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

    slightly = compare(replace(classifier, model=Shifted(torch.tensor(0.01))), exported, images)
    assert (slightly.outside, slightly.disagreements) == (10 * len(images), 0)
    assert not slightly.passed
    for by in (torch.eye(10)[0] * 100, torch.full((10,), torch.nan)):
        other = compare(replace(classifier, model=Shifted(by)), exported, images)
        assert not other.passed
        assert other.outside >= len(images)


def test_what_fails_the_comparison_is_not_written(
    searched: Experiment,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tune.export.to_onnx", lambda classifier, card: file.read_bytes())  # of another recipe
    output = tmp_path / "mlp.onnx"
    assert main(["export", str(searched.folder), "--recipe", "mlp", "--output", str(output)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("toprung: mlp was not written: on ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nearest_neighbours_are_refused_and_the_best_network_is_offered(
    searched: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(searched.folder)]) == 2
    best = next(recipe for recipe in searched.tested if recipe != "knn")
    assert capsys.readouterr().err == (
        "toprung: knn cannot be exported: it is no network, but the training images themselves; "
        f"export the best network: --recipe {best}\n"
    )


@pytest.mark.parametrize("step", ["torch.onnx.export", "onnxruntime.InferenceSession.run"])
def test_what_exporter_or_runtime_refuse_is_said_in_a_line(
    searched: Experiment, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand much more")

    if step != "torch.onnx.export":
        monkeypatch.setattr("tune.export.to_onnx", lambda classifier, card: file.read_bytes())
    monkeypatch.setattr(step, refuse)
    with pytest.raises(InputError, match=r"^mlp cannot be exported \(no such operator\); .* --recipe plain_cnn$"):
        export(searched, "mlp", tmp_path / "mlp.onnx")


def test_where_it_cannot_be_written_it_says_so(
    searched: Experiment, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune.export.to_onnx", lambda classifier, card: file.read_bytes())
    with pytest.raises(InputError, match=r"--output .*cnn\.pt: must end in \.onnx"):
        export(searched, "plain_cnn", tmp_path / "cnn.pt")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--output .*cnn\.onnx: .*; choose a file that can be written"):
        export(searched, "plain_cnn", tmp_path / "file" / "cnn.onnx")
    monkeypatch.undo()
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=r"pip install 'toprung\[export\]'"):
            export(searched, "plain_cnn", tmp_path / "cnn.onnx")
        monkeypatch.undo()


def test_by_default_the_file_is_named_after_experiment_and_recipe(
    searched: Experiment,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tune.export.to_onnx", lambda classifier, card: file.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(searched.folder), "--recipe", "plain_cnn"]) == 0
    assert "onnxruntime gives the classes of PyTorch, with logits within" in capsys.readouterr().out
    assert (tmp_path / "done-plain_cnn.onnx").read_bytes() == file.read_bytes()
