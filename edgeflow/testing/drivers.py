"""The conformance suite for drivers: what every session must do, checked against a real server.

A driver's test declares one `Subject` and runs every check that its capabilities call for:

    SUBJECT = Subject(DRIVER, rig, can=frozenset({"read", "write"}))

    @pytest.mark.parametrize("check", checks(SUBJECT), ids=lambda check: check.__name__)
    async def test_the_driver_keeps_the_contract(check):
        await check(SUBJECT)

`rig` is an async context manager that starts a real server, puts a `Relay` before it, and yields a
`Rig`. A check that cannot apply is named in `exempt` with the reason; nothing is skipped silently.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from edgeflow.driver import Browses, Column, Driver, Home, Reader, Reads, Watches, Writes, poll
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import BAD, Quality, Scalar, ValueType
from edgeflow.testing.described import undescribed
from edgeflow.testing.relay import Relay, until

__all__ = ["Capability", "Check", "Relay", "Rig", "Subject", "checks", "poll_by", "until"]

Capability = Literal["read", "watch", "write", "browse"]
_GRACE_S = 5.0
_MOST_SILENCES = 2
_SHORT_S = 0.3


@dataclass(frozen=True, slots=True)
class Rig:
    """A running server and what is known of it.

    - `link`: how to reach it through `relay`; set its time-outs and heart beats short.
    - `known`: points and the values they hold now; at least three different ones, exact in binary.
    - `change(i, value)`: lets the server itself hold another value of `known[i]`.
    - `other`: a second value for `known[0]`, of the same type.
    - `refused`: a point that the server does not have; None only with the check exempt.
    - `writes`: points and values to write that they do not hold now.
    - `held(i)`: what the server itself holds for `writes[i]` (or was last sent).
    - `refused_write`: a write that the server refuses.
    - `silence_s`: by when a watch must have noticed a hung link with these settings.
    """

    link: BaseModel
    device: BaseModel
    relay: Relay
    known: tuple[tuple[BaseModel, Scalar], ...]
    other: Scalar
    change: Callable[[int, Scalar], Awaitable[None]]
    refused: BaseModel | None = None
    writes: tuple[tuple[BaseModel, Scalar], ...] = ()
    held: Callable[[int], Awaitable[Scalar]] | None = None
    refused_write: tuple[BaseModel, Scalar] | None = None
    silence_s: float = 5.0
    patience_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A driver under test: how its rig is made, what its sessions can do, and written exemptions."""

    driver: Driver[Any, Any, Any]
    rig: Callable[[], AbstractAsyncContextManager[Rig]]
    can: frozenset[Capability]
    exempt: Mapping[str, str] = field(default_factory=dict)


Check = Callable[[Subject], Awaitable[None]]


def checks(subject: Subject) -> list[Check]:
    """The checks for this subject's capabilities, less the exempt ones.

    Raises ValueError where an exemption names no check or gives no reason.
    """
    chosen = [*_ALWAYS, *(check for need, some in _BY_CAPABILITY.items() if need in subject.can for check in some)]
    names = {check.__name__ for check in chosen}
    for name, reason in subject.exempt.items():
        if name not in names or not reason.strip():
            raise ValueError(f"exemption {name!r}: name one of {', '.join(sorted(names))} and give a reason")
    return [check for check in chosen if check.__name__ not in subject.exempt]


# --- what is always checked -------------------------------------------------------------------------


async def every_setting_is_described(subject: Subject) -> None:
    """Forms, lint and reference derive from the descriptions."""
    driver = subject.driver
    bare = [path for model in (driver.link, driver.device, driver.point) for path in undescribed(model)]
    assert not bare, f"without a description: {', '.join(bare)}"
    assert driver.about.strip(), "the driver says nothing about itself"


async def a_session_can_do_what_is_declared(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        protocols: dict[Capability, Any] = {"read": Reads, "watch": Watches, "write": Writes, "browse": Browses}
        found = {name for name, protocol in protocols.items() if isinstance(session, protocol)}
        assert found == subject.can, f"the session can {sorted(found)}, declared is {sorted(subject.can)}"


async def values_are_of_the_declared_type(subject: Subject) -> None:
    async with subject.rig() as rig:
        assert len({repr(value) for _, value in rig.known}) >= 3, "a rig needs three known points that differ"
        for point, value in rig.known:
            declared = subject.driver.value_type(point)
            assert _is_a(value, declared), f"{point!r} holds {value!r}, which is no {declared}"


async def opening_and_closing_leaves_nothing_behind(subject: Subject) -> None:
    """No task, no socket, however often."""
    async with subject.rig() as rig:
        async with _session(subject, rig):
            pass
        await until(lambda: rig.relay.connections == 0, "the first connection is closed")
        tasks, sockets = asyncio.all_tasks(), _sockets()
        for _ in range(3):
            async with _session(subject, rig):
                pass
            await until(lambda: rig.relay.connections == 0, "the connection is closed")
        await until(lambda: not asyncio.all_tasks() - tasks, "no task is left")
        await until(lambda: _sockets() <= sockets, "no socket is left")


async def a_closed_port_is_link_down(subject: Subject) -> None:
    async with subject.rig() as rig:
        await rig.relay.drop()
        error = await _link_down(_open_and_close(subject, rig, _soon(rig.patience_s)), rig.patience_s)
        assert str(error), "LinkDown must say what happened"


# --- reading ----------------------------------------------------------------------------------------


async def reading_gives_values_in_the_order_of_the_points(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        for known in (rig.known, rig.known[::-1], rig.known + rig.known[:1]):
            column = await _read(session, rig, [point for point, _ in known])
            assert column.points is None, "a reader covers all of its points"
            assert not column.faults, f"faults where none are: {column.faults}"
            _same(column.values, [value for _, value in known])


async def reading_again_sees_a_change(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        reader = await session.prepare(rig.device, [point for point, _ in rig.known], _soon(rig.patience_s))
        await poll_by(reader, _soon(rig.patience_s))
        await rig.change(0, rig.other)
        column = await poll_by(reader, _soon(rig.patience_s))
        _same(column.values, [rig.other, *(value for _, value in rig.known[1:])])


async def a_refused_point_is_bad_with_a_reason_and_the_others_are_good(subject: Subject) -> None:
    """At the first read and at every later one; the session lives on."""
    async with subject.rig() as rig, _session(subject, rig) as session:
        assert rig.refused is not None, "the rig names no refused point; write an exemption with the reason"
        first, *rest = rig.known
        points = [first[0], rig.refused, *(point for point, _ in rest)]
        reader = await session.prepare(rig.device, points, _soon(rig.patience_s))
        for _ in range(3):
            column = await poll_by(reader, _soon(rig.patience_s))
            _same(column.values, [first[1], None, *(value for _, value in rest)])
            _only_fault(column.faults, 1)


async def a_hung_server_ends_the_read_by_its_deadline(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        reader = await session.prepare(rig.device, [point for point, _ in rig.known], _soon(rig.patience_s))
        await poll_by(reader, _soon(rig.patience_s))
        rig.relay.hang()
        await _lost(lambda: poll_by(reader, _soon(_SHORT_S)), _SHORT_S)


async def a_server_that_hangs_at_the_start_ends_by_the_deadline(subject: Subject) -> None:
    async def open_and_read() -> None:
        async with subject.driver.open(rig.link, _soon(_SHORT_S), Home()) as session:
            reader = await session.prepare(rig.device, [rig.known[0][0]], _soon(_SHORT_S))
            await poll_by(reader, _soon(_SHORT_S))

    async with subject.rig() as rig:
        rig.relay.hang()
        await _link_down(open_and_read(), 3 * _SHORT_S)


async def a_dropped_server_ends_the_read_at_once(subject: Subject) -> None:
    """Long before the deadline: the socket says so."""
    async with subject.rig() as rig, _session(subject, rig) as session:
        reader = await session.prepare(rig.device, [rig.known[0][0]], _soon(rig.patience_s))
        rig.relay.hang()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_link_down(poll_by(reader, _soon(600.0)), rig.patience_s))
            await asyncio.sleep(0)
            await rig.relay.drop()
        assert str(waiting.result()), "LinkDown must say what happened"


async def a_dead_session_stays_dead(subject: Subject) -> None:
    """After LinkDown neither a late answer nor a recovered server gives it values again."""
    async with subject.rig() as rig, _session(subject, rig) as session:
        reader = await session.prepare(rig.device, [rig.known[0][0]], _soon(rig.patience_s))
        rig.relay.hang()
        await _lost(lambda: poll_by(reader, _soon(_SHORT_S)), _SHORT_S)
        rig.relay.resume()
        for _ in range(3):
            await _link_down(poll_by(reader, _soon(_SHORT_S)), _SHORT_S)


async def a_late_answer_never_becomes_a_value(subject: Subject) -> None:
    """What was asked before the change and answered after it is never shown as the present."""
    async with subject.rig() as rig:
        point = rig.known[0][0]
        async with _session(subject, rig) as session:
            reader = await session.prepare(rig.device, [point], _soon(rig.patience_s))
            rig.relay.hang()
            await _lost(lambda: poll_by(reader, _soon(_SHORT_S)), _SHORT_S)
        await rig.change(0, rig.other)
        rig.relay.resume()
        async with _session(subject, rig) as session:
            for _ in range(3):
                _same((await _read(session, rig, [point])).values, [rig.other])


# --- watching ---------------------------------------------------------------------------------------


async def watching_pushes_the_present_values_and_every_change(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        latest = _Latest()
        async with _watching(session, rig, [point for point, _ in rig.known], latest):
            await until(lambda: len(latest.values) == len(rig.known), "every value is pushed", rig.patience_s)
            _same([latest.values[i] for i in range(len(rig.known))], [value for _, value in rig.known])
            await rig.change(0, rig.other)
            await until(lambda: latest.values[0] == rig.other, "the change is pushed", rig.patience_s)
            assert not latest.faults, f"faults where none are: {latest.faults}"


async def a_refused_point_in_a_watch_is_bad_with_a_reason_and_the_others_are_good(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        assert rig.refused is not None, "the rig names no refused point; write an exemption with the reason"
        first, *rest = rig.known
        points = [first[0], rig.refused, *(point for point, _ in rest)]
        latest = _Latest()
        async with _watching(session, rig, points, latest):
            await until(lambda: len(latest.values) == len(points), "every point is pushed", rig.patience_s)
            _same([latest.values[i] for i in range(len(points))], [first[1], None, *(value for _, value in rest)])
            _only_fault(latest.faults, 1)


async def ending_a_watch_leaves_no_task_behind(subject: Subject) -> None:
    async with subject.rig() as rig:
        tasks = asyncio.all_tasks()
        async with _session(subject, rig) as session:
            latest = _Latest()
            async with _watching(session, rig, [rig.known[0][0]], latest):
                await until(lambda: latest.values, "a value is pushed", rig.patience_s)
        await until(lambda: rig.relay.connections == 0, "the connection is closed")
        await until(lambda: not asyncio.all_tasks() - tasks, "no task is left")


async def a_dropped_server_ends_the_watch_with_link_down(subject: Subject) -> None:
    await _watch_ends(subject, lambda rig: rig.relay.drop(), lambda rig: rig.patience_s)


async def a_hung_server_ends_the_watch_with_link_down(subject: Subject) -> None:
    async def hang(rig: Rig) -> None:
        rig.relay.hang()

    await _watch_ends(subject, hang, lambda rig: rig.silence_s)


# --- writing ----------------------------------------------------------------------------------------


async def what_is_written_is_what_the_server_holds(subject: Subject) -> None:
    """By the server's own word, one by one and all in one call; and by a read where there is one."""
    async with subject.rig() as rig, _session(subject, rig) as session:
        assert rig.writes, "the rig names nothing to write"
        assert rig.held is not None, "the rig cannot say what the server holds"
        points, values = [point for point, _ in rig.writes], [value for _, value in rig.writes]
        await session.write(rig.device, points[:1], values[:1], _soon(rig.patience_s))
        await _holds(rig, values[:1])
        await session.write(rig.device, points, values, _soon(rig.patience_s))
        await _holds(rig, values)
        if "read" in subject.can:
            _same((await _read(session, rig, points)).values, values)


async def a_refused_write_is_rejected_with_a_reason_and_the_session_lives(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        assert rig.refused_write is not None, "the rig names no refused write; write an exemption with the reason"
        point, value = rig.refused_write
        await _rejected(session.write(rig.device, [point], [value], _soon(rig.patience_s)))
        await session.write(rig.device, [rig.writes[0][0]], [rig.writes[0][1]], _soon(rig.patience_s))
        await _holds(rig, [rig.writes[0][1]])


async def nothing_is_written_for_a_missing_value(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        assert rig.held is not None, "the rig cannot say what the server holds"
        before = await rig.held(0)
        await _rejected(session.write(rig.device, [rig.writes[0][0]], [None], _soon(rig.patience_s)))
        _same([await rig.held(0)], [before])


async def a_hung_server_ends_the_write_by_its_deadline(subject: Subject) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        point, value = rig.writes[0]
        rig.relay.hang()
        await _lost(lambda: session.write(rig.device, [point], [value], _soon(_SHORT_S)), _SHORT_S)


_ALWAYS: tuple[Check, ...] = (
    every_setting_is_described,
    a_session_can_do_what_is_declared,
    values_are_of_the_declared_type,
    opening_and_closing_leaves_nothing_behind,
    a_closed_port_is_link_down,
)
_BY_CAPABILITY: dict[Capability, tuple[Check, ...]] = {
    "read": (
        reading_gives_values_in_the_order_of_the_points,
        reading_again_sees_a_change,
        a_refused_point_is_bad_with_a_reason_and_the_others_are_good,
        a_hung_server_ends_the_read_by_its_deadline,
        a_server_that_hangs_at_the_start_ends_by_the_deadline,
        a_dropped_server_ends_the_read_at_once,
        a_dead_session_stays_dead,
        a_late_answer_never_becomes_a_value,
    ),
    "watch": (
        watching_pushes_the_present_values_and_every_change,
        a_refused_point_in_a_watch_is_bad_with_a_reason_and_the_others_are_good,
        ending_a_watch_leaves_no_task_behind,
        a_dropped_server_ends_the_watch_with_link_down,
        a_hung_server_ends_the_watch_with_link_down,
    ),
    "write": (
        what_is_written_is_what_the_server_holds,
        a_refused_write_is_rejected_with_a_reason_and_the_session_lives,
        nothing_is_written_for_a_missing_value,
        a_hung_server_ends_the_write_by_its_deadline,
    ),
}


# --- how the checks are made ------------------------------------------------------------------------


class _Latest:
    """The latest of every pushed point."""

    def __init__(self) -> None:
        self.values: dict[int, Scalar] = {}
        self.faults: dict[int, tuple[Quality, str]] = {}

    def push(self, column: Column) -> None:
        assert not (column.holds and column.values), "what says that values still hold brings none"
        indices: Sequence[int] = range(len(column.values)) if column.holds or column.points is None else column.points
        faults = column.faults or {}
        for at, (index, value) in enumerate(zip(indices, column.values, strict=True)):
            self.values[index] = value
            self.faults.pop(index, None)
            if at in faults:
                self.faults[index] = faults[at]


def _soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def _session(subject: Subject, rig: Rig) -> AsyncIterator[Any]:
    """An open session, whose closing must end in time whatever the server does."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(subject.driver.open(rig.link, _soon(rig.patience_s), Home()))
        try:
            async with asyncio.timeout(rig.patience_s):
                await stack.aclose()
        except TimeoutError:
            raise AssertionError(f"closing took more than {rig.patience_s:g} s") from None


async def _open_and_close(subject: Subject, rig: Rig, deadline: float) -> None:
    async with subject.driver.open(rig.link, deadline, Home()):
        pass


async def poll_by(reader: Reader, deadline: float) -> Column:
    """One whole poll, every request of it by the same deadline (loop time)."""
    return await poll(reader, lambda request: request(deadline))


async def _read(session: Any, rig: Rig, points: Sequence[BaseModel]) -> Column:
    reader = await session.prepare(rig.device, points, _soon(rig.patience_s))
    return await poll_by(reader, _soon(rig.patience_s))


@asynccontextmanager
async def _watching(session: Any, rig: Rig, points: Sequence[BaseModel], latest: _Latest) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.watch(rig.device, points, latest.push))
        yield
        task.cancel()


async def _watch_ends(subject: Subject, end: Callable[[Rig], Awaitable[None]], by: Callable[[Rig], float]) -> None:
    async with subject.rig() as rig, _session(subject, rig) as session:
        latest = _Latest()
        async with asyncio.TaskGroup() as group:
            watch = session.watch(rig.device, [rig.known[0][0]], latest.push)
            group.create_task(_link_down(watch, rig.patience_s + by(rig)))
            await until(lambda: latest.values, "a value is pushed", rig.patience_s)
            await end(rig)


async def _link_down(call: Awaitable[object], by_s: float) -> LinkDown:
    """Runs a call that must end with LinkDown in time; returns the error."""
    try:
        async with asyncio.timeout(by_s + _GRACE_S):
            result = await call
    except LinkDown as error:
        return error
    except TimeoutError:
        raise AssertionError(f"{by_s:g} s and {_GRACE_S:g} s of grace went by without LinkDown") from None
    raise AssertionError(f"LinkDown was due, but the call returned {result!r}")


async def _lost(call: Callable[[], Awaitable[object]], by_s: float) -> LinkDown:
    """Repeats a call that is not answered until it ends with LinkDown, each time by its deadline.

    One lost answer, and another, may be the device's own silence; a third is the link.
    """
    for _ in range(_MOST_SILENCES):
        with suppress(Silent):
            return await _link_down(call(), by_s)
    return await _link_down(call(), by_s)


async def _rejected(call: Awaitable[object]) -> None:
    reason = None
    try:
        await call
    except Rejected as error:
        reason = str(error)
    assert reason is not None, "Rejected was due, but the write was taken"
    assert reason, "Rejected must say what was refused and why"


async def _holds(rig: Rig, values: Sequence[Scalar]) -> None:
    assert rig.held is not None, "the rig cannot say what the server holds"
    for index, value in enumerate(values):
        by = _soon(rig.patience_s)
        while (held := await rig.held(index)) != value and _soon(0) < by:  # noqa: ASYNC110 - a server has no event
            await asyncio.sleep(0.005)
        _same([held], [value])


def _same(found: Sequence[Scalar], wanted: Sequence[Scalar]) -> None:
    """Equal, and of the same type: True is not 1 here, while 3 and 3.0 are both numbers."""
    pairs = list(zip(found, wanted, strict=True))
    right = all(a == b and isinstance(a, bool) == isinstance(b, bool) for a, b in pairs)
    assert right, f"found {list(found)!r}, but the server holds {list(wanted)!r}"


def _only_fault(faults: Mapping[int, tuple[Quality, str]] | None, index: int) -> None:
    assert faults, "the refused point has no fault"
    assert set(faults) == {index}, f"faults at {sorted(faults)}, but only point {index} is refused"
    quality, reason = faults[index]
    assert quality is BAD, f"a refused point is BAD, not {quality!r}"
    assert reason.strip(), "a fault must give its reason"


def _is_a(value: Scalar, declared: ValueType) -> bool:
    kinds: dict[ValueType, tuple[type, ...]] = {
        "boolean": (bool,), "integer": (int,), "number": (int, float), "text": (str,), "bytes": (bytes,),
    }  # fmt: skip
    return isinstance(value, kinds[declared]) and (declared == "boolean" or not isinstance(value, bool))


def _sockets() -> int:
    """How many sockets this process holds open; 0 where the system does not tell."""
    count = 0
    with suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                count += entry.readlink().name.startswith("socket:")
    return count
