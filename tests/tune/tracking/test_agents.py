"""The GPUs of a sweep's agents."""

import pytest

from search_spaces import InputError
from tune.tracking.agents import gpus_of


@pytest.mark.parametrize(
    ("given", "expected"), [("none", [""]), ("all", ["0", "2", "3"]), ("2,0", ["2", "0"]), (" 3 ,", ["3"])]
)
def test_each_gpu_that_is_named_gets_an_agent(given: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,3")
    assert gpus_of(given) == expected


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    with pytest.raises(InputError, match="--gpus 1,2: no GPU 1; there are 0, 2; write all, none, or numbers"):
        gpus_of("1,2")
    with pytest.raises(InputError, match="no GPU named"):
        gpus_of(",")
