"""The path from settings to the data of a search."""

from dataclasses import fields

import pytest
import torch

from trainables.data import DataSpec
from tune.cli.flags import resumed_with
from tune.experiment.environment import environment
from tune.experiment.input_variants import input_variants_of, spec_of
from tune.settings.settings import make


def test_every_setting_of_the_data_reaches_the_spec() -> None:
    given = {
        "image_size": 48,
        "variant": "box",
        "image_column": "jpg",
        "label_column": "kind",
        "box_column": "where",
        "normalize_classes": True,
        "drop_unseen_classes": True,
        "split": ("rest", 10.0, 0.0),
        "group_by": "x",
        "limit": 50,
        "seed": 7,
        "on_bad_image": "skip",
    }
    settings = make({"data": "parquet:/x/*.parquet", **given})
    specs = [spec_of(settings, input_variant) for input_variant in input_variants_of(None, settings)]
    assert specs == [DataSpec(source="parquet:/x/*.parquet", **given)]
    assert {field.name for field in fields(DataSpec)} == {"source", *given}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a head without a GPU")
def test_the_environment_of_a_cluster_can_be_noted_on_a_head_without_gpu() -> None:
    assert environment("cuda", 1)["device"] == "cuda"


def test_a_search_may_go_on_at_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = make({"name": "x", "address": "10.0.0.1:6379"})
    assert resumed_with(before, {}).address == "local"
    assert resumed_with(before, {"address": "auto"}).address == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert resumed_with(before, {}).address == "10.0.0.2:6379"
