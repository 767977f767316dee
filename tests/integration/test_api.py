"""A search from Python, and the notebook that shows it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from search_spaces import InputError
from tests.notebook import executed, kept, shown
from tune.api import Result, search


@pytest.fixture(scope="module")
def result(ray_session: None, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("results")
    return search(
        "digits", recipes=["knn"], trials=4, final_seeds=1, set={"knn.neighbors": "1..9"}, out=str(out), name="api",
        cache=str(cache),
    )  # fmt: skip


def test_a_result_has_the_winner_the_leaderboard_and_the_trials(result: Result) -> None:
    summary = json.loads((result.folder / "report.json").read_text())
    best, test = result.best, summary["recipes"]["knn"]["test"]
    assert (best.recipe, best.accuracy, best.images, best.seeds) == ("knn", test["accuracy"]["mean"], 268, 1)
    assert best.low < best.accuracy < best.high
    assert best.config["neighbors"] in range(1, 10)
    board = result.leaderboard
    assert list(board.index) == [1]
    assert board.loc[1, "test_accuracy"] == best.accuracy
    assert board.loc[1, "trials"] == len(result.trials) == 4
    assert set(result.curves["number"]) == {0, 1, 2, 3}
    assert "knn" in repr(result)
    again = Result.load(result.folder)
    assert again.best == best


def test_the_winner_classifies_pixels_files_and_bytes(result: Result, tmp_path: Path) -> None:
    from PIL import Image

    digits = load_digits()
    images = (digits.images[:40] * 255 / 16).astype(np.uint8)
    predicted = result.predict(images)
    assert np.mean(predicted.astype(int) == digits.target[:40]) > 0.9
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    one = result.predict(tmp_path / "a.png")
    assert one.tolist() == result.predict((tmp_path / "a.png").read_bytes()).tolist() == predicted[:1].tolist()
    assert result.predict(images[0]).tolist() == predicted[:1].tolist()
    colour = np.stack([images] * 3, axis=-1)
    assert result.predict(colour).tolist() == predicted.tolist()
    assert result.predict_proba(images).sum(axis=1) == pytest.approx(1)
    with pytest.raises(InputError, match="an array of float64 with 2 dimensions; give uint8"):
        result.predict([digits.images[0]])


def test_what_is_wrong_is_said_in_the_terms_of_arguments(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no setting 'trails' \(did you mean trials"):
        search("digits", trails=3)
    with pytest.raises(InputError, match="no recipe 'knnn'"):
        search("digits", recipes=["knnn"])
    with pytest.raises(InputError, match=r"^final_seeds 0: "):
        search("digits", final_seeds=0)
    with pytest.raises(InputError, match="no experiment in"):
        Result.load(tmp_path / "none")


def test_importing_it_is_light() -> None:
    heavy = "{'torch', 'ray', 'optuna', 'pandas', 'wandb', 'numpy'}"
    code = f"import sys, tune.api; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.timeout(600)
def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = executed(tmp_path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = [kinds for cell in shown(notebook) for kinds in cell]
    assert any({"application/vnd.plotly.v1+json", "image/png"} <= each for each in kinds), "the curves"
    assert sum("text/html" in each for each in kinds) >= 3, "the tables"
    assert shown(kept()) == shown(notebook), "what is kept in it is of another toprung; renew it: make notebook"
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
