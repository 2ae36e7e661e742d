"""Headless Chromium driven over the DevTools protocol: enough to open a page, look and press."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--lang=en-GB",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket, self._session = socket, session
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def listen(self) -> None:
        """Takes in what the browser says; runs beside the test."""
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                waiting = self._waiting.pop(told["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
            else:
                self._notice(told.get("method", ""), told.get("params", {}))

    def _notice(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(params["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        told = await asyncio.wait_for(answer, 20)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']['message']}")
        return dict(told["result"])

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        told = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(str(told["exceptionDetails"]))
        return told["result"].get("value")

    async def open(self, url: str, *, width: int, height: int, dark: bool = False) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def until(self, script: str, bound_s: float = 15.0) -> None:
        """Waits until the expression is true; fails with what the page shows instead."""
        try:
            async with asyncio.timeout(bound_s):
                while True:
                    if await self.run(f"Boolean({script})"):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never came true: {script}\n{await self.text()}\n{self.complaints}") from None

    async def sees(self, text: str) -> None:
        await self.until(f"document.body.innerText.includes({text!r})")

    async def text(self) -> str:
        return str(await self.run("document.body.innerText"))

    async def press(self, text: str, inside: str = "document") -> None:
        """Presses the first button or link with this text."""
        buttons = f"[...{inside}.querySelectorAll('button, a, summary')]"
        await self.until(f"{buttons}.find(one => one.innerText.trim() === {text!r})")
        await self.run(f"{buttons}.find(one => one.innerText.trim() === {text!r}).click()")

    async def type(self, selector: str, text: str) -> None:
        await self.until(f"document.querySelector({selector!r})")
        await self.run(f"document.querySelector({selector!r}).focus()")
        await self.send("Input.insertText", text=text)

    async def picture(self, path: Path, *, whole: bool = True) -> None:
        told = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(told["data"]))


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """A browser with an empty profile in `folder`, one tab, gone with the block."""
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        address = await _address(folder / "DevToolsActivePort", process)
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(address, max_msg_size=64 << 20) as socket,
        ):
            page = Page(socket, "")
            listening = asyncio.create_task(page.listen())
            try:
                target = await page.send("Target.createTarget", url="about:blank")
                attached = await page.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
                page._session = attached["sessionId"]
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await page.send(f"{domain}.enable")
                yield page
                page._session = ""
                with suppress(RuntimeError, TimeoutError, ConnectionError):
                    await page.send("Browser.close")
            finally:
                listening.cancel()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _address(file: Path, process: asyncio.subprocess.Process) -> str:
    """Where the browser listens; it writes that into its profile."""
    async with asyncio.timeout(30):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"Chromium ended with {process.returncode}")
            lines = (await asyncio.to_thread(_read, file)).split("\n")
            if len(lines) >= 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            await asyncio.sleep(0.05)


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""
