"""Agent and central server are killed and stopped; nothing is lost or doubled, and the lamp is right again."""

from __future__ import annotations

from tests.system.conftest import MakeLine
from tests.system.trials import Figures, balance, central_away, early_kills, killed_lamp, kills, stopped_lamp


def test_nothing_is_lost_or_doubled_whoever_is_killed_or_stopped(make_line: MakeLine) -> None:
    line, figures = make_line(), Figures()
    kills(line, 3, seed=1, figures=figures, pause_s=(0.3, 3.0))
    early_kills(line, 2, seed=1)
    killed_lamp(line, figures)
    stopped_lamp(line, figures)
    central_away(line, 4, figures)
    central_away(line, 1, figures, kill=True)
    balance(line, figures)
    line.agent.stop()
    line.central.stop()
