from __future__ import annotations

from edgeflow.devices.flapping import Flapping
from edgeflow.units import NS_PER_S


def test_what_comes_and_goes_is_told_once_until_it_has_been_steady_for_a_minute() -> None:
    flapping = Flapping()
    told = [flapping.lost(at * NS_PER_S) for at in range(100)]
    assert told == ["lost"] * 5 + ["comes and goes"] + [""] * 94
    assert flapping.quiet
    assert flapping.lost(200 * NS_PER_S) == "lost"
    assert not flapping.quiet


def test_what_is_lost_now_and_then_is_told_each_time() -> None:
    flapping = Flapping()
    assert {flapping.lost(at * NS_PER_S) for at in range(0, 3600, 15)} == {"lost"}
    assert not flapping.quiet
