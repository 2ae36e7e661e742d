"""Modbus RTU and ASCII, on a serial line or through a converter: answers here do not say what they answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow_modbus.cause import cause
from edgeflow_modbus.frame import Framing
from edgeflow_modbus.ledger import Ledger, wider
from edgeflow_modbus.pdu import READING, WRITING, Refused, Request, Table
from edgeflow_modbus.space import Manners
from edgeflow_modbus.tcp import from_gateway, shown
from edgeflow_modbus.wire import Ask, Roll, Stats, silent

BROADCAST = 0
_TURNAROUND_S = 0.1
_MOST_NOISE = 100_000
_MOST_HEARD = 300
_MOST_UNASKED = 1000
_CHANCES = 2
_GARBLED_S = 0.1
"""Adapters deliver in batches every 16 ms, networks are slower still; a frame has no longer pause than this."""


class _Garbled(Exception):
    """What came was no frame."""


class _Unclear(Exception):
    """A refusal came that may as well be one of an earlier request."""


class BusWire(asyncio.Protocol):
    """A line with units that answer one after the other.

    A ledger per unit says what may still come from it. A request that could be mistaken for an earlier one
    is sent in a wider form, or after a short read that shows that the unit is in step. `character_s`: how
    long one takes on the line; `pause_s`: the silence before each request; `check`: what to look at where
    a unit is silent. What is still missing at the end is kept in `home` for the next connection.
    """

    tells_apart = False

    def __init__(
        self, where: str, framing: Framing, home: Home, check: str, *, pause_s: float = 0.0, character_s: float = 0.0
    ) -> None:
        self.stats = Stats()
        self.roll = Roll()
        self.down = ""
        self._where, self._framing, self._check = where, framing, check
        self._pause_s, self._character_s = pause_s, character_s
        self._pending = _Pending(home, where)
        self._ledgers: dict[int, Ledger] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._busy = False
        self._waiting: asyncio.Future[bytes] | None = None
        self._request: Request | None = None
        self._step_for: Request | None = None
        self._rest = self._heard = b""
        self._misfit = ""
        self._noise = self._unasked = self._chances = 0
        self._hush: asyncio.TimerHandle | None = None
        self._own = b""
        self._reads_registers = self._hears_itself = False
        self._silence_at = 0.0

    async def close(self) -> None:
        """Closes the line and waits until it is closed."""
        self._end("the connection is closed")
        await self._closed

    def bind(self, request: Request) -> Ask:
        """Prepares a request that is sent again and again."""
        unit = request.unit
        if unit == BROADCAST:
            return self._broadcast(request)
        self.roll.joins(unit)
        ledger = self._ledger(unit)
        ledger.knows(request)
        wide = wider(request)
        forms = [request] if wide is None else [request, wide]

        async def ask(deadline: float) -> bytes:
            self._begin()
            try:
                return await self._ask(forms, ledger, deadline)
            finally:
                self._busy = False

        return ask

    def respect(self, unit: int, manners: Manners) -> None:
        """What not to read of a unit to show that it is in step."""
        self._ledger(unit).respects(manners)

    def _ledger(self, unit: int) -> Ledger:
        if unit not in self._ledgers:
            self._ledgers[unit] = Ledger(unit, self._pending.of(unit))
        return self._ledgers[unit]

    # --- how a request is made ---

    def _begin(self) -> None:
        if self._busy:
            raise RuntimeError(f"{self._where}: a second request while one is in flight")
        self._busy = True

    def _broadcast(self, request: Request) -> Ask:
        """To unit 0 all listen and nobody answers; they have a while to do it (serial line guide, section 2.4.1)."""

        async def ask(deadline: float) -> bytes:
            if request.function not in WRITING:
                raise Rejected(
                    f"nobody answers as unit 0 on {self._where}: what it is told goes to all; write the unit"
                )
            self._begin()
            try:
                await self._send(request, deadline)
                await asyncio.sleep(len(request.pdu) * self._character_s + _TURNAROUND_S)
            finally:
                self._busy = False
            return b""

        return ask

    async def _ask(self, forms: list[Request], ledger: Ledger, deadline: float) -> bytes:
        """Sends the first form that cannot be mistaken; where there is none, first takes a step."""
        request = forms[0]
        self._chances = _CHANCES
        while True:
            form = next(filter(ledger.clear_for, forms), None)
            try:
                if form is None:
                    self.stats.steps += 1
                    await self._exchange(ledger.step_for(request), ledger, deadline, request)
                    continue
                payload = await self._exchange(form, ledger, deadline)
            except _Unclear:
                continue  # a step in another table tells
            except _Garbled:
                self._chances -= 1
                self.stats.garbled += 1
            except Refused:
                if form is request:
                    raise
                if form is not None:
                    forms.remove(form)  # there is nothing that could be read along
            else:
                return payload[: request.size - len(request.head)] if request.size else payload

    async def _exchange(
        self, request: Request, ledger: Ledger, deadline: float, step_for: Request | None = None
    ) -> bytes:
        """One request and its answer, or for a step: whatever makes the way free for another request."""
        waiting: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting, self._request, self._step_for, self._noise = waiting, request, step_for, 0
        alarm = self._loop.call_at(deadline, self._ring)
        try:
            await self._send(request, deadline, ledger)
            return await waiting
        finally:
            alarm.cancel()
            self._quiet()
            self._waiting = None

    async def _send(self, request: Request, deadline: float, ledger: Ledger | None = None) -> None:
        """Sends after a silence (3.5 characters on a serial line) so that every unit knows where a frame begins."""
        while (wait_s := self._silence_at - self._loop.time()) > 0 and self._loop.time() < deadline:  # noqa: ASYNC110 - what comes in puts it off
            await asyncio.sleep(wait_s)
        if self._waiting is not None and self._waiting.done():
            return  # the time was up before the line was silent, or the line was lost
        if self._transport is None:
            raise LinkDown(self.down)
        if ledger is not None:
            ledger.send(request)
        frame = self._framing.pack(bytes((request.unit,)) + request.pdu)
        self._rest, self._own, self._heard, self._misfit = b"", frame, b"", ""
        self._reads_registers = READING.get(request.function) in (Table.REGISTER, Table.INPUT)
        self._silence_at = self._loop.time() + len(frame) * self._character_s + self._pause_s
        self.stats.requests += 1
        self._transport.write(frame)

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        why = f"is lost: {cause(exc)}" if isinstance(exc, OSError) else "closed the connection"
        self._end(f"{self._where} {why}")
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._silence_at = max(self._silence_at, self._loop.time() + self._pause_s)
        request = self._request if self._waiting is not None else None
        expected = bytes((request.unit,)) + request.head if request is not None else b""
        data = self._rest + data
        if len(data) < len(self._own) and self._own.startswith(data):
            self._rest = data
            return
        if self._own:
            data = self._without_own(data)
        self._heard = (self._heard + data[len(self._rest) :])[:_MOST_HEARD]
        messages, self._rest, noise = self._framing.split(data, expected)
        self.stats.noise += noise
        self._noise += noise
        for message in messages:
            self._take(message[0], message[1:])
        self._quiet()
        if self._waiting is not None and self._chances and self._noise + len(self._rest) >= self._framing.least:
            self._hush = self._loop.call_later(_GARBLED_S, self._give_up)
        if self._noise > _MOST_NOISE or self._unasked > _MOST_UNASKED:
            self._end(f"{self._where} goes on sending what nobody asked for; {self._check}")

    def _without_own(self, data: bytes) -> bytes:
        """Takes off our own frame where the adapter hears what it sends, else it would acknowledge our writes.

        Whether it does is seen when registers are read: the answer to that can never be the request itself.
        """
        own, self._own = self._own, b""
        heard = data.startswith(own)
        self._hears_itself = self._hears_itself or (heard and self._reads_registers)
        return data[len(own) :] if heard and self._hears_itself else data

    # --- how answers are told apart ---

    def _take(self, unit: int, pdu: bytes) -> None:
        ledger = self._ledgers.get(unit)
        head = ledger.take(pdu) if ledger is not None else b""
        self.roll.heard(unit)
        request, waiting = self._request, self._waiting
        if request is None or waiting is None or waiting.done():
            self._stray()
        elif unit != request.unit:
            self._stray()
            self._misfit = f"unit {unit} answered instead ({shown(pdu)})"
            if pdu[0] == request.function | 0x80 and from_gateway(unit, pdu[1]) and self._step_for is None:
                self.stats.exceptions += 1
                waiting.set_exception(Refused(request.unit, request.function, request.about, pdu[1]))
        elif ledger is None:
            self._stray()
        elif self._step_for is not None:
            if head != request.head:
                self._stray()
            if ledger.clear_for(self._step_for) or pdu[0] == request.function | 0x80:
                waiting.set_result(b"")  # what was perhaps refused shows nothing: another step will
        elif head != request.head:
            self._stray()
            self._misfit = f"an answer came that does not fit what was asked, or an earlier request's: {shown(pdu)}"
            if pdu[0] == request.function | 0x80:
                waiting.set_exception(_Unclear())
        else:
            self._unasked = 0
            if pdu[0] & 0x80:
                self.stats.exceptions += 1
                waiting.set_exception(Refused(unit, request.function, request.about, pdu[1]))
            else:
                waiting.set_result(pdu[len(head) :])

    def _quiet(self) -> None:
        if self._hush is not None:
            self._hush.cancel()
            self._hush = None

    def _give_up(self) -> None:
        """Enough for an answer came, then nothing more, and it was no frame: it is better asked again."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(_Garbled())

    def _stray(self) -> None:
        self.stats.strays += 1
        self._unasked += 1

    # --- how it ends ---

    def _ring(self) -> None:
        """The time is up."""
        request, waiting = self._request, self._waiting
        if request is None or waiting is None or waiting.done():
            return
        self.stats.silences += 1
        said = silent(self._where, self._step_for or request, self._came(), self._check)
        if self.roll.missed(request.unit):
            self._end(said)
        else:
            waiting.set_exception(Silent(said))

    def _came(self) -> str:
        """What came in place of the answer; "" where nothing did."""
        if self._noise or self._rest:
            count, name = self._noise + len(self._rest), self._framing.name
            why = self._framing.explain(self._heard)
            return f"{count} bytes came that are no {name} frame, {shown(self._heard)}: {why}; {self._check}"
        return self._misfit

    def _end(self, reason: str) -> None:
        """Ends the connection for good; whoever waits gets LinkDown with the first reason there was."""
        if self._transport is None:
            return
        self.down = reason
        transport, self._transport = self._transport, None
        transport.abort()
        self._pending.keep({unit: ledger.heads for unit, ledger in self._ledgers.items()})
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(LinkDown(reason))


class _Pending:
    """The answers that are still missing when a line is closed: they may come when it is open again."""

    def __init__(self, home: Home, where: str) -> None:
        self._home = home
        self._name = f"pending/{re.sub(r'[^a-z0-9]+', '-', where.lower()).strip('-')}.json"
        self._heads: dict[str, list[str]] = {}
        with suppress(ValueError, TypeError):
            self._heads = {unit: list(heads) for unit, heads in json.loads(home.get(self._name) or b"{}").items()}

    def of(self, unit: int) -> list[bytes]:
        """How they begin that are missing from one unit, oldest first."""
        with suppress(ValueError, TypeError):
            return [head for text in self._heads.get(str(unit), ()) if (head := bytes.fromhex(text))]
        return []

    def keep(self, heads: Mapping[int, list[bytes]]) -> None:
        """Keeps what is missing now."""
        self._heads |= {str(unit): [head.hex() for head in some] for unit, some in heads.items()}
        held = {unit: texts for unit, texts in self._heads.items() if texts}
        self._home.put(self._name, json.dumps(held).encode() if held else None)
