"""Calls that are kept: in the transaction of their tick, until they are done, and exactly as they were."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflow.model import Call, Record
from edgeflow.store.store import FlowPointer, Store
from edgeflow.store.wire import call_bytes, call_of, encode


def call(name: str, request: Any = None) -> Call:
    return Call(name, "flow", "node", "mqtt", {"topic": "t"} if request is None else request, 5, 6, wants_answer=False)


async def test_calls_are_there_in_order_until_they_are_done(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit({}, [], calls=[call("b"), call("a")])
    await store.commit({}, [], calls=[call("c")], done=["b", "unknown"])
    await store.close()
    store = await Store.open(tmp_path / "gateway.db")
    assert await store.calls() == [call("a"), call("c")]
    await store.commit({}, [], done=["a", "c"])
    assert await store.calls() == []
    await store.close()


async def test_a_call_is_kept_together_with_the_state_that_made_it_or_not_at_all(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    bad: Any = {("f", "n"): object()}
    with pytest.raises(Exception, match="object"):
        await store.commit(bad, [], calls=[call("a")])
    assert await store.calls() == []
    await store.close()


async def test_a_database_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit({("f", "n"): b"{}"}, [])
    await store.close()
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        connection.executescript(
            "DROP TABLE call; DROP TABLE good_state; ALTER TABLE outbox RENAME COLUMN class TO final; ALTER TABLE outbox_head DROP COLUMN version; PRAGMA user_version=1"
        )
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit({}, [], calls=[call("a")])
    assert (await store.calls(), await store.states("f")) == ([call("a")], {"n": b"{}"})
    await store.close()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["topic", "payload"]), _VALUES))
def test_a_call_comes_back_as_it_was(request: dict[str, Any]) -> None:
    assert call_of(call_bytes(call("a", request))) == call("a", request)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [90, 300, 900])
def test_no_depth_of_what_came_from_outside_stops_the_writing(levels: int) -> None:
    record = orjson.loads(encode(Record("s", "k", 1, 0, {"answer": nested(levels)})))
    assert (record["stream"], record["data"] == {"answer": nested(levels)}) == ("s", levels == 90)
    kept = call_of(call_bytes(call("a", {"payload": nested(levels)})))
    assert (kept.request["payload"] == nested(levels)) == (levels == 90)


async def test_a_damaged_row_is_left_out_and_the_others_count(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit(
        {}, [], calls=[call("a"), call("b")], pointers=[FlowPointer("i", "f", "v"), FlowPointer("j", "f", "v")]
    )
    await store.close()
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        connection.executescript(
            "UPDATE call SET call='junk' WHERE id='a'; UPDATE flow_pointer SET parameters='junk' WHERE instance='i'"
        )
    store = await Store.open(tmp_path / "gateway.db")
    assert await store.calls() == [call("b")]
    assert (await store.pointers()).keys() == {"j"}
    await store.close()
