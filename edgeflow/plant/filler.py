"""The filler seen from the plant: its OPC UA server is a child process that is fed with every change."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from math import isfinite
from typing import Any

from edgeflow.errors import EdgeFlowError
from edgeflow.plant import child
from edgeflow.plant.factory import Factory
from edgeflow.plant.fault import Fault
from edgeflow.units import NS_PER_S

_FEED_S = 0.1
_READY_S = 30.0
_SLOWEST, _FASTEST = 1.0, 120.0
SETPOINT = 60.0


class FillerDevice:
    """Starts, feeds and mistreats the child; `run` must be running between `start` and `stop`."""

    faults: frozenset[Fault] = frozenset(("hang", "drop", "restart", "reset_counter"))

    def __init__(self, port: int, factory: Factory) -> None:
        self.port = port
        self._factory = factory
        self._process: Process | None = None
        self._sent: dict[str, tuple[float, int]] = {}
        self._setpoint = (SETPOINT, factory.start_ns)
        self._switched = asyncio.Event()
        self._hung = False

    async def start(self) -> None:
        """Returns when the server listens; raises EdgeFlowError where it cannot."""
        process = await child.spawn(sys.executable, "-m", "edgeflow.plant.opcua", str(self.port))
        self._sent = {}
        self._feed(process)
        try:
            async with asyncio.timeout(_READY_S):
                ready = await _heard(process)
        except TimeoutError:
            ready = None
        except asyncio.CancelledError:
            await child.end(process)
            raise
        if ready is None:
            await child.end(process)
            raise EdgeFlowError(f"the filler's OPC UA server does not start on port {self.port}; is the port taken?")
        self._process = process

    async def stop(self) -> None:
        """Ends the child, hung or not."""
        process, self._process, self._hung = self._process, None, False
        if process:
            if process.stdin:
                process.stdin.close()
            await child.end(process)

    async def run(self) -> None:
        """Feeds changes to the child; raises EdgeFlowError when it ends by itself."""
        while True:
            process = self._process
            if process is None:
                await asyncio.sleep(_FEED_S)
                continue
            async with asyncio.TaskGroup() as tasks:
                listener = tasks.create_task(self._listen(process))
                while self._process is process and not listener.done():
                    if not self._hung:
                        self._feed(process)
                    await asyncio.sleep(self._pause_s())
                listener.cancel()
            if self._process is process:
                raise EdgeFlowError("the filler's OPC UA server ended by itself")

    async def begin(self, fault: Fault) -> None:
        match fault:
            case "reset_counter":
                self._factory.now()
                self._factory.filler.reset_counters()
            case "hang" if self._process:
                self._hung = True
                self._process.send_signal(signal.SIGSTOP)
            case "drop" if self._process:
                await self._listening(self._process, False)
            case "restart":
                self._power(False)
                await self.stop()

    async def end(self, fault: Fault) -> None:
        match fault:
            case "hang" if self._process:
                self._process.send_signal(signal.SIGCONT)
                self._hung = False
            case "drop" if self._process:
                await self._listening(self._process, True)
            case "restart":
                self._power(True)
                await self.start()

    def _power(self, on: bool) -> None:
        now_ns = self._factory.now()
        self._factory.filler.power(on)
        if on:
            self._take_setpoint(SETPOINT, now_ns)

    def _pause_s(self) -> float:
        """Until the filler's next event, so that a change goes out at once; at most 100 ms for all the others."""
        filler = self._factory.filler
        if filler.next_ns is None:
            return _FEED_S
        return min(max((filler.next_ns - filler.at_ns) / NS_PER_S, 0.002), _FEED_S)

    def _values(self) -> dict[str, tuple[float, int]]:
        self._factory.now()
        filler = self._factory.filler
        state_ns = filler.spells.last.at_ns
        return {
            "State": (filler.state, state_ns),
            "Good": (filler.good_counter, filler.counters_ns),
            "Reject": (filler.reject_counter, filler.counters_ns),
            "Speed": (filler.per_minute, state_ns),
            "Fault": (filler.fault, state_ns),
            "Setpoint": self._setpoint,
        }

    def _feed(self, process: Process) -> None:
        """Sends what has changed; values alone decide, for a source time without a change is no news."""
        now = self._values()
        news = {name: pair for name, pair in now.items() if self._sent.get(name, (None,))[0] != pair[0]}
        if news:
            _tell(process, {"values": news})
            self._sent |= news

    async def _listen(self, process: Process) -> None:
        while message := await _heard(process):
            if "listening" in message:
                self._switched.set()
            else:
                self._written(message["setpoint"])

    def _written(self, value: Any) -> None:
        """A client wrote a setpoint; the child already shows it, and is told where another was taken."""
        now_ns = self._factory.now()
        self._sent["Setpoint"] = (value, now_ns)
        if isinstance(value, int | float) and isfinite(value):
            self._take_setpoint(value, now_ns)

    def _take_setpoint(self, per_minute: float, at_ns: int) -> None:
        taken = min(max(per_minute, _SLOWEST), _FASTEST)
        self._setpoint = (taken, at_ns)
        self._factory.filler.pace(taken * self._factory.speed)

    async def _listening(self, process: Process, on: bool) -> None:
        self._switched.clear()
        _tell(process, {"listen": on})
        async with asyncio.timeout(_READY_S):
            await self._switched.wait()


def _tell(process: Process, message: dict[str, Any]) -> None:
    assert process.stdin
    process.stdin.write(json.dumps(message).encode() + b"\n")


async def _heard(process: Process) -> dict[str, Any] | None:
    assert process.stdout
    line = await process.stdout.readline()
    return json.loads(line) if line else None
