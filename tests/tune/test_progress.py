"""What the screen says of a search."""

import pytest

from tune.progress import seconds_left
from tune.record import Record, State
from tune.settings import make


def record(number: int, recipe: str, state: State, *seconds: float) -> Record:
    epochs = [{"epoch": epoch, "seconds": each} for epoch, each in enumerate(seconds, start=1)]
    return Record(
        number=number, recipe=recipe, config={}, seed=0, params={}, distributions={}, state=state, epochs=epochs
    )


def test_the_time_left_goes_by_recipe() -> None:
    settings = make({"recipes": "knn,mlp", "trials": 8})
    assert seconds_left([record(0, "knn", "complete", 1.0)], settings) is None
    records = [
        record(0, "knn", "complete", 1.0),
        record(1, "mlp", "complete", 10.0, 10.0),
        record(2, "knn", "pruned", 3.0),
        record(3, "mlp", "running", 5.0),
    ]
    assert seconds_left(records, settings) == pytest.approx(2 * 2.0 + 2 * 20.0 + 15.0)
