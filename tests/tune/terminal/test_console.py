"""The terminal, kept free of the output of libraries."""

import logging

import optuna
import pytest

from tune.terminal.console import quiet_optuna


def test_optuna_is_quiet_for_the_duration_and_its_warnings_remain(caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    ours = logging.getLogger("optuna")
    ours.addHandler(caplog.handler)  # Optuna's own does not pass records on
    try:
        with quiet_optuna():
            optuna.create_study()
            optuna.logging.get_logger("optuna.study").warning("mind this")
        assert caplog.messages == ["mind this"]
        optuna.create_study()
        assert "A new study created" in caplog.messages[-1]
    finally:
        ours.removeHandler(caplog.handler)
