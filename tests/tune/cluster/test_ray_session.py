"""The Ray session of a search on one machine, without Ray."""

import os

import pytest
from rich.console import Console

from tune.cluster.ray_session import ENVIRONMENT, ray_environment, ray_session, variables

NAMES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")


def test_ray_answers_its_own_search_alone_and_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    told: list[list[str]] = []
    for _ in range(2):
        with ray_session(Console(quiet=True), lambda: told.append([os.environ[name] for name in NAMES])):
            assert all(name in os.environ for name in NAMES)
        assert not any(name in os.environ for name in NAMES)
    (mode, token), (_, other) = told
    assert mode == "token"
    assert len(token) == 64
    assert token != other


def test_variables_are_set_for_the_duration_and_those_of_a_person_count(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, *others = ENVIRONMENT
    monkeypatch.setenv(mine, "mine")
    for name in others:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with ray_environment():
        assert {name: os.environ[name] for name in ENVIRONMENT} == {**ENVIRONMENT, mine: "mine"}
    assert dict(os.environ) == before
    with variables({mine: "other", others[0]: "set"}):
        assert (os.environ[mine], os.environ[others[0]]) == ("other", "set")
    assert dict(os.environ) == before


def test_a_second_ctrl_c_leaves_the_token_to_what_ray_does_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # and is taken back after the test
    with monkeypatch.context() as patch:
        patch.setattr("ray.shutdown", interrupted)
        with pytest.raises(KeyboardInterrupt), ray_session(Console(quiet=True), lambda: None):
            pass
    assert all(name in os.environ for name in NAMES)


def test_what_the_environment_says_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ray_session(Console(quiet=True), lambda: None):
        assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
