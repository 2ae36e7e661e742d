from __future__ import annotations

import pytest

from edgeflow.store.rate import FillRate, time_left_ns

S = 1_000_000_000
MINUTE, HOUR = 60 * S, 3600 * S


def test_nothing_is_promised_before_the_first_minute_is_over() -> None:
    rate = FillRate(now_ns=0)
    rate.add(1000, 10 * S)
    assert rate.per_s(59 * S) is None
    assert rate.per_s(MINUTE) == pytest.approx(1000 / 60)


def test_a_steady_stream_gives_its_rate_whatever_the_start() -> None:
    start = 12_345 * S
    rate = FillRate(now_ns=start)
    for second in range(3 * 3600):
        rate.add(50, start + second * S)
    assert rate.per_s(start + 3 * HOUR - S) == pytest.approx(50, rel=1 / 60)


def test_what_is_older_than_an_hour_no_longer_counts() -> None:
    rate = FillRate(now_ns=0)
    rate.add(3_600_000, S)
    assert rate.per_s(30 * MINUTE) == pytest.approx(2000)
    assert rate.per_s(2 * HOUR) == 0


def test_the_time_left_is_the_free_space_over_the_rate() -> None:
    assert time_left_ns(512_000_000, 1000.0) == 512_000 * S
    assert time_left_ns(-5, 1000.0) == 0
    assert time_left_ns(512_000_000, 0.0) is None
    assert time_left_ns(512_000_000, None) is None
