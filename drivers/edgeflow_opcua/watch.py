"""One watch: the points of a device pushed as they change, and the heartbeat that proves the server lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from asyncua import ua

from edgeflow.driver import Column, Push
from edgeflow.errors import Rejected
from edgeflow.model import BAD, UNCERTAIN
from edgeflow.units import NS_PER_S
from edgeflow_opcua.binary import Published
from edgeflow_opcua.calls import Calls
from edgeflow_opcua.changes import columns_of
from edgeflow_opcua.condition import Conditions
from edgeflow_opcua.event import Events
from edgeflow_opcua.history import History
from edgeflow_opcua.item import Item, items_of
from edgeflow_opcua.pulse import PATIENCE, Beat
from edgeflow_opcua.server import Server
from edgeflow_opcua.settings import Device, Point
from edgeflow_opcua.structure import names_of
from edgeflow_opcua.value import Fault, status_name
from edgeflow_opcua.wire import Late

log = structlog.get_logger(__name__)

_ASK_S = 10.0
_TRY_REFUSED_AGAIN_S = 30.0
_SAVE_S = 60.0
_REFRESH_S = 5.0
_SESSION_SHARE = 3  # a heartbeat at least this often within the session time-out
_FIRST_VALUE_S, _ROUND_S = 3.0, 30.0
_SELDOM_MS = 10_000
_LOST = (UNCERTAIN, "values before it were lost on the way")
_READ_INSTEAD = frozenset(
    {
        "BadTooManyMonitoredItems",
        "BadTooManySubscriptions",
        "BadServiceUnsupported",
        "BadNotSupported",
        "BadNotImplemented",
        "BadOutOfMemory",
        "BadResourceUnavailable",
        "BadMonitoringModeInvalid",
        "BadMonitoredItemFilterUnsupported",
        "BadSubscriptionIdInvalid",
    }
)
"""With these the node may be there all the same."""

Thing = Item | Events | Conditions


class _Job:
    """Something that is done every so often."""

    __slots__ = ("due_at", "every_s", "run")

    def __init__(self, every_s: float, run: Callable[[], Awaitable[None]], due_at: float) -> None:
        self.every_s, self.run, self.due_at = every_s, run, due_at


class Watch:
    """Pushes the points of one device.

    The library says "connected" to a server that hangs or was restarted, and delivers nothing. So the
    server is asked for its time, and each subscription must publish something, a keep-alive at least.
    """

    def __init__(self, server: Server, device: Device, points: Sequence[Point], push: Push) -> None:
        self._server, self._wire, self._device, self._push = server, server.wire, device, push
        self._points = points
        self._things: dict[int, Thing] = {}
        self._conditions: list[Conditions] = []
        self._refused: set[int] = set()
        self._polled: dict[float, list[int]] = {}
        self._last: dict[int, list[Any]] = {}
        self._anew: dict[int, int] = {}
        self._anew_until = 0.0
        self._unheard: set[int] = set()
        self._begun: set[int] = set()
        self._vouched: dict[frozenset[int], tuple[int, ...]] = {}
        self._suspects: dict[int, tuple[Any, int]] = {}
        self._state_fault: Fault | None = None
        self._beat_s = min(device.heartbeat / NS_PER_S, server.wire.session_s / _SESSION_SHARE)
        self._patience_s = PATIENCE * self._beat_s
        self._subscriptions = server.subscriptions.member(device, self._beat_s)
        self._now = asyncio.get_running_loop().time
        self._jobs = [
            _Job(self._beat_s, self._beat, self._now()),
            _Job(_TRY_REFUSED_AGAIN_S, self._try_again, self._now() + _TRY_REFUSED_AGAIN_S),
            _Job(_ROUND_S, self._listen_round, self._now() + _FIRST_VALUE_S),
        ]
        outputs = {i: point for i, point in enumerate(points) if point.output is not None}
        self._calls = Calls(server.methods, outputs, self._push_live)
        self._history = History.of(server, device, points)
        if self._history is not None:
            self._jobs.append(_Job(_SAVE_S, self._save, self._now() + _SAVE_S))
        self._said = False

    async def run(self) -> None:
        """Until cancelled, or LinkDown."""
        self._server.listeners.add(self._called)
        try:
            await self._alive()
            await self._add(range(len(self._points)))
            self._calls.begin()
            while True:
                await self._do_due()
                try:
                    async with asyncio.timeout_at(min(job.due_at for job in self._jobs)):
                        published = await self._subscriptions.arrived.get()
                except TimeoutError:
                    continue
                await self._take(published)
        except Late:
            raise Rejected(f"the server does not answer within {_ASK_S:g} s what is asked to watch it") from None
        finally:
            self._server.listeners.discard(self._called)
            await self._calls.end()
            if self._history is not None:
                self._history.save()
            await self._subscriptions.end()

    def _called(self, *points: Point) -> None:
        """A method's tag shows what was last written."""
        some = [i for i, own in enumerate(self._points) if own.method and own.output is None and own in points]
        if some:
            self._push_live(Column([self._server.held_of(self._points[i]) for i in some], 0, None, tuple(some)))

    async def _save(self) -> None:
        if self._history is not None:
            self._history.save()

    async def _do_due(self) -> None:
        for job in self._jobs:
            if self._now() >= job.due_at:
                job.due_at = max(job.due_at + job.every_s, self._now())
                await job.run()

    # --- what proves life ----------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Says "alive" where the server runs, its clock has advanced, and it still publishes for this device."""
        self._calls.check()
        beat = await self._server.pulse.beat(self._beat_s)
        if beat is None:
            return
        if not self._wire.busy and self._subscriptions.silent(self._patience_s):
            raise self._wire.down("it answers, but its subscription has gone silent")
        for conditions in self._conditions:
            if conditions.asked_at is not None and self._now() > conditions.asked_at + _REFRESH_S:
                self._push(conditions.settled())  # some servers do not say when a refresh has ended
        await self._judge(beat)
        if not beat.advanced:
            return
        if beat.fault and beat.fault[0] is BAD:
            self._push(Column((), beat.time_ns, points=()))  # it lives; its values are another matter
            return
        if holding := self._holding(frozenset(self._subscriptions.publishing(self._patience_s))):
            self._push(Column((), beat.time_ns, points=holding, holds=True))
        else:
            self._push(Column((), beat.time_ns, points=()))

    def _holding(self, heard: frozenset[int]) -> tuple[int, ...]:
        """The points of which the server would have told a change: those in subscriptions that it still publishes.

        What is polled was read lately, or the watch would have ended; what a method was called with does not change.
        """
        known = self._vouched.get(heard)
        if known is None:
            polled = {handle for handles in self._polled.values() for handle in handles}
            indices = {i for i, point in enumerate(self._points) if point.method is not None}
            for handle, thing in self._things.items():
                if handle in polled or self._subscriptions.holding(handle) in heard:
                    indices.update(thing.indices)
            known = self._vouched[heard] = tuple(sorted(indices - self._refused))
        return known

    async def _judge(self, beat: Beat) -> None:
        """A server that does not run gives no values that could be relied on, whatever it publishes."""
        fault, before = beat.fault, self._state_fault
        if fault == before:
            return
        self._state_fault = fault
        log.warning("the server's state", server=self._wire.where, state=fault[1] if fault else "Running")
        if fault and fault[0] is BAD:
            indices = tuple(range(len(self._points)))
            self._push_live(Column([None] * len(indices), 0, None, indices))
        else:
            await self._read_anew(lost=False)
            self._called(*self._points)
            self._calls.show()

    def _push_live(self, column: Column) -> None:
        """A value of a server that does not run carries what its state says."""
        if (fault := self._state_fault) is not None and column.points:
            count = len(column.values)
            if fault[0] is BAD:
                column.values = [None] * count
                column.faults = dict.fromkeys(range(count), fault)
            else:
                column.faults = dict.fromkeys(range(count), fault) | (column.faults or {})
        self._push(column)

    # --- what is watched -----------------------------------------------------------------------------

    async def _try_again(self) -> None:
        if self._refused:
            await self._add(sorted(self._refused))

    async def _add(self, indices: Iterable[int]) -> None:
        """Begins with these points; what the server refuses is BAD, and tried again later."""
        chosen = {index: self._points[index] for index in indices}
        self._refused -= chosen.keys()
        nodes, reasons = await self._resolve({i: point for i, point in chosen.items() if point.method is None})
        variables = {i: node for i, node in nodes.items() if chosen[i].is_variable}
        texts = [i for i in variables if chosen[i].type == "text"]
        found = await names_of(self._wire, [nodes[i] for i in texts], self._by()) if texts else []
        names = dict(zip(texts, found, strict=True))
        items = items_of(self._device, chosen, variables, names, self._server.types)
        history = [item for item in items if item.history]
        await self._fill(history)
        things: list[Thing] = [*items]
        things += [Events(node, i, chosen[i], self._server.types) for i, node in nodes.items() if chosen[i].events]
        conditions = {i: (chosen[i], node) for i, node in nodes.items() if chosen[i].condition}
        if conditions:
            things.append(Conditions(self._server.alarms, conditions))
        handles = dict(zip(self._subscriptions.handles(len(things)), things, strict=True))
        self._things |= handles
        refused = await self._subscribe(handles)
        await self._fill(history)  # what came while the rest was done
        for handle, reason in refused.items():
            reasons |= dict.fromkeys(self._things.pop(handle).indices, reason)
        self._refuse(reasons)
        await self._begin(chosen, [thing for handle, thing in handles.items() if handle not in refused])

    async def _resolve(self, points: Mapping[int, Point]) -> tuple[dict[int, ua.NodeId], dict[int, str]]:
        found = await self._server.addresses.resolve([point.place for point in points.values()], self._by())
        nodes = {i: node for i, node in zip(points, found, strict=True) if isinstance(node, ua.NodeId)}
        return nodes, {i: reason for i, reason in zip(points, found, strict=True) if isinstance(reason, str)}

    async def _subscribe(self, things: Mapping[int, Thing]) -> dict[int, str]:
        """Watches or reads; gives what can be neither."""
        polled = [handle for handle, thing in things.items() if self._device.mode == "poll" and isinstance(thing, Item)]
        rest = things.keys() - set(polled)
        watched = {handle: thing for handle, thing in things.items() if handle in rest}
        refused = await self._subscriptions.add(watched) if watched else {}
        await self._alive()
        self._unheard |= {h for h, one in watched.items() if isinstance(one, Item) and h not in refused}
        instead = {
            handle: name
            for handle, name in refused.items()
            if name in _READ_INSTEAD and isinstance(things[handle], Item)
        }
        if instead and not self._said:
            self._said = True
            answer = next(iter(instead.values()))
            log.warning(
                "the server does not let us subscribe; reading instead",
                server=self._wire.where,
                nodes=len(instead),
                answer=answer,
            )
        self._poll([*polled, *instead])
        return {handle: name for handle, name in refused.items() if handle not in instead}

    async def _fill(self, items: Sequence[Item]) -> None:
        """History comes before what is live."""
        if self._history is None or not items:
            return
        beat = await self._server.pulse.beat(self._beat_s)
        if beat is not None:
            await self._history.fill(items, self._push, beat.time_ns, self._alive)

    async def _begin(self, points: Mapping[int, Point], things: Sequence[Thing]) -> None:
        """What there is to say before anything comes."""
        self._called(*points.values())
        for thing in things:
            if isinstance(thing, Events):
                self._push(Column(["{}"], 0, None, thing.indices))
            elif isinstance(thing, Conditions):
                self._conditions.append(thing)
                await self._refresh(thing)

    async def _refresh(self, conditions: Conditions) -> None:
        """Asks for the state of all conditions, which no event of the past will tell us any more."""
        conditions.refresh_wanted = False
        handle = next((handle for handle, thing in self._things.items() if thing is conditions), -1)
        subscription = self._subscriptions.holding(handle)
        reason = "its subscription is gone"
        if subscription is not None:
            try:
                await self._server.alarms.refresh(subscription, self._by())
            except Rejected as refusal:
                reason = str(refusal)
            else:
                conditions.asked_at = self._now()
                return
        faults: dict[int, Fault] = dict.fromkeys(
            range(len(conditions.indices)), (BAD, f"not known before its next event; {reason}")
        )
        self._push(Column([None] * len(faults), 0, faults, conditions.indices))

    def _refuse(self, reasons: Mapping[int, str]) -> None:
        self._vouched.clear()
        if reasons:
            self._refused |= reasons.keys()
            faults: dict[int, Fault] = dict(enumerate((BAD, reason) for reason in reasons.values()))
            self._push(Column([None] * len(faults), 0, faults, tuple(reasons)))

    async def _alive(self) -> None:
        """Called where something takes its time, so that the heartbeat goes on."""
        beat = self._jobs[0]
        if self._now() >= beat.due_at:
            beat.due_at = self._now() + self._beat_s
            await self._beat()

    def _by(self) -> float:
        return self._now() + _ASK_S

    # --- what is read instead ------------------------------------------------------------------------

    def _poll(self, handles: Sequence[int]) -> None:
        self._vouched.clear()
        for handle in handles:
            item = self._things[handle]
            assert isinstance(item, Item)
            every_s = item.sampling_ms / 1000
            if every_s not in self._polled:
                self._polled[every_s] = []
                self._jobs.append(_Job(every_s, lambda every_s=every_s: self._look(every_s), self._now()))  # type: ignore[misc] # mypy cannot infer a default
            self._polled[every_s].append(handle)

    async def _look(self, every_s: float) -> None:
        """Reads what is read this often; only what has changed is pushed, as by a subscription."""
        changed = []
        for change in await self._read(self._polled[every_s]):
            handle, *held, _ = change
            if self._last.get(handle) != held:
                self._last[handle] = held
                changed.append(change)
        if changed:
            await self._take(Published(0, changes=changed, news=True))

    async def _read_anew(self, *, lost: bool = True) -> None:
        """After a loss that the server cannot make good: what was lost may not change again for a long time."""
        polled = {handle for handles in self._polled.values() for handle in handles}
        those = [handle for handle, thing in self._things.items() if isinstance(thing, Item) and handle not in polled]
        if lost and not self._anew:
            log.warning("what the server published was lost; reading anew", server=self._wire.where, nodes=len(those))
        changes = await self._read(those)
        self._anew.clear()
        await self._take(Published(0, changes=changes, news=True))
        self._anew = {handle: at for handle, _, _, at in changes}
        self._anew_until = self._now() + _ASK_S + self._device.publishing_interval / NS_PER_S

    async def _read(self, handles: Sequence[int]) -> list[tuple[int, Any, int, int]]:
        """What they hold, as it is published."""
        items = [(handle, thing) for handle in handles if isinstance(thing := self._things[handle], Item)]
        data = await self._wire.read([item.node for _, item in items], self._now() + max(self._patience_s, _ASK_S))
        return [
            (handle, value, code, item.moment(source_ns, server_ns))
            for (handle, item), (value, code, source_ns, server_ns) in zip(items, data, strict=True)
        ]

    async def _listen_round(self) -> None:
        """Looks after what says nothing: a server may take an item and never publish it, or lose it later.

        What has published nothing is read. What is found changed from one round to the next, without a word in
        between, is not watched any more, whatever its neighbours do; it is read from then on.
        """
        silent = [handle for handle in self._unheard if handle in self._things]
        changes = await self._read(silent) if silent else []
        found = {handle: (value, code) for handle, value, code, _ in changes}
        dead = [handle for handle in silent if handle in self._suspects and self._suspects[handle] != found[handle]]
        self._suspects = found
        fresh = [change for change in changes if change[0] not in self._begun or change[0] in dead]
        if dead:
            log.warning("the server has stopped to publish some nodes; reading them", nodes=len(dead))
            self._poll(dead)
        if fresh:
            await self._take(Published(0, changes=fresh, news=True))
        polled = {handle for handles in self._polled.values() for handle in handles}
        watched = {
            handle
            for handle, thing in self._things.items()
            if isinstance(thing, Item) and not thing.deadband and thing.sampling_ms <= _SELDOM_MS
        }
        self._begun |= self._things.keys()
        self._unheard = watched - polled

    # --- what arrives --------------------------------------------------------------------------------

    async def _take(self, published: Published) -> None:
        if self._anew:
            published.changes = self._younger(published.changes)
        if self._unheard:
            self._unheard.difference_update(change[0] for change in published.changes)
        columns = columns_of(self._things, published.changes)
        if self._server.types.wanted:  # structures that were not met before
            await self._server.types.learn(self._by())
            columns = columns_of(self._things, published.changes)
        for handle, fields in published.events:
            columns += await self._event(handle, fields)
        for column in columns:
            if published.gap:
                column.faults = dict.fromkeys(range(len(column.values)), _LOST) | (column.faults or {})
            self._push_live(column)
        for conditions in self._conditions:
            if conditions.refresh_wanted or published.gap:
                await self._refresh(conditions)
        if published.ended is not None:
            raise self._wire.down(f"it ended the subscription ({status_name(published.ended)})")
        if published.gap:
            await self._read_anew()

    def _younger(self, changes: list[tuple[int, Any, int, int]]) -> list[tuple[int, Any, int, int]]:
        """Without what was on its way while it was read anew: no value goes back. Not for long: clocks do."""
        if self._now() > self._anew_until:
            self._anew.clear()
        return [change for change in changes if change[3] >= self._anew.get(change[0], 0)]

    async def _event(self, handle: int, fields: Sequence[Any]) -> Sequence[Column]:
        thing = self._things.get(handle)
        if isinstance(thing, Conditions):
            return thing.columns(fields)
        if not isinstance(thing, Events):
            return ()
        columns = thing.columns(fields)
        if self._server.types.wanted:
            await self._server.types.learn(self._by())
            columns = thing.columns(fields)
        for column in columns:
            self._server.keep(self._points[thing.index], column.values[0])
        return columns
