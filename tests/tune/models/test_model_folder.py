"""The card of a model in its folder."""

import json
import shutil
from pathlib import Path

from tune.models.model_folder import ModelFolder

OLD = Path(__file__).parents[2] / "experiments/made_by_0_1"


def test_the_card_of_a_model_of_the_version_before_is_read(tmp_path: Path) -> None:
    shutil.copytree(OLD / "best/mlp", tmp_path / "mlp")
    content = json.loads((tmp_path / "mlp/metrics.json").read_text())
    trained = ModelFolder.find(tmp_path / "mlp")
    assert trained.card.model_dump() == {
        name: content[name] for name in ("recipe", "config", "model", "variant", "data")
    }
    assert trained.cost == trained.card.model
    assert trained.is_network
    assert not ModelFolder.find(OLD / "best/knn").is_network


def test_a_model_that_was_not_measured_has_no_cost_and_counts_as_a_network(tmp_path: Path) -> None:
    content = json.loads((OLD / "best/knn/metrics.json").read_text())
    del content["model"]
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    trained = ModelFolder.find(tmp_path)
    assert trained.cost is None
    assert trained.is_network
