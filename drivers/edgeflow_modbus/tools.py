"""What a person does with a Modbus line before anything is configured: scan it, identify units, guess types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Literal

from pydantic import Field

from edgeflow.driver import Finding, Home, Note, Row, Tool
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import Scalar, Strict
from edgeflow.units import NS_PER_S, Duration
from edgeflow_modbus.config import Device
from edgeflow_modbus.guess import ORDERS, Pick, Reading, likely, nearest, readings
from edgeflow_modbus.link import Link
from edgeflow_modbus.pdu import ADDRESSES, ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, Refused, Table, place
from edgeflow_modbus.scan import ScanOptions, Units, scan
from edgeflow_modbus.session import Session, open_link
from edgeflow_modbus.survey import blocks_of, written

_OPEN_S = 3.0
_COUNTS = (4, 2, 1)
_SUNSPEC_AT = (40000, 0, 50000)  # SunSpec Information Model Specification, section "Locating the map"
_SUNSPEC = b"SunS"
_TABLES = {"register": Table.REGISTER, "input": Table.INPUT}
_LISTED = {3: "input", 4: "register"}
"""The tables by the first of five digits, as many lists number them."""
_TIMES = 3


class IdentifyOptions(Strict):
    """Whom to ask."""

    units: Units = Field((1,), description="Unit numbers to ask: `1-10,17`. Default: 1.")
    timeout: Duration = Field(NS_PER_S, description="How long a unit may take to answer.")


class GuessOptions(Strict):
    """Which registers to read, and what they should show."""

    address: int = Field(ge=0, le=465536, description="The first register, numbered as the device's list does.")
    unit: int = Field(1, ge=0, le=255, description="Unit number (slave address).")
    table: Literal["register", "input"] = Field(
        "register", description="`register`: holding registers (function 3); `input`: input registers (function 4)."
    )
    first_address: Literal[0, 1, 40000, 40001, 400001] = Field(
        0, description="What the device's list numbers its first holding register: 0, 1, 40001."
    )
    expect: float | None = Field(
        None, description="What it should be, as the device itself shows it: the nearest reading is picked."
    )
    timeout: Duration = Field(NS_PER_S, description="How long the unit may take to answer.")


async def identify(link: Link, home: Home, options: IdentifyOptions) -> AsyncIterator[Finding]:
    """What units say of themselves, and whether they speak SunSpec; one that breaks the link does not end it."""
    absent: list[str] = []
    timeout_s, single = options.timeout / NS_PER_S, len(options.units) == 1
    looked = 0
    while looked < len(options.units):
        try:
            async with open_link(link, _deadline_in(_OPEN_S), home) as session:
                session.search()
                for unit in options.units[looked:]:
                    looked += 1
                    async for finding in _identified(session, unit, timeout_s, absent):
                        if not single or not absent:
                            yield finding
        except LinkDown as lost:
            if single or not looked:
                raise
            absent.append(f"Unit {options.units[looked - 1]}: {lost}.")
            yield Note(absent[-1])
            if looked < len(options.units) and not await _reachable(link, home):
                rest = written(blocks_of(options.units[looked:]))
                yield Note(f"Not looked at: unit {rest}. To go on: `--units {rest}`.")
                raise
    if len(absent) == len(options.units):
        raise Rejected(absent[0] if single else "No unit answers.")


async def _reachable(link: Link, home: Home) -> bool:
    try:
        async with open_link(link, _deadline_in(_OPEN_S), home):
            return True
    except LinkDown:
        return False


async def _identified(session: Session, unit: int, timeout_s: float, absent: list[str]) -> AsyncIterator[Finding]:
    """One unit; why it is taken for absent is added to `absent`."""
    try:
        says = await session.identify(unit, _deadline_in(timeout_s))
    except Rejected as error:
        why = await _why_absent(session, unit, timeout_s) if _says_nothing(error) else ""
        if why:
            absent.append(why)
            yield Note(why)
            return
        if not isinstance(error, Refused | Silent):
            yield Note(str(error))
            return
        how = f"exception {error.code}" if isinstance(error, Refused) else "silence"
        yield Note(f"Unit {unit} answers, but does not say what it is ({how}).")
    else:
        for what, text in says.items():
            yield Row({"unit": unit, "what": what, "says": text})
        if not says:
            yield Note(f"Unit {unit} answers, but says nothing of itself.")
    base = await _sunspec(session, unit, timeout_s)
    if base is not None:
        yield Row({"unit": unit, "what": "sunspec", "says": f"its models begin at {base}"})
        yield Note(f"Unit {unit} speaks SunSpec: `sunspec:` points and the templates sunspec/... fit it.")


def _says_nothing(error: Rejected) -> bool:
    """Whether the unit itself has said nothing: silence, or a gateway that tells of it."""
    return error.from_gateway if isinstance(error, Refused) else isinstance(error, Silent)


async def _why_absent(session: Session, unit: int, timeout_s: float) -> str:
    """Why a unit is taken for absent; "" where it is silent only to what it does not know, as some are."""
    try:
        await session.read_raw(unit, Table.REGISTER, 0, 1, _deadline_in(timeout_s))
    except Rejected as error:
        if isinstance(error, Refused) and error.from_gateway:
            return (
                f"The gateway answers, but unit {unit} does not (exception {error.code} comes from the gateway): "
                "check that it is switched on, its unit number, and the bus behind the gateway."
            )
        return str(error) if _says_nothing(error) else ""
    return ""


async def _sunspec(session: Session, unit: int, timeout_s: float) -> int | None:
    for base in _SUNSPEC_AT:
        try:
            if await session.read_raw(unit, Table.REGISTER, base, 2, _deadline_in(timeout_s)) == _SUNSPEC:
                return base
        except Rejected:
            continue
    return None


async def guess(link: Link, home: Home, options: GuessOptions) -> AsyncIterator[Finding]:
    """Reads some registers and shows every reading of them side by side; the likely one is ready to be pasted."""
    table = _TABLES[options.table]
    start = options.address - Device(first_address=options.first_address).first(table)
    if start < 0:
        raise Rejected(f"{options.address} is before the first address of {table.title}s, check --first-address")
    if start >= ADDRESSES:
        raise Rejected(
            f"there is no {table.title} {options.address}: the highest is {options.address - start + ADDRESSES - 1}"
            f"{_hint_at_six_digits(options)}"
        )
    async with open_link(link, _deadline_in(_OPEN_S), home) as session:
        session.search()
        payload = await _registers(session, options, table, start)
    words = " ".join(payload[i : i + 2].hex().upper() for i in range(0, len(payload), 2))
    yield Note(f"Unit {options.unit}, {place(table, options.address, len(payload) // 2)}: {words}")
    found = readings(payload)
    pick = nearest(found, options.expect) if options.expect is not None else likely(found, payload)
    for kind in dict.fromkeys(reading.type for reading in found):
        yield _row([reading for reading in found if reading.type == kind], pick, options, len(payload) // 2)
    yield Note(_verdict(pick, options, payload))


async def _registers(session: Session, options: GuessOptions, table: Table, start: int) -> bytes:
    """As many registers as the longest types need, or as few as the device gives.

    Some refuse more than they have, some are silent then: those show by the first register alone that they are there.
    """
    first = b""
    for count in dict.fromkeys(min(count, ADDRESSES - start) for count in _COUNTS):
        if count == 1 and first:
            return first
        try:
            return await _read_patiently(session, options, table, start, count)
        except Rejected as error:
            if _says_nothing(error):
                if count == 1:
                    raise
                first = first or await _read_patiently(session, options, table, start, 1)
            elif not isinstance(error, Refused):
                raise
            elif error.code not in (ILLEGAL_ADDRESS, ILLEGAL_VALUE) or count == 1:
                raise Rejected(f"{error}{_hint_at_digit(error, options)}") from None
    raise AssertionError


async def _read_patiently(session: Session, options: GuessOptions, table: Table, start: int, count: int) -> bytes:
    """One read, asked for again where the unit is silent: some answer only now and then."""
    for left in reversed(range(_TIMES)):
        try:
            return await session.read_raw(options.unit, table, start, count, _deadline_in(options.timeout / NS_PER_S))
        except Silent:
            if not left:
                raise
    raise AssertionError


def _hint_at_six_digits(options: GuessOptions) -> str:
    """What to try where a number is too large that looks as if the first of its six digits meant the table."""
    name = _LISTED.get(options.address // 100_000)
    return f"; of a list with such numbers: {options.address} --table {name} --first-address 400001" if name else ""


def _hint_at_digit(refused: Refused, options: GuessOptions) -> str:
    """What to try where a number is refused that looks as if its first digit meant the table."""
    name = _LISTED.get(options.address // 10000)
    if options.first_address or name is None or refused.code not in (ILLEGAL_FUNCTION, ILLEGAL_ADDRESS):
        return ""
    return (
        f"; where the list means {_TABLES[name].title}s by its first digit: {options.address} --table {name} "
        "--first-address 40001"
    )


def _row(found: Sequence[Reading], pick: Pick | None, options: GuessOptions, count: int) -> Row:
    """One type: what it gives in each order of the bytes."""
    values = {reading.order: reading.value for reading in found}
    cells: dict[str, Scalar] = {"type": found[0].type, **{order: values.get(order) for order in ORDERS}}
    cells["plausible"] = " ".join(reading.order for reading in found if not reading.doubt)
    picked = next((reading for reading in found if pick is not None and reading is pick.reading), None)
    if picked is None or pick is None:
        return Row({**cells, "pick": ""})
    scale = f" x {pick.scale:g}" if pick.scale != 1 else ""
    point: dict[str, Scalar] = {options.table: options.address, **picked.keys()}
    if picked.type == "string":
        point["length"] = count
    if pick.scale != 1:
        point["scale"] = pick.scale
    return Row({**cells, "pick": f"<-- {picked.order}{scale}"}, point)


def _verdict(pick: Pick | None, options: GuessOptions, payload: bytes) -> str:
    if not any(payload):
        return "All registers are 0, which every type reads as 0: try again while the machine runs."
    if options.expect == 0:
        zero = "the first register is 0" if not any(payload[:2]) else "the first register is not 0"
        return f"0 says nothing of the type, since every type reads it alike ({zero}): expect a value that is not 0."
    if pick is None:
        near = f" near {options.expect:g}" if options.expect is not None else ""
        return (
            f"No reading is{near}. Is it this address? Some lists count from 1: try the one before and the one after."
        )
    if options.expect is None:
        return f"Likely {pick.reading.type}: {pick.why}. With --expect and what the device shows it is no guess."
    scale = f", times {pick.scale:g}" if pick.scale != 1 else ""
    first = f" The device needs `first_address: {options.first_address}`." if options.first_address else ""
    return f"Nearest is {pick.reading.type}, order {pick.reading.order}{scale}: {pick.why}.{first}"


def _deadline_in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


TOOLS = (
    Tool(
        "scan",
        "Looks for units on a serial line, behind a gateway or at an address, and says what they are.\n\n"
        "Nothing is written. A unit that does not answer costs the time-out; with `--ranges` the addresses that can be "
        "read are found too, by halving the blocks that are refused. Ctrl-C ends it with what was found.\n\n"
        "  edgeflow modbus scan --host 10.0.0.6 --units 1-20\n"
        "  edgeflow modbus scan --serial /dev/ttyUSB0 --bauds all --parities all --units 1-10\n"
        "  edgeflow modbus scan --host 10.0.0.5 --units 1 --ranges --addresses 0-499",
        ScanOptions,
        scan,
    ),
    Tool(
        "identify",
        "Asks units what they are: maker, product, revision (function 43/14), and whether they speak SunSpec.\n\n"
        "  edgeflow modbus identify --host 10.0.0.6 --units 1,7",
        IdentifyOptions,
        identify,
    ),
    Tool(
        "guess",
        "Reads registers and shows every type and byte order side by side, to find out how a value lies in them.\n\n"
        "Say with --expect what the display of the device shows: the nearest reading is picked, with the factors 10, "
        "100 and 1000 tried too, and its point is printed for the configuration.\n\n"
        "  edgeflow modbus guess 4 --host 10.0.0.5 --unit 1\n"
        "  edgeflow modbus guess 40013 --first-address 40001 --expect 230 --host 10.0.0.6 --unit 7",
        GuessOptions,
        guess,
    ),
)
