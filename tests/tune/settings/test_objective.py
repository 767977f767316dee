import math

import pytest

from tune.settings.objective import Objective


def test_a_loss_is_minimized_and_other_metrics_are_maximized() -> None:
    assert Objective.of("loss").direction == "minimize"
    assert Objective.of("macro_f1").direction == "maximize"


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 0.9), ("loss", 0.1)])
def test_the_best_value_is_that_in_the_objectives_direction(metric: str, best: float) -> None:
    objective = Objective.of(metric)
    assert objective.best([0.5, 0.9, 0.1]) == best
    assert objective.is_better(best, than=0.5)
    assert not objective.is_better(best, than=best)


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_a_value_that_is_no_number_is_worse_than_any(metric: str) -> None:
    objective = Objective.of(metric)
    for none in (None, math.nan, math.inf, -math.inf):
        assert objective.cost(none) == math.inf
        assert objective.is_better(0.0, than=none)
    assert objective.best([math.nan, 0.3]) == 0.3
