"""The first page of the central server, over a real one: gateways, their flows, live values and results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edgeflow.central.server import started, token_for
from edgeflow.central.settings import Settings
from edgeflow.clock import utc_text
from edgeflow.web.server import Served
from tests.pages.browser import Page
from tests.pages.conftest import DESKTOP, PHONE, SMALL_PHONE
from tests.pages.plant import CLOCK

KEY = "k" * 40
VERSION = "9c1f5a7d31e0b8c64f2a90d5b7e3f18c26ad4470e9b5c3d8f1a27e6604bd9351"
OTHER = "0a11f5a7d31e0b8c64f2a90d5b7e3f18c26ad4470e9b5c3d8f1a27e6604bd93a"


class Gateway:
    """What a gateway says to the central server, word by word."""

    def __init__(self, client: aiohttp.ClientSession, url: str, name: str) -> None:
        self.client, self.url, self.name = client, url, name
        self.seq = 1

    async def say(self, method: str, path: str, body: Any) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with self.client.request(method, self.url + path, json=body, headers=headers) as response:
            assert response.status in (200, 204), await response.text()

    async def enrol(self, token: str) -> None:
        about = {"name": self.name, "place": "north/hall2", "software": "0.1.0"}
        await self.say("POST", "/api/v1/enrol", {"protocol": 1, "token": token, "key": KEY, "about": about})

    async def report(self, *flows: dict[str, str]) -> None:
        about = {"name": self.name, "place": "north/hall2", "software": "0.1.0"}
        body = {"revision": 0, "about": about, "flows": flows}
        await self.say("PUT", f"/api/v1/gateways/{self.name}/reported", body)

    async def send(self, *records: dict[str, Any]) -> None:
        body = {"protocol": 1, "epoch": "00000000000000aa", "seq": self.seq, "records": records}
        await self.say("POST", f"/api/v1/gateways/{self.name}/batches", body)
        self.seq += len(records)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        address = f"{self.url}/api/v1/gateways/{self.name}/socket"
        async with self.client.ws_connect(address, headers={"Authorization": f"Bearer {KEY}"}) as socket:
            await socket.receive()
            yield socket


def record(stream: str, key: str, data: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"stream": stream, "key": key, "version": 1, "at": utc_text(CLOCK.now_ns()), "data": data} | more


OEE = {"machine": "press1", "oee": 0.753, "availability": 0.812, "performance": 0.942, "quality": 0.984, "good": 3481}


@pytest.fixture
async def central(tmp_path: Path) -> AsyncIterator[tuple[Served, Settings]]:
    settings = Settings(state=tmp_path / "central", port=0)
    async with started(settings) as served:
        yield served, settings


async def test_an_empty_server_says_what_to_do_first(page: Page, central: tuple[Served, Settings]) -> None:
    await page.open(central[0].url, **PHONE)
    await page.sees("No gateway yet")
    await page.sees("edgeflow central token")
    assert page.complaints == []


@pytest.mark.parametrize("size", [SMALL_PHONE, PHONE, DESKTOP], ids=["small phone", "phone", "desktop"])
async def test_gateways_flows_and_results_are_seen_as_they_come(
    page: Page, central: tuple[Served, Settings], size: dict[str, int]
) -> None:
    served, settings = central
    await page.open(served.url, **size)
    async with aiohttp.ClientSession() as client:
        gateway = Gateway(client, served.url, "line3")
        await gateway.enrol((await token_for(settings, "line3")).token)
        await page.sees("line3")
        await page.sees("Not connected")
        async with gateway.connected() as socket:
            await page.sees("1 of 1 gateway connected")
            running = {"instance": "oee_press1", "flow": "oee/machine", "active": VERSION, "state": "running"}
            reason = "The tag oven/door does not exist on this gateway."
            refused = {"instance": "oven", "flow": "oven/door", "active": VERSION, "state": "running", "wanted": OTHER}
            refused |= {"fate": "refused", "fate_reason": reason}
            await gateway.report(running, refused)
            for text in ("oee_press1", "Running", "was refused", f"{VERSION[:8]} goes on", reason, OTHER[:8]):
                await page.sees(text)
            await gateway.send(record("oee", "press1/early", OEE, coverage=0.998))
            await page.sees("press1: OEE 75.3 % (A 81 %, P 94 %, Q 98 %), 3,481 good")
            await page.sees("99.8 %")
            live = record(
                "energy", "meter", {"meter": "meter", "kw": 42.37, "kwh": 6.1, "demand_kw": 38.2}, status="live"
            )
            await socket.send_json({"type": "live", "records": [live]})
            await page.sees("meter: 42.4 kW now, 6.10 kWh, demand 38.2 kW")
            assert await page.run("document.documentElement.scrollWidth <= window.innerWidth")
        await page.sees("Not connected")
    assert page.complaints == []
    host = served.url.partition("://")[2]
    assert [url for url in page.requests if host not in url and not url.startswith(("about:", "data:"))] == []
