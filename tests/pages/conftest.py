"""A served agent with a plant to look at, and one browser for all tests of the pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeflow.agent.api import build
from edgeflow.web.guard import Guard
from edgeflow.web.live import Hub
from edgeflow.web.routes import built_pages
from edgeflow.web.server import serve
from tests.pages.browser import CHROMIUM, Page, chromium
from tests.pages.plant import CLOCK, Plant

TOKEN = "token-of-the-test"
PHONE = {"width": 390, "height": 844}
SMALL_PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1440, "height": 900}
WALL = {"width": 2560, "height": 1440}


@dataclass
class Shown:
    """A plant, the address of its pages, and a browser."""

    plant: Plant
    url: str
    page: Page


@pytest.fixture(scope="session", autouse=True)
def needs() -> None:
    """What these tests stand on; missing it is a failure to prepare, not a reason to skip."""
    assert CHROMIUM, "Chromium is missing: apt-get install chromium"
    for name in ("agent", "central"):
        assert (built_pages(name) / "index.html").is_file(), "the pages are not built: make pages"


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with chromium(tmp_path / "profile") as page:
        yield page


@pytest.fixture
async def shown(page: Page) -> AsyncIterator[Shown]:
    plant = Plant()
    hub = Hub(CLOCK)
    app, feed = build(plant, hub, Guard(token=TOKEN))
    async with serve(app, "127.0.0.1", 0) as served, asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed.run())
        yield Shown(plant, served.url, page)
        await page.send("Page.navigate", url="about:blank")
        feeding.cancel()
