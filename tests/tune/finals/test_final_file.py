"""The file of a tested model is written from its type and read back into it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tune.experiment.report_figures import ModelCost
from tune.experiment.report_json import GridScore
from tune.finals.final_file import FinalRecord, SoupRecord
from tune.finals.finalists import Final
from tune.finals.test_samples import Example

OLD = Path(__file__).parents[2] / "experiments/made_by_0_1/finals"

COST = ModelCost(
    parameters=1, trainable=1, macs=2, weights_mib=0.5, latency_ms=0.1, threads=1, device="processor"
)  # fmt: skip

FINAL = FinalRecord(
    recipe="mlp", config={"lr": 1.0, "layers": 1, "schedule": "cosine"}, val={"loss": 0.5}, test={"loss": 0.25},
    seconds=1.5, classes=2, model=COST, mixed=True, trial=3, seed=1, epoch=2,
    examples=[Example(kind="mistake", name="a\udce4.png", label=0, prediction=1, probability=0.75)],
    curves=[{"loss": 0.5}, {"loss": math.inf}], scores=[GridScore(config={"lr": 1.0}, accuracy=0.5, seconds=1.0)],
)  # fmt: skip


def test_a_final_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "final.json").write_text(FINAL.dump())
    read = FinalRecord.load(tmp_path)
    assert read == FINAL
    assert [type(value) for value in read.config.values()] == [float, int, str]
    tested = Final.load(tmp_path)
    assert tested.folder == tmp_path
    assert all(getattr(tested, name) == value for name, value in vars(FINAL).items())


def test_a_soup_is_read_as_it_was_written(tmp_path: Path) -> None:
    soup = SoupRecord(
        recipe="r", config={}, train_on="train+val", val={}, test={}, seconds=1.0, classes=2,
        kind="greedy", pool=["a", "b"], members=["a"],
    )  # fmt: skip
    (tmp_path / "final.json").write_text(soup.dump())
    assert SoupRecord.load(tmp_path) == soup
    assert SoupRecord.load(tmp_path) != replace(soup, members=["b"])


@pytest.mark.parametrize("name", ["knn-00000-0", "mlp-00003-1"])
def test_the_keys_are_those_of_the_version_before(name: str) -> None:
    content = json.loads((OLD / name / "final.json").read_text())
    assert json.loads(FinalRecord.load(OLD / name).dump()) == content


def test_a_key_that_an_older_version_did_not_write_has_a_default_and_one_of_a_newer_is_read_over(
    tmp_path: Path,
) -> None:
    content = json.loads(FINAL.dump())
    for name in ("train_on", "model", "mixed", "examples", "curves", "scores"):
        del content[name]
    (tmp_path / "final.json").write_text(json.dumps({**content, "later": 1}))
    assert FinalRecord.load(tmp_path) == replace(FINAL, model=None, mixed=False, examples=[], curves=[], scores=[])
