"""How much one server takes in one request: what it declares, and what was learned where it declares too much."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol, TypeVar

import orjson
import structlog

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected

log = structlog.get_logger(__name__)

Kind = Literal["read", "write", "browse", "translate", "items", "history"]
T = TypeVar("T")
R = TypeVar("R")

CHUNK = 1000
"""So much is asked for at once where a server takes any number."""
DECLARED: dict[Kind, str] = {
    "read": "MaxNodesPerRead", "write": "MaxNodesPerWrite", "browse": "MaxNodesPerBrowse",
    "translate": "MaxNodesPerTranslateBrowsePathsToNodeIds", "items": "MaxMonitoredItemsPerCall",
    "history": "MaxNodesPerHistoryReadData",
}  # fmt: skip
"""The names of the limits below OperationLimits (OPC 10000-5, clause 6.3.11)."""

FULL = frozenset({"BadTooManyMonitoredItems", "BadOutOfMemory", "BadResourceUnavailable"})
"""The server has no room for more: smaller requests fill it up, and what is left over is refused."""
TOO_MUCH = FULL | {
    "BadTooManyOperations", "BadEncodingLimitsExceeded", "BadResponseTooLarge", "BadRequestTooLarge",
    "BadTcpMessageTooLarge", "BadTooManyMatches", "BadQueryTooComplex", "BadTcpNotEnoughResources",
    "BadNoContinuationPoints",
}  # fmt: skip
"""What servers answer to a request that might be taken in smaller pieces."""
CLOSED = "closed"


class Refused(Rejected):
    """The server refuses a service as a whole; `name` is that of its status."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Asks(Protocol):
    """What the pieces are asked through; `ended_by`: the status with which the connection ended, or `CLOSED`."""

    limits: Limits
    ended_by: str


class Limits:
    """The limits of one server. What was learned is kept in the driver's home, also over a restart of ours."""

    def __init__(self, home: Home, url: str) -> None:
        self._home, self._url = home, url
        self._name = f"limits/{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"
        self._declared: dict[Kind, int] = {}
        try:
            kept = orjson.loads(home.get(self._name) or b"{}")
        except orjson.JSONDecodeError:
            kept = {}
        whole = kept if isinstance(kept, dict) else {}
        self._learned: dict[str, int] = {
            key: size for key, size in whole.items() if isinstance(size, int) and size > 0
        }  # fmt: skip

    def declare(self, kind: Kind, size: object) -> None:
        """What the server says of itself; 0 and nothing mean that it does not say."""
        if isinstance(size, int) and size > 0:
            self._declared[kind] = size

    def of(self, kind: Kind) -> int:
        """How many may be asked for at once."""
        return min(CHUNK, self._declared.get(kind, CHUNK), self._learned.get(kind, CHUNK))

    def learn(self, kind: Kind, size: int) -> None:
        """A larger request was refused, one of this size was not."""
        if size < self.of(kind):
            log.info("the server takes less at once than it says", server=self._url, request=kind, nodes=size)
            self._learned[kind] = size
            self._keep()

    def closed(self, kind: Kind, size: int) -> None:
        """The connection was closed during such a request: the second time that is what it was closed for."""
        before = self._learned.get(f"closed {kind}")
        if size > 1 and before is not None and size >= before:
            del self._learned[f"closed {kind}"]
            self.learn(kind, size // 2)
        else:
            self._learned[f"closed {kind}"] = size
            self._keep()

    def passed(self, kind: Kind, size: int) -> None:
        """A request of this size was answered, so it is not that which the connection was closed for."""
        before = self._learned.get(f"closed {kind}")
        if before is not None and size >= before:
            del self._learned[f"closed {kind}"]
            self._keep()

    def _keep(self) -> None:
        self._home.put(self._name, orjson.dumps(self._learned))


async def in_pieces(
    wire: Asks,
    kind: Kind,
    things: Sequence[T],
    ask: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
    refused: Callable[[T, str], R],
) -> list[R]:
    """Asks for all of them, as many at once as the server takes; smaller where it says that it was too much.

    `refused` is the result of one that is too much by itself. Raises what `ask` raises for any other reason.
    """
    limits, found = wire.limits, list[R]()
    left, size, largest = list(things), 0, 0
    cut = alone = False
    while left:
        size = min(len(left), size or limits.of(kind))
        some = left[:size]
        try:
            results = await ask(some)
        except Refused as refusal:
            if refusal.name not in TOO_MUCH:
                raise
            cut = True
            if size > 1:
                size //= 2
                continue
            alone = True
            rest = left if refusal.name in FULL else left[:1]
            found += [refused(one, refusal.name) for one in rest]
            left, size = left[len(rest) :], limits.of(kind)
            continue
        except LinkDown:
            if wire.ended_by in TOO_MUCH and size > 1:
                limits.learn(kind, size // 2)
            elif wire.ended_by == CLOSED:
                limits.closed(kind, size)
            raise
        limits.passed(kind, size)
        largest = max(largest, size)
        found += results
        left = left[size:]
    if cut and largest and not alone:
        limits.learn(kind, largest)
    return found


def pieces(some: Sequence[T], size: int) -> list[Sequence[T]]:
    """A sequence in pieces of at most so many."""
    return [some[start : start + size] for start in range(0, len(some), size)]
