"""One line that runs for the trials that leave it as they found it, and lines of their own for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.line import Line

MakeLine = Callable[..., Line]


@pytest.fixture
def make_line(tmp_path: Path) -> Iterator[MakeLine]:
    """Starts a line, the machines held so that the agent's first sample is where counting begins, and lets them go."""
    with ExitStack() as stack:

        def make(speed: float = 4.0) -> Line:
            line = stack.enter_context(Line(tmp_path / "line", speed=speed, held=True)).start()
            line.produce(running=True)
            return line

        yield make


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A line that produces, shared by the tests of a module."""
    with Line(tmp_path_factory.mktemp("line"), speed=2.0, held=True) as line:
        line.start().produce(running=True)
        yield line
