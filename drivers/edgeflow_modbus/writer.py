"""Writes values: checked before the first is sent, neighbours in one request, by the function that the device takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise

from edgeflow.errors import Rejected, Silent
from edgeflow.model import Scalar
from edgeflow_modbus.codec import NoValue, parts, registers_decoder, times_power_of_ten
from edgeflow_modbus.config import Device, Point, writable
from edgeflow_modbus.payload import (
    Payload,
    about_of,
    groups,
    joined,
    mask_of,
    name_of,
    payload,
    request_of,
    singles,
)
from edgeflow_modbus.pdu import (
    ACKNOWLEDGE,
    BUSY,
    GATEWAY_NO_ANSWER,
    ILLEGAL_VALUE,
    NOT_DONE,
    Altered,
    Refused,
    Request,
    Table,
    mask_register,
    place,
    read,
    write_registers,
)
from edgeflow_modbus.wire import Wire

_BUSY_S = (0.05, 0.15)
"""The pauses before a busy device is asked again: it says that it has not done it, and to come later."""

_Place = tuple[int, Table, int]
"""A unit, and where in it."""


class Writer:
    """Writes to the units behind one wire, and learns for each register and coil which function it takes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._takes: dict[_Place, int] = {}
        """The function that a place takes, where the usual one was refused and this one was not."""
        self._alone: set[_Place] = set()
        """What is not taken together with its neighbours, but was taken by itself."""

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:
        """Writes in order, neighbours in one request (functions 5, 6, 15, 16, and 22 for bits and bytes).

        Every value is checked before the first is sent. To return means: sent, and acknowledged by the device.
        Raises Rejected with the reason (those before the one that was refused have been written), and Silent or
        LinkDown where nobody knows whether the device took it: then it is not sent again by another function.
        """
        payloads = [
            payload(device, point, value, await self._power(device, point, deadline))
            for point, value in zip(points, values, strict=True)
        ]
        for group in groups(payloads):
            if group[0].beside:
                await self._write_joined(device, group, deadline)
            elif group[0].partial:
                await self._write_bits(device, group, deadline)
            else:
                await self._write_whole(device, group, deadline)

    async def _power(self, device: Device, point: Point, deadline: float) -> int:
        """The power of ten that the register of `factor` holds now; 0 where there is none."""
        if point.factor is None or not writable(point):
            return 0
        part = parts(point, device)[-1]
        assert part.layout is not None
        about = f"read holding register {point.factor} (scale factor)"
        answer = await self._ask(read(device.unit, part.table, part.start, 1, about), deadline)
        (power,) = registers_decoder([(0, part.layout)])(answer)
        assert isinstance(power, int)
        try:
            times_power_of_ten(1, power)
        except NoValue as reason:
            raise Rejected(f"{name_of(point)} cannot be written: {reason}") from None
        return power

    async def _ask(self, request: Request, deadline: float) -> bytes:
        return await self._wire.bind(request)(deadline)

    async def _send(self, request: Request, deadline: float) -> None:
        """One request that writes; returns where the device acknowledges it, whatever it made of the value.

        Exception 5 is an acknowledgement, 6 asks to come again, and by 11 a gateway says that the unit behind it
        has not answered: all others are a refusal.
        """
        time = asyncio.get_running_loop().time
        for pause_s in (*_BUSY_S, None):
            try:
                await self._ask(request, deadline)
            except Altered:
                return
            except Refused as refusal:
                if refusal.code == ACKNOWLEDGE:
                    return
                if refusal.code == GATEWAY_NO_ANSWER:
                    text = f"the gateway heard nothing of unit {request.unit} when it was to {request.about} "
                    raise Silent(f"{text}(exception 11)") from None
                if refusal.code != BUSY or pause_s is None or time() + pause_s >= deadline:
                    raise
                await asyncio.sleep(pause_s)
            else:
                return

    # --- whole registers and coils ---

    async def _write_whole(self, device: Device, group: Sequence[Payload], deadline: float) -> None:
        """Neighbours in one request, or each by itself where they are not taken together."""
        if group[0].function == 6:
            for single in singles(group):
                await self._send(request_of(device, [single], several=False), deadline)
            return
        places = {_place(device, each) for each in group}
        together = len(group) > 1 and not places & self._alone
        if together:
            try:
                await self._send(request_of(device, group, several=True), deadline)
            except Refused as refusal:
                if refusal.code not in NOT_DONE or group[0].function == 16:
                    raise
            else:
                return
        for each in group:
            await self._write_one(device, each, deadline)
        if together:
            self._alone |= places

    async def _write_one(self, device: Device, each: Payload, deadline: float) -> None:
        """By the function that the place is known to take, or else by the short one, and by the other if refused."""
        one, several = (5, 15) if each.table is Table.COIL else (6, 16)
        own = _place(device, each)
        if each.function == 16 or each.count > 1:  # a long value is never torn, unless 6 is asked for
            functions = [several]
        else:
            functions = [several, one] if self._takes.get(own) == several else [one, several]
        refused: Refused | None = None
        for function in functions:
            try:
                await self._send(request_of(device, [each], several=function == several), deadline)
            except Refused as refusal:
                if refusal.code not in NOT_DONE:
                    raise
                refused = refused or refusal
            else:
                if function != functions[0]:
                    self._takes[own] = function
                return
        assert refused is not None
        if each.count > 1 and not each.function and refused.code != ILLEGAL_VALUE:
            raise Rejected(f"{refused}; where it takes only function 6, say `write_function: 6`")
        raise refused

    # --- registers that belong into one request ---

    async def _write_joined(self, device: Device, group: Sequence[Payload], deadline: float) -> None:
        """All registers that are written along, in one request of function 16 and never in several."""
        words = joined(group)
        first = device.first(Table.REGISTER)
        for start, count in _runs([address for address, word in words.items() if word is None]):
            about = f"read {place(Table.REGISTER, start + first, count)}, which keep their values"
            held = await self._ask(read(device.unit, Table.REGISTER, start, count, about), deadline)
            words |= {start + i: held[2 * i : 2 * i + 2] for i in range(count)}
        for start, count in _runs(list(words)):  # one: that is checked where it is configured
            data = b"".join(words[start + i] or b"" for i in range(count))
            about = f"write {place(Table.REGISTER, start + first, count)}"
            await self._send(write_registers(device.unit, start, data, about, several=True), deadline)

    # --- some bits of a register ---

    async def _write_bits(self, device: Device, group: Sequence[Payload], deadline: float) -> None:
        """By function 22, or by reading and writing where the register does not take that."""
        start, about = group[0].start, about_of(device, group)
        own = (device.unit, Table.REGISTER, start)
        keep, put = mask_of(group)
        masked = group[0].function is None and self._takes.get(own, 22) == 22
        if masked:
            try:
                await self._send(mask_register(device.unit, start, keep, put, about), deadline)
            except Refused as refusal:
                if refusal.code not in NOT_DONE:
                    raise
            else:
                return
        now = await self._ask(read(device.unit, Table.REGISTER, start, 1, about), deadline)
        new = (int.from_bytes(now, "big") & keep | put).to_bytes(2, "big")
        whole = Payload(Table.REGISTER, start, 1, new, None, group[0].function)
        await self._write_whole(device, [whole], deadline)
        if masked:
            self._takes.setdefault(own, 6)


def _place(device: Device, each: Payload) -> _Place:
    return device.unit, each.table, each.start


def _runs(addresses: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rising addresses as (first, count) of those that follow one another."""
    if not addresses:
        return
    ends = [i for i, (a, b) in enumerate(pairwise(addresses), 1) if b != a + 1]
    for begin, end in pairwise([0, *ends, len(addresses)]):
        yield addresses[begin], end - begin
