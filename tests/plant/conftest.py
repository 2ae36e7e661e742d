"""Fixtures of the plant's tests: a clock that is told the time, a factory on it, and settings with free ports."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgeflow.plant.factory import Factory
from edgeflow.plant.plant import Settings

NOON_NS = 1_795_176_000_000_000_000  # 2026-11-20T12:00:00Z


@dataclass
class ToldClock:
    """Stands still until it is told to go on."""

    ns: int = NOON_NS
    epoch: int = 0

    def now_ns(self) -> int:
        return self.ns

    def go(self, seconds: float) -> int:
        self.ns += round(seconds * 1e9)
        return self.ns


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock()


@pytest.fixture
def factory(clock: ToldClock) -> Factory:
    return Factory(clock, seed=1)


@pytest.fixture
def settings() -> Settings:
    return Settings(
        truth_port=0, press_port=0, meter_port=0, io_port=0, filler_port=0, mqtt_port=0, speed=10, broker="auto"
    )
