from __future__ import annotations

from itertools import pairwise

import pytest

from edgeflow.errors import Rejected
from edgeflow.plant.light import IoModule, Light, Watchdog

S = 1_000_000_000
RED, AMBER, GREEN = 1, 2, 4
TENTH = S // 10


def test_a_lamp_that_is_toggled_is_seen_flashing_beside_a_steady_one() -> None:
    light = Light(0)
    for i in range(20):
        light.show(10 * S + i * S // 2, GREEN | (RED if i % 2 == 0 else 0))
    assert light.pattern(19 * S) == {"red": "flash", "amber": "off", "green": "on", "blue": "off", "buzzer": "off"}
    assert light.pattern(23 * S)["red"] == "off"


def test_one_change_is_no_flashing() -> None:
    light = Light(0)
    light.show(10 * S, RED)
    assert light.pattern(10 * S)["red"] == "on"
    light.show(15 * S, GREEN)
    assert (light.pattern(15 * S)["red"], light.pattern(15 * S)["green"]) == ("off", "on")


def test_the_patterns_of_an_interval_are_what_was_seen_at_each_moment() -> None:
    light = Light(0)
    for at, bits in ((3.0, RED), (3.5, 0), (4.0, RED), (4.5, 0), (9.0, GREEN), (9.1, GREEN | AMBER)):
        light.show(round(at * S), bits)
    spells = list(light.patterns(1 * S, 12 * S))
    assert (spells[0][0], spells[-1][1]) == (1 * S, 12 * S)
    assert all(a[1] == b[0] and a[2] != b[2] for a, b in pairwise(spells))
    for tenth in range(10, 120):
        at = tenth * TENTH
        assert [p for begin, end, p in spells if begin <= at < end] == [light.pattern(at)]
    assert [(a / S, b / S) for a, b, p in spells if p["red"] == "flash"] == [(3.5, 6.0)]


def test_the_alternative_watchdog_lives_on_every_request_and_returns_with_the_next() -> None:
    dog = Watchdog()
    dog.write(0, 0x1000, 30)
    dog.write(0, 0x100A, 1)
    assert dog.read(0x1006) == 0
    dog.request(1 * S, 3)
    dog.request(3 * S, 1)
    assert not dog.expired(5 * S)
    assert dog.expired(6 * S)
    assert dog.read(0x1006) == 2
    dog.request(20 * S, 15)
    assert dog.read(0x1006) == 1


def test_the_standard_watchdog_is_fed_by_a_changing_trigger_only() -> None:
    dog = Watchdog()
    dog.write(0, 0x1000, 10)
    dog.write(0, 0x1003, 1)
    dog.request(TENTH * 5, 3)
    dog.write(TENTH * 5, 0x1003, 1)
    assert dog.deadline_ns == S
    dog.write(TENTH * 6, 0x1003, 2)
    assert dog.deadline_ns == TENTH * 16
    assert dog.expired(TENTH * 16)
    dog.write(2 * S, 0x1007, 1)
    assert (dog.read(0x1006), dog.deadline_ns) == (1, 3 * S)


def test_the_mask_names_the_function_codes_that_feed_it() -> None:
    dog = Watchdog()
    dog.write(0, 0x1000, 10)
    dog.write(0, 0x1001, 1 << 14)  # function code 15
    dog.write(0, 0x1003, 1)
    dog.request(TENTH * 5, 3)
    assert dog.deadline_ns == S
    dog.request(TENTH * 5, 15)
    assert dog.deadline_ns == TENTH * 15


def test_its_settings_cannot_be_changed_while_it_runs() -> None:
    dog = Watchdog()
    dog.write(0, 0x1003, 1)
    with pytest.raises(Rejected, match="stop the watchdog"):
        dog.write(0, 0x1000, 7)
    dog.write(0, 0x1008, 0xAA55)
    dog.write(0, 0x1000, 7)
    assert (dog.read(0x1000), dog.read(0x1006)) == (7, 0)


def test_the_lamps_go_dark_at_the_moment_the_watchdog_expires() -> None:
    io = IoModule(0)
    io.watchdog.write(0, 0x1000, 20)
    io.watchdog.write(0, 0x1003, 1)
    io.write(S, 0, [True, False, True, False, False])
    io.advance(100 * S)
    assert list(io.light.changes(1, 100 * S)) == [(S, RED | GREEN), (2 * S, 0)]
    with pytest.raises(Rejected, match="expired"):
        io.write(101 * S, 0, [True])
    io.watchdog.write(101 * S, 0x1007, 1)
    io.write(101 * S, 0, [True])
    assert io.light.bits == RED


def test_a_module_that_was_off_comes_back_dark_with_its_watchdog_off() -> None:
    io = IoModule(0)
    io.watchdog.write(0, 0x100A, 1)
    io.watchdog.request(0, 1)
    io.write(S, 0, [True])
    io.power(2 * S, False)
    io.power(3 * S, True)
    assert (io.light.bits, io.watchdog.read(0x1006), io.watchdog.read(0x100A)) == (0, 0, 0)
