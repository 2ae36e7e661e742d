"""The driver contract: what a protocol adapter gives the shell, and what the shell promises it.

A driver is a frozen value. It owns bytes; the shell owns schedule, deadlines, back-off, the link's
arbiter, scaling, range checks, time stamps, staleness, metrics and logging. `edgeflow.testing.drivers`
is the conformance suite.

Rules every session keeps:

- A call ends by its `deadline` (event-loop time, seconds) with an answer or with `LinkDown`; nothing
  cancels a request in flight. After `LinkDown` the session is never used again.
- `LinkDown` speaks of the link, `Silent` of one device behind a link that goes on serving the others.
  A point that the device refuses is a fault in the column.
- A late answer never becomes the value of a later request.

**A poll** is one or more requests. Calling a `Reader` begins one; what it gives are its requests, in
order, made only when they are wanted, so the next may depend on what became of the last. The shell gives
each a turn of its own on the link (writes go in between), a deadline of its own, and stamps its column with
the time of that answer. A column of one request of several names its `points`; together the columns of a
poll name every point, also those that nothing was asked for. A request may be made again where it was lost.
Where a request of several is not answered, `Silent` carries the points it asked for: they are BAD while
others of the same poll are answered. Where the first `LOST` of a poll are not, or one that carries no
points, the device is silent and the poll ends; so a reader puts what was lost the last time behind what
was answered. One that is silent already is given a single request.

**What is pushed** is one of three things, and a driver says no more than it knows:

- Values: a column with `values`. Each of its points has been heard.
- The values of some points still hold, though nothing new was said of them: `holds`, with these `points`
  (None: all). Only a source that tells every change can say that, and only for what it watches: an OPC UA
  subscription that lives, for its monitored items; a Sparkplug node that has not died, for what it was born
  with. What was never heard does not come to hold. It proves that the values are right until its
  `source_ns` (0: now), and never moves their own time; so `source_ns` is one from before which no change
  can still be on its way.
- The source lives: a column with neither values nor points. It vouches for no value: a broker that
  answers, a device that says `online`, a clock that goes on prove nothing of a sensor.

Each pushed tag has a cadence of its own, the device's `silence` where it names none: a tag of which
neither a value nor a `holds` has come for so long is BAD, whatever its neighbours do. A device of which
nothing at all has come for its `silence` is silent as a whole, and its watch begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel

from edgeflow.errors import Silent
from edgeflow.model import BAD, Quality, Scalar, ValueType

L = TypeVar("L", bound=BaseModel)
D = TypeVar("D", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)
Q = TypeVar("Q", bound=BaseModel)
T = TypeVar("T")
AnyDevice = TypeVar("AnyDevice", bound=BaseModel, contravariant=True)
AnyPoint = TypeVar("AnyPoint", bound=BaseModel, contravariant=True)


@dataclass(slots=True)
class Column:
    """What one request or one push brought, in the order of the points it was asked for.

    `points` names the indices it covers, None for all of them. `source_ns` is the device's own UTC time, 0
    where it gives none. `faults`: index into `values` -> (quality, reason); a BAD value is None.
    `late`: read from the source's own history after an outage, in the order of its times, before the
    first live column. `answered_s`: when the answer came (loop time), 0 for just now; a value made of the
    answers to several requests has the time of the oldest. `holds`: it brings no values; those that the
    source gave last for these points are still right, as of `source_ns`.
    """

    values: Sequence[Scalar]
    source_ns: int = 0
    faults: dict[int, tuple[Quality, str]] | None = None
    points: tuple[int, ...] | None = None
    late: bool = False
    answered_s: float = 0.0
    holds: bool = False


class Home:
    """A driver's own small, durable things by name: certificates, what was learned of a device.

    All links of a driver share one. Names are paths of lower-case words and digits (`trusted/ab12.der`).
    `put` returns at once; the shell keeps what was put. By itself a Home lasts as long as it is held.
    """

    link: str = ""
    """The link that it was given to; "" where it is asked for without one."""
    option: str = ""
    """What a command has to be given to find it, ` --state FOLDER`; "" where it looks there by itself."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}

    def at(self, link: str) -> Home:
        """The same home, given to one link."""
        given = copy(self)
        given.link = link
        return given

    def get(self, name: str) -> bytes | None:
        """What was put last under the name; None where there is nothing."""
        return self._held.get(name)

    def put(self, name: str, content: bytes | None) -> None:
        """Keeps the content in place of what was there; None removes it."""
        if content is None:
            self._held.pop(name, None)
        else:
            self._held[name] = content

    def names(self, prefix: str = "") -> list[str]:
        """The names that begin so, in order."""
        return sorted(name for name in self._held if name.startswith(prefix))


Ask = Callable[[float], Awaitable[T]]
"""One request; given the deadline."""

Reader = Callable[[], Iterable[Ask[Column]]]
"""Begins one poll of the prepared points, and gives its requests one after the other."""

LOST = 2
"""So many requests without an answer at the beginning of a poll say that the device is silent."""


def single(ask: Ask[Column]) -> Reader:
    """A reader whose poll is one request."""
    requests = (ask,)
    return lambda: requests


async def poll(read: Reader, ask: Callable[[Ask[Column]], Awaitable[Column]]) -> Column:
    """One whole poll as one column, each request made through `ask`; it has the times of its oldest part.

    A lost request costs its own points. Raises Silent where nothing is answered, and what `ask` raises.
    """
    time = asyncio.get_running_loop().time
    columns: list[Column] = []
    lost: list[tuple[Silent, tuple[int, ...]]] = []
    for request in read():
        try:
            column = await ask(request)
        except Silent as error:
            if error.points is None or (not columns and len(lost) + 1 == LOST):
                raise
            lost.append((error, error.points))
            continue
        column.answered_s = column.answered_s or time()
        columns.append(column)
    if not columns:
        if lost:
            raise lost[0][0]
        return Column(())
    if len(columns) == 1 and not lost:
        return columns[0]
    return _joined(columns, lost)


def _joined(columns: Sequence[Column], lost: Iterable[tuple[Silent, tuple[int, ...]]]) -> Column:
    values: dict[int, Scalar] = {}
    faults: dict[int, tuple[Quality, str]] = {}
    for silent, points in lost:
        values |= dict.fromkeys(points)
        faults |= dict.fromkeys(points, (BAD, str(silent)))
    for column in columns:
        points = tuple(range(len(column.values))) if column.points is None else column.points
        values |= zip(points, column.values, strict=True)
        for at, i in enumerate(points):
            faults.pop(i, None)
            if column.faults and at in column.faults:
                faults[i] = column.faults[at]
    order = sorted(values)
    place = {i: at for at, i in enumerate(order)}
    return Column(
        [values[i] for i in order],
        min((column.source_ns for column in columns if column.source_ns), default=0),
        {place[i]: fault for i, fault in faults.items()} or None,
        None if order == list(range(len(order))) else tuple(order),
        answered_s=min(column.answered_s for column in columns),
    )


Push = Callable[[Column], None]
"""Takes a pushed column; bounded and quick, never raises."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something a browse came across; `point` is ready to be written into a configuration.

    `aside`: it belongs to the protocol, not to the machine; what is below it is shown only where it is asked for.
    """

    path: str
    title: str
    point: dict[str, Any] | None
    type: ValueType | None = None
    unit: str | None = None
    value: Scalar = None
    has_children: bool = False
    aside: bool = False


class Session(Protocol):
    """An open link. What else it can do is told by which of the protocols below it satisfies."""


@runtime_checkable
class WritesApart(Protocol):
    """A session whose writes do not wait for its reads, as on a connection of their own."""

    writes_apart: bool


@runtime_checkable
class Reads(Protocol[AnyDevice, AnyPoint]):
    async def prepare(self, device: AnyDevice, points: Sequence[AnyPoint], deadline: float) -> Reader:
        """Plans once how to read these points of one device."""


@runtime_checkable
class Watches(Protocol[AnyDevice, AnyPoint]):
    async def watch(self, device: AnyDevice, points: Sequence[AnyPoint], push: Push) -> None:
        """Subscribes and pushes until cancelled (closing) or until the link is lost (`LinkDown`).

        What the source says of values that do not change, and of its own life, is pushed as often as the
        protocol lets it be known, and only after the source itself has said so.
        """


@runtime_checkable
class Writes(Protocol[AnyDevice, AnyPoint]):
    async def write(
        self, device: AnyDevice, points: Sequence[AnyPoint], values: Sequence[Scalar], deadline: float
    ) -> None:
        """Writes the values in order. To return means: sent, and acknowledged by the device.

        Raises `Rejected` where the device refuses one, and `Silent` or `LinkDown` where nobody knows whether it took
        it; then it is not sent again in another way.
        """


@runtime_checkable
class Browses(Protocol):
    def browse(self, path: str, deadline: float) -> AsyncIterator[Found]:
        """What there is below `path` ("" for the root)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a tool is: `done` of `total` (0: nobody knows), and what it does just now."""

    done: int
    total: int
    about: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of what a tool found; rows with the same keys make one table.

    `point`: what was found as the keys of a point, ready to be written into a configuration.
    """

    cells: Mapping[str, Scalar]
    point: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A plain sentence for the person: a summary, or what to do next."""

    text: str


Finding = Progress | Row | Note


@dataclass(frozen=True, slots=True)
class Tool(Generic[L, Q]):
    """Something a person does with a link while a machine is connected: scan, identify, approve, call.

    `options` are what it can be told; its fields become the options of the command line and the body of
    the API. `run` opens what sessions it needs, ends every one, and raises LinkDown or Rejected where it
    cannot go on. `changes`: it may change something in the device. `keeps`: it has failed where the home
    cannot keep what it did.
    """

    name: str
    about: str
    options: type[Q]
    run: Callable[[L, Home, Q], AsyncIterator[Finding]]
    changes: bool = False
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Driver(Generic[L, D, P]):
    """One protocol.

    `link`, `device` and `point` are the models of a connection, of what is behind it, and of one
    address; their fields are what a user writes. `open` is given the deadline and the driver's home.
    `serial` true means one request at a time per link, so the shell's arbiter orders them. `value_type`
    tells the type a point yields. `unfit` says why such a device cannot have such a point, "" where it
    can. `exclusive`: only one session of such a link can be open on this machine, as of a serial line.
    `commands`: under which other addresses a point could be set, as `mqtt:TOPIC`, so that no flow does it by a detour.
    `claim`: a setting that no other link may have so, and what it stands for, as the client identifier at a
    broker; two empty texts where there is none. `tools` is called by whoever wants to run one. What takes long
    to load is loaded by `open`, in a thread, and by `tools`: reading other machines must not wait for it.
    """

    name: str
    about: str
    link: type[L]
    device: type[D]
    point: type[P]
    open: Callable[[L, float, Home], AbstractAsyncContextManager[Any]]
    value_type: Callable[[P], ValueType]
    serial: bool = True
    pushes: bool = False
    writable: Callable[[P], bool] = lambda point: True
    unfit: Callable[[D, P], str] = lambda device, point: ""
    commands: Callable[[D, P], Sequence[str]] = lambda device, point: ()
    exclusive: Callable[[L], bool] = lambda link: False
    claim: Callable[[L], tuple[str, str]] = lambda link: ("", "")
    tools: Callable[[], Sequence[Tool[Any, Any]]] = tuple


GROUP = "edgeflow.drivers"


def names() -> list[str]:
    """The installed drivers, without importing them."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def find(name: str) -> Driver[Any, Any, Any]:
    """Imports one installed driver; raises KeyError with the names that exist."""
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            driver = entry.load()
            assert isinstance(driver, Driver)
            return driver
    raise KeyError(name)
