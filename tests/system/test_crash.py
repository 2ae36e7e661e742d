"""Agent and central server are killed and stopped; nothing is lost or doubled, and the lamp is right again."""

from __future__ import annotations

from tests.system.conftest import MakeLine
from tests.system.trials import Figures, balance, central_away, early_kills, killed_lamp, kills, stopped_lamp


def test_kills_of_the_agent_lose_and_double_nothing(make_line: MakeLine) -> None:
    line, figures = make_line(), Figures()
    kills(line, 3, seed=1, figures=figures, pause_s=(0.3, 3.0))
    early_kills(line, 2, seed=1)
    killed_lamp(line, figures)
    stopped_lamp(line, figures)
    balance(line, figures)
    line.agent.stop()


def test_results_wait_for_a_central_server_that_was_stopped_or_killed(make_line: MakeLine) -> None:
    line, figures = make_line(), Figures()
    central_away(line, 5, figures)
    central_away(line, 2, figures, kill=True)
    balance(line, figures)
    line.central.stop()
