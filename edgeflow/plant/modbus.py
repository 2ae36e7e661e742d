"""Serves the Modbus units with pymodbus's own server, and makes it hang, vanish or garble on request.

The only module of the plant that knows pymodbus; its names change between minor releases.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import cast

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import WriteSingleRegisterRequest, WriteSingleRegisterResponse
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.errors import EdgeFlowError, Rejected
from edgeflow.plant.fault import Fault, garbled
from edgeflow.plant.registers import Table, Unit

UNIT_ID = 1
_OTHER_UNITS = 0  # pymodbus: the device that answers for every id without one
_TABLES: dict[int, Table] = {1: "coils", 5: "coils", 15: "coils", 2: "discrete", 4: "inputs"}
_ALL_ADDRESSES = 65_536
_START_TRIES, _START_PAUSE_S = 25, 0.2


class ModbusDevice:
    """One unit behind one port of the loopback."""

    def __init__(self, port: int, unit: Unit, *, faults: frozenset[Fault]) -> None:
        self.port, self.faults = port, faults
        self._unit = unit
        self._server: _Server | None = None

    async def start(self) -> None:
        """Listens; raises EdgeFlowError where the port stays taken."""
        for _ in range(_START_TRIES):
            server = _Server(self._unit, self.port)
            try:
                await server.serve_forever(background=True)
            except RuntimeError:
                await asyncio.sleep(_START_PAUSE_S)
                continue
            self._server = server
            return
        raise EdgeFlowError(f"port {self.port} is taken; end what listens there or choose another")

    async def stop(self) -> None:
        """Closes every connection and frees the port."""
        if self._server:
            self._server.pause(hung=False)
            await self._server.shutdown()  # type: ignore[no-untyped-call] # untyped
            self._server = None

    async def begin(self, fault: Fault) -> None:
        if fault == "reset_counter":
            self._unit.reset_counters()
        elif fault == "restart":
            self._unit.power(False)
            await self.stop()
        elif fault == "drop":
            await self.stop()
        elif self._server:
            self._set(self._server, fault, on=True)

    async def end(self, fault: Fault) -> None:
        if fault == "restart":
            self._unit.power(True)
        if fault in ("restart", "drop"):
            await self.start()
        elif self._server:
            self._set(self._server, fault, on=False)

    @staticmethod
    def _set(server: _Server, fault: Fault, *, on: bool) -> None:
        if fault == "hang":
            server.pause(hung=on)
        else:
            server.garbling = on


class _Server(ModbusTcpServer):
    """pymodbus's server that can stop reading, as a hung process does: connections open, nothing answered."""

    def __init__(self, unit: Unit, port: int) -> None:
        self.hung = self.garbling = False
        self._chance = Random(port)  # noqa: S311 - noise, no secret
        super().__init__(
            [_device(unit), _nobody()],
            address=("127.0.0.1", port),
            trace_packet=self._packet,
        )

    def pause(self, *, hung: bool) -> None:
        """What arrives meanwhile stays in the sockets and is read afterwards, late."""
        self.hung = hung
        for connection in self.active_connections.values():
            _pause(connection.transport, hung=hung)

    def callback_new_connection(self) -> ServerRequestHandler:
        return _Connection(self, self.trace_packet, self.trace_pdu, self.trace_connect)  # type: ignore[no-untyped-call] # untyped

    def _packet(self, sending: bool, data: bytes) -> bytes:
        return garbled(self._chance, data) if sending and self.garbling else data


class _Connection(ServerRequestHandler):
    """One client; silent from the first byte while the server hangs."""

    def callback_connected(self) -> None:
        super().callback_connected()
        if self.server.hung:
            _pause(self.transport, hung=True)

    def server_send(self, pdu: ModbusPDU, addr: tuple[str, int] | None) -> None:
        """Echoes function 6 as it came (Modbus specification 6.6); pymodbus answers what a register reads as."""
        asked = self.last_pdu
        if isinstance(pdu, WriteSingleRegisterResponse) and isinstance(asked, WriteSingleRegisterRequest):
            pdu.registers = asked.registers
        super().server_send(pdu, addr)  # type: ignore[no-untyped-call] # untyped


def _pause(transport: asyncio.BaseTransport | None, *, hung: bool) -> None:
    if transport is None or transport.is_closing():
        return
    reading = cast("asyncio.ReadTransport", transport)
    if hung:
        reading.pause_reading()
    else:
        reading.resume_reading()


def _device(unit: Unit) -> SimDevice:
    async def action(
        function: int, _start: int, address: int, _count: int, current: list[int], values: list[int] | list[bool] | None
    ) -> ExcCodes | None:
        """Asked by pymodbus once per access, before it reads `current` or writes `values`."""
        table = _TABLES.get(function, "holding")
        existing: range = getattr(unit, table)
        if not existing:
            return ExcCodes.ILLEGAL_FUNCTION
        unit.request(function)
        if values is not None:
            if not (existing.start <= address and address + len(values) <= existing.stop):
                return ExcCodes.ILLEGAL_ADDRESS
            try:
                unit.write(table, address, values)
            except Rejected:
                return ExcCodes.DEVICE_FAILURE if table == "coils" else ExcCodes.ILLEGAL_VALUE
        now = unit.read(table)
        words = now if table in ("holding", "inputs") else [sum(bool(bit) << i for i, bit in enumerate(now))]
        current[: len(words)] = words
        return None

    bits, words = [SimData(0, count=16, values=False, datatype=DataType.BITS)], _words
    return SimDevice(UNIT_ID, simdata=(bits, bits, words(unit.holding), words(unit.inputs)), action=action)


def _words(addresses: range) -> list[SimData]:
    # A table that does not exist gets every address, so that pymodbus asks `action`, which says so.
    first, count = (addresses.start, len(addresses)) if addresses else (0, _ALL_ADDRESSES)
    return [SimData(first, count=count, datatype=DataType.REGISTERS)]


def _nobody() -> SimDevice:
    async def action(*_: object) -> ExcCodes:
        return ExcCodes.GATEWAY_NO_RESPONSE

    return SimDevice(
        _OTHER_UNITS, simdata=[SimData(0, count=_ALL_ADDRESSES, datatype=DataType.REGISTERS)], action=action
    )


def quiet() -> None:
    """Keeps pymodbus from logging every odd request: a plant is there to be mistreated."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
