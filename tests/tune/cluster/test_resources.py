import pytest

from search_spaces import InputError
from tune.cluster.resources import FRESH_S, Slots, allot, this_machine
from tune.settings.settings import make

LAPTOP = {"CPU": 8.0}
SERVER = {"CPU": 32.0, "GPU": 4.0}


def test_trials_fill_the_cores_of_a_machine_without_gpus() -> None:
    assert allot(make({}), [LAPTOP]).concurrent == 8
    assert allot(make({"cpus_per_trial": 3}), [LAPTOP]).concurrent == 2
    assert allot(make({"cpus_per_trial": 0.5}), [LAPTOP]).concurrent == 16


def test_where_there_are_gpus_a_trial_gets_one_and_parts_share_it() -> None:
    whole = allot(make({}), [SERVER])
    assert (whole.gpus, whole.concurrent, whole.device) == (1.0, 4, "cuda")
    assert allot(make({"gpus_per_trial": 0.25}), [SERVER]).concurrent == 16
    assert allot(make({"gpus_per_trial": 0.1}), [{"CPU": 64.0, "GPU": 1.0}]).concurrent == 10
    assert allot(make({"gpus_per_trial": 0}), [SERVER]).device == "cpu"


def test_a_trial_does_not_reach_over_two_gpus() -> None:
    assert allot(make({"gpus_per_trial": 0.6}), [SERVER]).concurrent == 4


def test_a_trial_stays_within_a_node() -> None:
    assert allot(make({"cpus_per_trial": 5}), [LAPTOP, LAPTOP]).concurrent == 2


def test_concurrency_can_be_lowered_only() -> None:
    assert allot(make({"concurrent": 3}), [LAPTOP]).concurrent == 3
    assert allot(make({"concurrent": 99}), [LAPTOP]).concurrent == 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gpus_per_trial": 0.5}, "--gpus-per-trial 0.5: no node has more than 0 GPUs"),
        ({"cpus_per_trial": 9}, "--cpus-per-trial 9: no node has more than 8 CPUs"),
    ],
)
def test_a_request_that_no_node_can_meet_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        allot(make(values), [LAPTOP])


def test_a_node_must_have_both_the_cores_and_the_gpu() -> None:
    with pytest.raises(InputError, match="no node has both 8 cores and 1 GPUs"):
        allot(make({"cpus_per_trial": 8, "gpus_per_trial": 1}), [LAPTOP, {"CPU": 4.0, "GPU": 1.0}])


def test_what_an_autoscaler_can_start_counts() -> None:
    grown = allot(make({"gpus_per_trial": 1}), [LAPTOP], startable=[SERVER] * 10)
    assert (grown.gpus, grown.concurrent) == (1.0, 40)
    with pytest.raises(InputError, match="no node has more than 0 GPUs"):
        allot(make({"gpus_per_trial": 1}), [LAPTOP], startable=[LAPTOP])


def test_this_machine_has_a_core() -> None:
    assert this_machine()["CPU"] >= 1


def test_slots_are_those_of_the_cluster_by_now() -> None:
    nodes, now = [LAPTOP], [0.0]
    slots = Slots(make({"address": "auto"}), 8, lambda: (nodes, []), lambda: now[0])
    assert slots() == 8
    nodes.append(LAPTOP)
    assert slots() == 8, "it is not asked again at once"
    now[0] += 2 * FRESH_S
    assert slots() == 16
    nodes[:] = [{"CPU": 0.0}]
    now[0] += 2 * FRESH_S
    assert slots() == 16, "none can run now, and the next that joins is as good as the last"
    assert Slots(make({"address": "local"}), 3)() == 3
