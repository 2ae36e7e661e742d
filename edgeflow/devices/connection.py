"""One open session: every request takes its turn here, has its deadline, and is contained when a driver fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from edgeflow.devices.arbiter import Arbiter
from edgeflow.driver import WritesApart
from edgeflow.errors import LinkDown, Rejected

T = TypeVar("T")

GRACE_S = 0.5
"""How long after its deadline a request may still end before the driver counts as broken."""


@dataclass(slots=True)
class LinkStats:
    """What happened on a link since the start."""

    opened: int = 0
    lost: int = 0
    requests: int = 0
    waited: int = 0
    broken: int = 0
    abandoned: int = 0


class Connection:
    """A session with its arbiter and the tasks that use it.

    `lost(reason, blamed)` is called once, at once, when the session is of no more use: `blamed` is who
    made the request that found out, where there was one. `broken(reason, error)` is called when a driver
    fails against its contract.
    """

    def __init__(
        self,
        link: str,
        session: Any,
        serial: bool,
        stats: LinkStats,
        lost: Callable[[str, Any], None],
        broken: Callable[[str, Exception | None], None],
    ) -> None:
        self.link, self.session, self.stats = link, session, stats
        self.reason = ""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.proven: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lost, self._broken = lost, broken
        self._reads = Arbiter() if serial else None
        self._writes = Arbiter() if serial and _writes_apart(session) else self._reads
        self._time = asyncio.get_running_loop().time
        self._calls: dict[object, float] = {}
        self._tasks: dict[asyncio.Task[None], object] = {}

    async def ask(
        self,
        who: object,
        request: Callable[[float], Awaitable[T]],
        timeout_s: float,
        *,
        write: bool = False,
        patient: bool = True,
    ) -> T:
        """Makes one request when it is its turn, with a deadline from then on; `who` asks once at a time.

        Where it is not `patient`, waiting for the turn counts. Raises LinkDown, also for whatever a driver
        raises against its contract, and Rejected.
        """
        arbiter = self._writes if write else self._reads
        if arbiter is not None:
            if arbiter.busy:
                self.stats.waited += 1
                waited_s = await self._turn(arbiter, write, None if patient else timeout_s)
                timeout_s -= 0 if patient else waited_s
            else:
                arbiter.busy = True
        try:
            if self.reason:
                raise LinkDown(self.reason)  # noqa: TRY301  # the turn must be given back
            self.stats.requests += 1
            self._calls[who] = deadline = self._time() + timeout_s
            return await request(deadline)
        except (LinkDown, Rejected):
            raise
        except Exception as error:  # the quarantine of a driver
            raise self._contained(error) from error
        finally:
            self._calls.pop(who, None)
            if arbiter is not None:
                arbiter.release()

    async def _turn(self, arbiter: Arbiter, write: bool, patience_s: float | None) -> float:
        begin_s = self._time()
        try:
            async with asyncio.timeout(patience_s):
                await arbiter.turn(write=write)
        except TimeoutError:
            raise Rejected(f"the link {self.link} is busy with other requests; try again") from None
        return self._time() - begin_s

    async def listen(self, watch: Awaitable[None]) -> None:
        """Awaits a driver's watch, contained in the same way, without turn and deadline."""
        try:
            await watch
        except (LinkDown, Rejected):
            raise
        except Exception as error:  # the quarantine of a driver
            raise self._contained(error) from error

    def _contained(self, error: Exception) -> LinkDown:
        self._broken(reason := failure(error), error)
        return LinkDown(reason)

    def spawn(self, client: object, who: object, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs something on this session; it ends with it. `who` is the name under which it asks.

        Not in a TaskGroup: that would cancel requests in flight, and would wait for ever for one that
        swallows its cancellation. `end` takes down every task in order instead.
        """
        task = asyncio.get_running_loop().create_task(self._run(client, work), name=f"link {self.link}")
        self._tasks[task] = who
        task.add_done_callback(self._done)
        task.add_done_callback(lambda _: work.close())  # where it was cancelled before it began
        return task

    async def _run(self, client: object, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LinkDown as error:
            self.fail(str(error), client)
        except Exception as error:  # noqa: BLE001  # the quarantine of a device: no input ends the process
            self.fail(str(self._contained(error)), client)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)

    def prove(self) -> None:
        """An answer has come: the link is good. An open socket alone proves nothing."""
        if not self.proven.done():
            self.proven.set_result(None)

    def fail(self, reason: str, blamed: object = None) -> None:
        """Declares the session lost; the first reason counts."""
        if self.reason:
            return
        self.reason = reason or "the link was lost"
        if not self.ended.done():
            self.ended.set_result(None)
        self._lost(self.reason, blamed)

    def check(self, now_s: float) -> None:
        """Looks for a request that has outlived its deadline: the driver has broken its promise."""
        if any(deadline < now_s - GRACE_S for deadline in self._calls.values()):
            reason = "the driver did not end a request by its deadline"
            self._broken(reason, None)
            self.fail(reason)

    async def end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Ends every task, then the session, in bounded time. Requests in flight end with the session.

        What does not end even when cancelled is abandoned and counted.
        """
        self.reason = self.reason or "the link is being closed"
        idle = {task for task, who in self._tasks.items() if who not in self._calls}
        await ended(idle, 1.0)
        await close()
        in_flight = set(self._tasks)
        if in_flight:
            wait_s = max(self._calls.values(), default=0.0) + GRACE_S - self._time()
            await asyncio.wait(in_flight, timeout=max(0.0, wait_s))
            self.stats.abandoned += await ended(in_flight, 1.0)


def failure(error: Exception) -> str:
    """What is said of something that a driver, or what stands on it, must never raise."""
    return f"the driver failed: {type(error).__name__}: {error}"


def _writes_apart(session: object) -> bool:
    return isinstance(session, WritesApart) and session.writes_apart


async def ended(tasks: set[asyncio.Task[Any]], patience_s: float) -> int:
    """Cancels tasks and waits for them so long; returns how many went on regardless."""
    running = {task for task in tasks if not task.done()}
    for task in running:
        task.cancel()
    if not running:
        return 0
    _, stubborn = await asyncio.wait(running, timeout=patience_s)
    return len(stubborn)
