"""Machine states by number and name."""

from __future__ import annotations

import pytest

from edgeflow.production.states import PACKML, PACKTAGS, States


def test_the_two_numberings_of_packml_name_the_same_seventeen_states() -> None:
    assert set(PACKML.values()) == set(PACKTAGS.values()) - {"undefined"}
    assert len(PACKML) == 17


@pytest.mark.parametrize(("model", "number"), [("packtags", 6), ("packml", 4)])
def test_execute_runs_in_both_numberings(model: str, number: int) -> None:
    assert States(model).read(number) == ("execute", "running")  # type: ignore[arg-type] # a parameter


def test_six_is_complete_by_opc_30060_and_that_is_no_production() -> None:
    assert States("packml").read(6) == ("complete", "stopped")


def test_suspended_is_a_stop_that_can_be_mapped_elsewhere() -> None:
    assert States("packtags").read(5) == ("suspended", "stopped")
    assert States("packtags", {"suspended": "excluded"}).read(5) == ("suspended", "excluded")
    assert States("packtags", {"5": "changeover"}).read(5.0) == ("suspended", "changeover")


def test_names_count_whatever_their_case() -> None:
    assert States("packtags").read("Execute") == ("execute", "running")
    assert States("mtconnect").read("UNAVAILABLE") == ("unavailable", "unknown")
    assert States("machinery").read("NotExecuting") == ("notexecuting", "stopped")


def test_a_signal_may_be_a_boolean() -> None:
    assert [States("signal").read(value)[1] for value in (True, False, 1, 0)] == ["running", "stopped"] * 2


def test_what_no_table_knows_is_unknown() -> None:
    assert States("packtags").read(99) == ("state 99", "unknown")
    assert States("words").read("humming") == ("humming", "unknown")
