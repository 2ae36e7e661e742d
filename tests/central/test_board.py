from __future__ import annotations

from edgeflow.central.board import Board
from edgeflow.central.fleet import Gateway
from edgeflow.clock import SystemClock
from edgeflow.store.wire import WireRecord
from edgeflow.web.live import Hub


def live(key: str, text: str) -> WireRecord:
    return WireRecord(stream="s", key=key, version=1, at="2026-11-20T06:00:00.000Z", data={"text": text})


def test_a_live_value_that_is_too_large_is_passed_over() -> None:
    board, gateway = Board(Hub(SystemClock())), Gateway("line1", "", 0, 0)
    board.live(gateway, live("small", "x" * 60_000))
    board.live(gateway, live("large", "x" * 70_000))
    assert list(board.hub.values) == ["live/line1/s/small"]
    assert [key for _, key in gateway.live] == ["small"]
