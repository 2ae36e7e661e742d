"""The engine: blocks, answers and time in; records, calls and decisions about outputs out."""

from __future__ import annotations

import heapq
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from edgeflow.engine.budget import FLOW_BYTES, NODE_BYTES
from edgeflow.engine.flowrun import MICRO_TICKS, FlowRun
from edgeflow.engine.requests import Requests
from edgeflow.engine.snapshot import dump, load
from edgeflow.engine.step import Step
from edgeflow.errors import Rejected
from edgeflow.flow.compile import Plan
from edgeflow.model import GOOD, Answer, Block, Call, Message, Quality, Record, Value
from edgeflow.node import Answered, Due, Started
from edgeflow.outputs.arbitration import Decision, OutputPlan
from edgeflow.outputs.policy import EVERYTHING, Policy
from edgeflow.units import NS_PER_S

_REPLACED = 1000
_LATE_NS = 10 * NS_PER_S
"""A timer later than that does not catch up."""
_MOST_FED = 200_000
"""So many tags of groups that came in blocks are remembered with who listens to them."""
VERSION_NS = 1_000_000
"""Versions of records count milliseconds of engine time."""
INTERRUPTED = "interrupted by a restart; whether it was carried out is not known"


@dataclass(slots=True)
class Feed:
    """What a block of one tag tuple means for one flow: which step gets which value on which port."""

    flow: FlowRun
    values: tuple[tuple[Step, str, int], ...]
    blocks: tuple[tuple[Step, str], ...]
    order: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """What must reach the disk together, and the calls that may go out once it has."""

    states: dict[tuple[str, str], bytes | None]
    records: list[Record]
    calls: list[Call]


class Engine:
    """Runs flows. Synchronous and pure but for measuring its own cost; knows time only from its inputs.

    After every input take `decisions()`, `calls_now` and `live`, the newest live record per (stream, key); at every
    commit tick take `commit()`.
    """

    def __init__(
        self,
        outputs: Mapping[str, OutputPlan],
        *,
        place: str = "",
        on_fault: Callable[[str, str], None] = lambda instance, reason: None,
        most_timers: int = sys.maxsize,
        policy: Policy = EVERYTHING,
        version: int = 0,
        limited: bool = False,
    ) -> None:
        """`most_timers`: how many may fire in one input, so that catching up with a clock that was far
        behind does not hold up everything else; the rest fires with the next ones. `version`: the highest that
        any record had before, so that none is lower, whatever the clock was then. `limited`: whether flows have to
        share the time of this process (`budget.py`); a replay takes as much as it can get.
        """
        self.limited = limited
        self.place = place
        self._most_timers = most_timers
        self.now = self.horizon = 0
        self.flows: dict[str, FlowRun] = {}
        self.requests = Requests(outputs, policy)
        self.records: list[Record] = []
        self.live: dict[tuple[str, str], Record] = {}
        self.calls_now: list[Call] = []
        self.calls_after_commit: list[Call] = []
        self.waiting: dict[str, Step] = {}
        self.blocks = self.faults = 0
        self._on_fault = on_fault
        self._due: list[tuple[int, int, Step, str]] = []
        self._due_most = _REPLACED
        self._feeds: dict[int, tuple[tuple[str, ...], tuple[Feed, ...]]] = {}
        self._feeds_size = 0
        self._proved_ns: dict[str, int] = {}
        self._serial, self._version = 0, version
        self._gone: set[tuple[str, str]] = set()

    # inputs

    def block(self, block: Block) -> None:
        """Ticks every flow that listens to one of its tags."""
        if self._due and self._due[0][0] <= block.read_ns:
            self.advance(block.read_ns)
        elif block.read_ns > self.now:
            self.now = block.read_ns
        self.blocks += 1
        if block.holds:
            self._proved_ns[block.device] = max(block.source_ns, self._proved_ns.get(block.device, 0))
        tags = block.tags
        known = self._feeds.get(id(tags))
        for feed in known[1] if known else self._plan_feeds(block):
            flow = feed.flow
            if not flow.fault and (flow.busy_ns <= flow.budget.allowed_ns or self._affords(flow)):
                self._feed(feed, block)

    def _affords(self, flow: FlowRun) -> bool:
        """Whether a flow may have an input though it has used up what it may take at once."""
        try:
            return not flow.overdrawn()
        except RuntimeError as error:
            self._quarantine(flow, error)
            return False

    def _feed(self, feed: Feed, block: Block) -> None:
        flow, at, values = feed.flow, block.source_ns, block.values
        if self._proved_ns and not block.late:  # what was vouched for until then stays as it was
            at = max(at, self._proved_ns.get(block.device, 0))
        begun = flow.begin()
        if not block.late:
            flow.last_at = at
        try:
            faults = block.faults
            for step, port, i in () if block.late else feed.values:
                quality = faults[i][0] if faults and i in faults else GOOD
                step.take(Message(values[i], quality, at), port)
            if feed.blocks and not block.holds:
                worst = min(q for q, _ in faults.values()) if faults and len(faults) == len(values) else GOOD
                for step, port in feed.blocks:
                    step.take(Message(block, worst, at), port)
            flow.settle(feed.order)
        except Exception as error:  # noqa: BLE001 - a flow's fault is contained in the flow
            self._quarantine(flow, error)
        flow.end(begun)

    def _plan_feeds(self, block: Block) -> tuple[Feed, ...]:
        tags, feeds = block.tags, []
        place = {tag: i for i, tag in enumerate(tags)}
        for flow in self.flows.values():
            values: list[tuple[Step, str, int]] = []
            blocks: list[tuple[Step, str]] = []
            for step, node in zip(flow.steps, flow.plan.nodes, strict=True):
                for port, tag in node.listens.items():
                    if tag in place:
                        values.append((step, port, place[tag]))
                    elif tag == f"{block.device}/*":
                        blocks.append((step, port))
            if values or blocks:
                order = flow.downstream([*(v[0] for v in values), *(b[0] for b in blocks)])
                feeds.append(Feed(flow, tuple(values), tuple(blocks), order))
        self._feeds_size += len(tags) + 1
        if self._feeds_size > _MOST_FED:  # what is pushed comes in ever new groups
            self._feeds.clear()
            self._feeds_size = len(tags) + 1
        self._feeds[id(tags)] = (tags, tuple(feeds))
        return self._feeds[id(tags)][1]

    def answer(self, answer: Answer) -> None:
        """Hands the answer of a call to the node that made it; one that nobody waits for is dropped."""
        step = self.waiting.pop(answer.call, None)
        made = step.calls.pop(answer.call, None) if step else None
        if step is None or made is None or step.kind.answered is None or not self._works(step.flow):
            return
        self.now = max(self.now, answer.at)
        key, run = made
        self._handle(step, run, answer.at or self.now, step.kind.answered, Answered(key, answer))

    def message(self, instance: str, node: str, port: str, value: Value, at: int, quality: Quality = GOOD) -> None:
        """Puts a message on an input port from outside (an operator's action, a webhook).

        Raises Rejected where there is no such flow, node or port.
        """
        flow = self.flows.get(instance)
        step = flow.by_name.get(node) if flow else None
        if flow is None or step is None or port not in flow.plan.nodes[step.index].inputs:
            raise Rejected(f"there is no input {instance}/{node}.{port}")
        if flow.fault:
            raise Rejected(f"the flow {instance} is quarantined: {flow.fault}")
        self.now = max(self.now, at)
        begun = flow.begin()
        try:
            step.take(Message(value, quality, at), port)
            flow.settle(flow.downstream([step]))
        except Exception as error:  # noqa: BLE001 - a flow's fault is contained in the flow
            self._quarantine(flow, error)
        flow.end(begun)

    def _works(self, flow: FlowRun) -> bool:
        """Whether a flow is the one that runs, and not one that was swapped out or stopped by a fault."""
        return not flow.fault and self.flows.get(flow.plan.instance) is flow

    def advance(self, now_ns: int) -> None:
        """Moves time on: fires every timer due by then, in order, and ends leases.

        Nothing catches up instant by instant: a timer that is late fires once for its own instant, and what it then
        asks for that is long past too comes once, for now.
        """
        self.horizon = max(self.horizon, now_ns)
        last = fired = still = 0
        while self._due and self._due[0][0] <= now_ns and fired < self._most_timers:
            at, _, step, key = heapq.heappop(self._due)
            if not self._awaited(at, 0, step, key):
                continue
            timer = step.timers.pop(key)
            self.now = max(self.now, at)
            fired, still = fired + 1, still + 1 if at <= last else 0
            last = max(last, at)
            if still > MICRO_TICKS:
                step.flow.stepping = step
                self._quarantine(step.flow, RuntimeError("asks to be woken at the same instant again and again"))
            elif step.kind.due is not None:
                self._handle(step, timer.run, at, step.kind.due, Due(key, at))
        self.now = max(self.now, now_ns)
        end = self.requests.next_end()
        if end is not None and end <= self.now:
            self.requests.ended(self.now)

    def clock_set(self, now_ns: int) -> None:
        """The clock was ahead, or behind, and has been set right; leases last as long as they were to.

        Set back, timers move with it: what was to happen so long from now still is. Set forward they stand:
        what was due meanwhile is due now.
        """
        step = now_ns - self.now
        self.now = now_ns
        if step < 0:
            self.horizon = now_ns
            due, self._due = self._due, []
            for at, _, owner, key in due:
                if self._awaited(at, 0, owner, key):
                    owner.timers[key].at = at + step
                    self.schedule(at + step, owner, key)
        self.requests.shift(step)

    def next_due(self) -> int | None:
        """The UTC instant by which `advance` should be called next."""
        ends = self.requests.next_end()
        times = [self._due[0][0]] if self._due else []
        if ends is not None:
            times.append(ends)
        return min(times, default=None)

    def _handle(self, step: Step, run: int, at: int, handler: Callable[..., None], event: object) -> None:
        flow = step.flow
        begun = flow.begin(run)
        flow.stepping = step
        step.at = at
        step.steps += 1
        try:
            handler(step.plan, step.state, event, step)
            step.at = 0
            flow.settle(flow.downstream([step]))
        except Exception as error:  # noqa: BLE001 - a flow's fault is contained in the flow
            self._quarantine(flow, error)
        flow.end(begun)

    def _quarantine(self, flow: FlowRun, error: Exception) -> None:
        """Stops a flow whose node raised; its outputs go safe, the others go on."""
        step = flow.stepping
        places = traceback.extract_tb(error.__traceback__)
        where = f" (line {places[-1].lineno} of {places[-1].name})" if places else ""
        node = f"node {step.name!r} ({step.kind.kind})" if step else "the flow"
        flow.fault = f"{node} failed: {type(error).__name__}: {error}{where}"
        flow.pending.clear()
        for each in flow.steps:
            each.ready = False
            each.holds.clear()
        self.faults += 1
        self.requests.drop_flow(flow.plan.instance)
        self._on_fault(flow.plan.instance, flow.fault)

    # flows

    def deploy(
        self, plan: Plan, saved: Mapping[str, bytes], now_ns: int, why: Literal["first", "restart", "redeploy"]
    ) -> dict[str, str]:
        """Starts a flow, or swaps it for a new version; takes over the states in `saved` by node and shape.

        Calls that are under way are answered to the new version; those of another life of the process are
        `INTERRUPTED`. Returns, per node whose state began anew, the reason. Raises Rejected, and leaves
        everything as it was, where the new version fails while it starts.
        """
        self.now = max(self.now, now_ns)
        old = self.flows.get(plan.instance)
        flow = FlowRun(plan, self)
        lost = {}
        for step in flow.steps:
            if step.name in saved and (reason := load(step, saved[step.name])):
                lost[step.name] = reason
        mark = len(self.records), len(self.calls_now), len(self.calls_after_commit)
        under_way = {call: step for call, step in self.waiting.items() if step.flow is old}
        self.requests.drop_flow(plan.instance)
        self.flows[plan.instance] = flow
        try:
            self._start(flow, why)
        except Exception as error:
            del self.records[mark[0] :], self.calls_now[mark[1] :], self.calls_after_commit[mark[2] :]
            self.requests.drop_flow(plan.instance)
            self.waiting = {call: step for call, step in self.waiting.items() if step.flow is not flow}
            if old:
                self.flows[plan.instance] = old
                self._hold_again(old)
                self.waiting |= under_way
            else:
                del self.flows[plan.instance]
            node = flow.stepping.name if flow.stepping else "?"
            raise Rejected(f"node {node!r} failed while starting: {type(error).__name__}: {error}") from error
        self._feeds.clear()
        self._feeds_size = 0
        if old:
            gone = old.by_name.keys() - flow.by_name.keys()
            self._gone |= {(plan.instance, name) for name in gone}
        self._gone -= {(plan.instance, name) for name in flow.by_name}
        return lost

    def _start(self, flow: FlowRun, why: Literal["first", "restart", "redeploy"]) -> None:
        self._hold_again(flow)
        flow.begin()
        for step in flow.steps:
            for key, timer in step.timers.items():
                self.schedule(timer.at, step, key)
            if step.kind.started is not None:
                flow.stepping, step.at = step, self.now
                step.kind.started(step.plan, step.state, Started(why, self.now), step)
                step.at = 0
        flow.settle(tuple(flow.steps))
        for step in flow.steps:
            for call, (key, _) in list(step.calls.items()):
                if call in self.waiting:
                    self.waiting[call] = step
                    continue
                del step.calls[call]
                if step.kind.answered is not None:
                    flow.stepping, step.at = step, self.now
                    answer = Answer(call, ok=False, error=INTERRUPTED, at=self.now)
                    step.kind.answered(step.plan, step.state, Answered(key, answer), step)
                    step.at = 0
                    flow.settle(flow.downstream([step]))

    def _hold_again(self, flow: FlowRun) -> None:
        for step in flow.steps:
            for output, held in step.holds.items():
                if held.lease_end is not None and held.since > self.now:  # made when the clock was ahead
                    length = held.lease_end - held.since
                    step.holds[output] = replace(held, since=self.now, lease_end=self.now + length)
                self.requests.put(step.holds[output])

    def remove(self, instance: str) -> None:
        """Stops a flow for good: its requests and saved states go."""
        flow = self.flows.pop(instance)
        self._gone |= {(instance, name) for name in flow.by_name}
        self.requests.drop_flow(instance)
        self._feeds.clear()

    def snapshot(self, instance: str) -> dict[str, bytes]:
        """Every node of a flow as it would be saved now; raises Rejected where one cannot be saved."""
        try:
            return {step.name: dump(step) for step in self.flows[instance].steps}
        except (TypeError, ValueError) as error:
            raise Rejected(f"the flow {instance} cannot be saved: {error}") from error

    def last_saved(self, instance: str) -> dict[str, bytes]:
        """What the running version's nodes have given to commits; none of it is from within a tick that failed."""
        flow = self.flows.get(instance)
        return {step.name: step.saved for step in flow.steps if step.saved is not None} if flow else {}

    # effects

    def decisions(self) -> list[Decision]:
        """The outputs whose decided levels changed since the last call."""
        return self.requests.decisions(self.now)

    def commit(self, *, windows: bool = False) -> Commit | None:
        """What changed since the last commit; None where nothing did. `windows` includes window states."""
        states: dict[tuple[str, str], bytes | None] = dict.fromkeys(self._gone)
        for instance, flow in self.flows.items():
            if flow.fault:
                continue
            changed: dict[tuple[str, str], bytes | None] = {}
            try:
                for step in flow.steps:
                    if step.steps != step.saved_steps and (windows or step.kind.durability == "exact"):
                        flow.stepping = step
                        self._save(instance, step, changed)
                _check_size(flow)
            except Exception as error:  # noqa: BLE001 - a state that cannot be saved is a fault of its flow
                self._quarantine(flow, error)
            else:
                states |= changed
        if not (states or self.records or self.calls_after_commit):
            return None
        commit = Commit(states, self.records, self.calls_after_commit)
        self.records, self.calls_after_commit, self._gone = [], [], set()
        return commit

    def save_all(self) -> None:
        """The next commit has every state, also those that did not change: what was saved is lost."""
        for flow in self.flows.values():
            for step in flow.steps:
                step.saved, step.saved_steps = None, -1

    @staticmethod
    def _save(instance: str, step: Step, states: dict[tuple[str, str], bytes | None]) -> None:
        step.saved_steps = step.steps
        if step.kind.state is None and not (
            len(step.inputs) > 1 or step.timers or step.calls or step.holds or step.saved
        ):
            return
        saved = dump(step)
        if len(saved) > NODE_BYTES:
            raise ValueError(f"its state has {len(saved) / 1e6:.1f} MB; at most {NODE_BYTES / 1e6:g} MB are kept")
        if saved != step.saved:
            step.saved = saved
            states[instance, step.name] = saved

    # for the steps

    def not_past(self, at: int) -> int:
        """The instant for which a timer is set: now, where the one that is asked for is long past."""
        return at if at >= self.horizon - _LATE_NS else self.horizon

    def schedule(self, at: int, step: Step, key: str) -> None:
        self._serial += 1
        heapq.heappush(self._due, (at, self._serial, step, key))
        if len(self._due) > self._due_most:
            self._forget_replaced()

    def _forget_replaced(self) -> None:
        """Drops the entries of timers that were replaced or taken back, so that they cost no memory until then."""
        self._due = [entry for entry in self._due if self._awaited(*entry)]
        heapq.heapify(self._due)
        self._due_most = 2 * len(self._due) + _REPLACED

    def _awaited(self, at: int, _serial: int, step: Step, key: str) -> bool:
        timer = step.timers.get(key)
        return timer is not None and timer.at == at and self._works(step.flow)

    def call_id(self, step: Step) -> str:
        self._serial += 1
        return f"{step.owner}@{self.now}.{self._serial}"

    def next_version(self) -> int:
        """A record version that rises with time, over restarts too: milliseconds of engine time, never twice."""
        self._version = max(self._version + 1, self.now // VERSION_NS)
        return self._version


def _check_size(flow: FlowRun) -> None:
    size = sum(len(step.saved) for step in flow.steps if step.saved is not None)
    if size > FLOW_BYTES:
        raise ValueError(f"the states of its nodes have {size / 1e6:.1f} MB; at most {FLOW_BYTES / 1e6:g} MB are kept")
