"""Rows of the gateway's database: how records, states and calls are written to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class

import structlog

from edgeflow.model import Call, Record
from edgeflow.store import outbox
from edgeflow.store.wire import call_bytes, encode

log = structlog.get_logger(__name__)

LARGEST_RECORD_BYTES = 256 << 10
_INT64 = Struct(">q").pack


def queueable(records: Sequence[Record]) -> list[outbox.Row]:
    """Records as rows of the outbox; one that cannot be written is left out, and told."""
    rows = []
    for record in records:
        if record.status == "live":
            raise ValueError(f"{record.stream}/{record.key} is live and must not be stored")
        try:
            _INT64(record.at)
            row = outbox.Row(record.at, rank(record), encode(record), record.version)
        except (ValueError, OverflowError, StructError) as error:  # one record must not hold up all others
            log.error("a result cannot be written and was dropped", stream=record.stream, reason=str(error))
            continue
        if row.size > LARGEST_RECORD_BYTES:
            log.error("a result is too large and was dropped", flow=record.flow, stream=record.stream, bytes=row.size)
            continue
        rows.append(row)
    return rows


def rank(record: Record) -> int:
    """The place of its class in `outbox.CLASSES`; a single value is a record that speaks of no period."""
    if record.status != "final":
        return 1
    return 0 if record.begin is None else 2


def save_states(connection: sqlite3.Connection, states: Mapping[tuple[str, str], bytes | None]) -> None:
    """(flow, node) -> its state; None removes it."""
    connection.executemany(
        "DELETE FROM node_state WHERE flow = ? AND node = ?", [at for at, state in states.items() if state is None]
    )
    connection.executemany(
        "INSERT INTO node_state VALUES (?, ?, ?) ON CONFLICT (flow, node) DO UPDATE SET state = excluded.state",
        [(*at, state) for at, state in states.items() if state is not None],
    )


def save_good(connection: sqlite3.Connection, good: Mapping[str, Mapping[str, bytes]]) -> None:
    """Flow -> the states of its last good version, in place of those that are kept."""
    connection.executemany("DELETE FROM good_state WHERE flow = ?", [(flow,) for flow in good])
    connection.executemany(
        "INSERT INTO good_state VALUES (?, ?, ?)",
        [(flow, node, state) for flow, states in good.items() for node, state in states.items()],
    )


def save_calls(connection: sqlite3.Connection, calls: Sequence[Call], done: Sequence[str]) -> None:
    """Keeps calls, and forgets those that are done."""
    connection.executemany(
        "INSERT OR IGNORE INTO call (id, call) VALUES (?, ?)", [(call.id, call_bytes(call)) for call in calls]
    )
    connection.executemany("DELETE FROM call WHERE id = ?", [(name,) for name in done])
