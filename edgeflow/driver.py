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
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel

from edgeflow.model import Quality, Scalar, ValueType

L = TypeVar("L", bound=BaseModel)
D = TypeVar("D", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)
Q = TypeVar("Q", bound=BaseModel)
T = TypeVar("T")
AnyDevice = TypeVar("AnyDevice", bound=BaseModel, contravariant=True)
AnyPoint = TypeVar("AnyPoint", bound=BaseModel, contravariant=True)


@dataclass(slots=True)
class Column:
    """What one read or one push brought, in the order of the points it was asked for.

    `points` names the indices it covers, None for all of them. A push with no points says only that
    the source lives and its earlier values still hold. `source_ns` is the device's own UTC time, 0
    where it gives none. `faults`: index into `values` -> (quality, reason); a BAD value is None.
    `late`: read from the source's own history after an outage, in the order of its times, before the
    first live column.
    """

    values: Sequence[Scalar]
    source_ns: int = 0
    faults: dict[int, tuple[Quality, str]] | None = None
    points: tuple[int, ...] | None = None
    late: bool = False


class Home:
    """A driver's own small, durable things by name: certificates, what was learned of a device.

    All links of a driver share one. Names are paths of lower-case words and digits (`trusted/ab12.der`).
    `put` returns at once; the shell keeps what was put. By itself a Home lasts as long as it is held.
    """

    option: str = ""
    """What a command has to be given to find it, ` --state FOLDER`; "" where it looks there by itself."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}

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


Reader = Callable[[float], Awaitable[Column]]
"""Reads the prepared points; given the deadline.

One that makes several requests, one after the other, says how many in `requests`, and takes `each_s`: how long each of
them may take. So a device that does not answer is waited for once.
"""

Ask = Callable[[float], Awaitable[T]]
"""One request, or a reader's several; given the deadline."""


def spread(ask: Ask[T], each_s: float) -> tuple[Ask[T], float]:
    """How to ask, and how long that may take, where each request of a reader's several may take so long."""
    several: int = getattr(ask, "requests", 1)
    if several <= 1:
        return ask, each_s
    steps: Any = ask
    return partial(steps, each_s=each_s), several * each_s


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

        Pushes an empty column at least every `device.heartbeat`-like interval the protocol allows,
        only after the source itself has shown that it lives.
        """


@runtime_checkable
class Writes(Protocol[AnyDevice, AnyPoint]):
    async def write(
        self, device: AnyDevice, points: Sequence[AnyPoint], values: Sequence[Scalar], deadline: float
    ) -> None:
        """Writes the values in order; raises `Rejected` where the device refuses one."""


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
    `tools` is called by whoever wants to run one. What takes long to load is loaded by `open`, in a
    thread, and by `tools`: reading other machines must not wait for it.
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
