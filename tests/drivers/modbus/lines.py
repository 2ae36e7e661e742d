"""What the tests put at the other end: servers of their own, and serial lines without hardware."""

import asyncio
import os
import shutil
import tty
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from edgeflow.testing.relay import until


@asynccontextmanager
async def serving(handle):
    """Serves on a free port, which it yields; in the end every connection is closed and its handler has ended."""
    tasks = set()

    async def connected(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def socat_pair(folder: Path):
    """Two ends of one line, as paths; and what unplugs it."""
    program = shutil.which("socat")
    assert program, "socat is needed: apt-get install socat"
    ends = folder / "near", folder / "far"
    process = await asyncio.create_subprocess_exec(program, *(f"pty,rawer,link={end}" for end in ends))
    try:
        await until(lambda: all(end.exists() for end in ends), "socat makes its line")
        yield (*map(str, ends), process)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


class SerialRelay:
    """As `edgeflow.testing.Relay`, but the driver's side is a serial line: `path`. The server speaks RTU over TCP.

    What is held back while it hangs goes on the line when it goes on, whoever has it open then.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.path = str(folder / "line")
        self._port = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._line = -1
        self._open = False
        self._tasks: list[asyncio.Task] = []

    @property
    def connections(self) -> int:
        return int(self._open)

    def hang(self) -> None:
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    async def restore(self) -> None:
        self._line, other = os.openpty()
        tty.setraw(other)
        os.set_blocking(self._line, False)
        self._name_it(os.ttyname(other))
        os.close(other)
        reader, self._server = await asyncio.open_connection("127.0.0.1", self._port)
        self._tasks = [asyncio.ensure_future(self._up()), asyncio.ensure_future(self._down(reader))]

    async def drop(self) -> None:
        """Unplugs the adapter."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._line >= 0:
            os.close(self._line)
            self._server.transport.abort()
        self._line, self._open = -1, False
        self._name_it(None)
        self._flows.set()

    def _name_it(self, name: str | None) -> None:
        Path(self.path).unlink(missing_ok=True)
        if name is not None:
            Path(self.path).symlink_to(name)

    async def _up(self) -> None:
        while True:
            try:
                self._server.write(os.read(self._line, 4096))
            except BlockingIOError:
                self._open = True
            except OSError:  # nobody has the other end open
                self._open = False
            await asyncio.sleep(0.001)

    async def _down(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(4096):
            await self._flows.wait()
            os.write(self._line, data)

    async def __aenter__(self):
        await self.restore()
        return self

    async def __aexit__(self, *_):
        await self.drop()
