"""The system's clock is set wrong and right again under a running agent, and across a kill."""

from __future__ import annotations

import json
import struct
import subprocess
import time
from pathlib import Path

import pytest

from edgeflow.clock import DOUBT_NS
from edgeflow.units import NS_PER_S
from tests.system.books import check_records, settled
from tests.system.line import Line

DAY_S = 86_400


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What moves the wall clock of a process, and no other."""
    made = tmp_path_factory.mktemp("wall") / "wall.so"
    source = Path(__file__).with_name("wall.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(made), str(source)], check=True)
    return made


def test_a_clock_set_back_for_a_while_brings_no_flood_and_costs_nothing(library: Path, tmp_path: Path) -> None:
    wall = tmp_path / "wall"

    def off_by(seconds: int) -> None:
        with wall.open("r+b" if wall.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))

    off_by(0)
    line = Line(tmp_path / "line", speed=4.0, held=True)
    line.environment |= {"LD_PRELOAD": str(library), "WALL_OFFSET": str(wall)}
    with line:
        line.start().produce(running=True)
        time.sleep(3)
        begun_s, before = time.monotonic(), len(line.records())
        off_by(-30 * DAY_S)
        time.sleep(5)
        line.agent.kill()
        line.agent.start()
        restarted_s = time.monotonic()
        line.ready()
        time.sleep(3)
        off_by(0)
        wrong_s = time.monotonic() - restarted_s
        time.sleep(5)
        settled(line, line.produce(running=False))
        records = line.records()
        check_records(records)
        assert len(records) - before < 20 + 2 * (time.monotonic() - begun_s)
        said = [json.loads(row) for row in line.agent.log.read_text().splitlines() if row.startswith("{")]
        followed = [row for row in said if "clock was set" in row["event"] and row["direction"] == "back"]
        assert not followed or wrong_s > DOUBT_NS / NS_PER_S, "a clock that was wrong for a moment only is not followed"
