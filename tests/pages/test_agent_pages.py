"""Every local page in a real browser, at the sizes people have, with a plant in trouble and one that is well."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from edgeflow.agent.api import build
from edgeflow.model import Block
from edgeflow.web.guard import Guard
from edgeflow.web.live import Hub
from edgeflow.web.routes import built_pages
from edgeflow.web.server import serve
from tests.pages.browser import Page
from tests.pages.conftest import DESKTOP, PHONE, SMALL_PHONE, TOKEN, WALL, Shown
from tests.pages.plant import CLOCK, OVEN, Plant

TEXTS = {
    "/": [
        "5 things need attention",
        "filler gives no data",
        "The server at 127.0.0.1:4840 does not answer. Check its power and the network cable.",
        "Flow oven_door does not run",
        "The central server is out of reach",
        "another 40 d",
        "No data",
        "Partly",
        "every 0.5 s",
        "184 results, 61.2 kB",
        "0.1.0",
        "3 d 3 h",
        "75.3 %",
        "42.4 kW",
        "Green steady",
    ],
    "/andon": [
        "Running",
        "Fault",
        "Green steady, since",
        "Red flashing, blue flashing fast",
        "Not confirmed by the light",
        "Maintenance called 2 min ago",
        "line lead was told",
        "Acknowledge",
        "Call maintenance",
    ],
    "/oee": [
        "75.3 %",
        "81.2 %",
        "94.2 %",
        "98.4 %",
        "3,481",
        "Running",
        "98.9 % of the time is known",
        "Small stops 12 min",
        "Held 114 small stop 42 s",
    ],
    "/energy": ["42.4 kW", "38.2 kW", "44.9 kW", "12.17 Wh", "6 min left", "6.12 kWh so far"],
    "/tags": [
        "filler/speed",
        "the server does not answer",
        "184.6",
        "°C",
        "Uncertain",
        "older than 5 s",
        "118,23",
        "16 tags",
    ],
    "/flows": [
        "oee_press1",
        "OEE of a machine with a state and counters",
        "38 µs",
        "9c1f5a7d31e0",
        "Not running",
        "version 9c1f5a7d was refused",
    ],
}


async def open_live(shown: Shown, path: str, size: dict[str, int], *, dark: bool = False) -> Page:
    await shown.page.open(shown.url + path, **size, dark=dark)
    await shown.page.until("document.querySelector('.connection .mark.good')")
    return shown.page


@pytest.mark.parametrize("size", [SMALL_PHONE, PHONE, DESKTOP, WALL], ids=["small phone", "phone", "desktop", "wall"])
async def test_every_page_says_what_matters_at_every_size(shown: Shown, size: dict[str, int]) -> None:
    for path, texts in TEXTS.items():
        page = await open_live(shown, path, size)
        text = " ".join((await page.text()).split())
        missing = [wanted for wanted in texts if wanted not in text]
        assert missing == [], (path, text)
        assert await page.run("document.documentElement.scrollWidth <= window.innerWidth"), path
        outside = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
        assert await page.run(outside) == [], path
    assert page.complaints == []
    host = shown.url.partition("://")[2]
    foreign = [url for url in page.requests if host not in url and not url.startswith(("about:", "data:"))]
    assert foreign == []


async def test_what_is_pressed_is_big_enough_and_everything_has_a_name(shown: Shown) -> None:
    for path in TEXTS:
        page = await open_live(shown, path, PHONE)
        small = "[...document.querySelectorAll('button, nav a, summary')].filter(e => e.getBoundingClientRect().height < 33).map(e => e.outerHTML)"
        assert await page.run(small) == [], path
        nameless = "[...document.querySelectorAll('button, a, input, [role=img]')].filter(e => !(e.innerText || '').trim() && !e.ariaLabel && !(e.labels && e.labels.length) && !e.querySelector('[aria-label]')).map(e => e.outerHTML)"
        assert await page.run(nameless) == [], path
        assert await page.run("document.querySelectorAll('h1').length") == 1, path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_text_stands_out_from_what_is_behind_it(shown: Shown, dark: bool) -> None:
    """WCAG 2.1, 1.4.3: 4.5:1, and 3:1 for large text."""
    script = await asyncio.to_thread((Path(__file__).parent / "contrast.js").read_text)
    for path in TEXTS:
        page = await open_live(shown, path, DESKTOP, dark=dark)
        assert await page.run(script) == [], path


async def test_values_move_without_a_reload(shown: Shown) -> None:
    page = await open_live(shown, "/tags", PHONE)
    await page.run("window.marked = true")
    await page.type("input[type=search]", "oven temp")
    await page.sees("1 of 16 tags")
    now = CLOCK.now_ns()
    shown.plant.columns.take(Block("oven", OVEN, [201.5, 185.0], now, now))
    await page.sees("201.5")
    await page.press("OEE")
    await page.sees("75.3 %")
    shown.plant.good = 3600
    shown.plant.oee("press1", shown.plant.now_ns, 0.9, 0.9, 1.0)
    await page.sees("81.0 %")
    await page.sees("3,600")
    shown.plant.healthy = True
    shown.plant.call("resolved")
    await page.press("Status")
    await page.sees("All is well")
    await page.run("history.back()")
    await page.sees("Availability")
    assert await page.run("window.marked") is True
    assert page.complaints == []


async def test_a_call_is_acknowledged_with_the_token_and_not_without(shown: Shown) -> None:
    page = await open_live(shown, "/andon", PHONE)
    await page.press("Acknowledge")
    await page.until("document.querySelector('dialog[open]')")
    await page.type("dialog input[type=password]", "a wrong one")
    await page.press("Acknowledge", "document.querySelector('dialog')")
    await page.sees("This token is not the right one.")
    assert shown.plant.presses == []
    await page.run("document.querySelector('dialog input').select()")
    await page.type("dialog input[type=password]", TOKEN)
    await page.press("Acknowledge", "document.querySelector('dialog')")
    await page.sees("Acknowledged: somebody is coming")
    assert shown.plant.presses == [("andon_flow", "acknowledge")]
    await page.press("Settled")
    await page.until("document.querySelector('dialog[open]')")
    assert await page.run("document.querySelector('dialog input[type=password]')") is None
    await page.press("Settled", "document.querySelector('dialog')")
    await page.until("!document.querySelector('dialog')")
    assert shown.plant.presses[1:] == [("andon_flow", "resolve")]
    assert [one for one in page.complaints if "401" not in one] == []


async def test_a_tag_is_set_by_hand(shown: Shown) -> None:
    page = await open_live(shown, "/tags", DESKTOP)
    await page.run("document.querySelector('[aria-label=\"Set oven/setpoint\"]').click()")
    await page.until("document.querySelector('dialog[open]')")
    assert await page.run("document.querySelector('dialog select').value") == "10 min"
    await page.run("document.querySelector('dialog input').select()")
    await page.type("dialog input", "192.5")
    await page.type("dialog label:nth-of-type(3) input", "trial of a new recipe")
    await page.type("dialog input[type=password]", TOKEN)
    await page.press("Write", "document.querySelector('dialog')")
    await page.until("!document.querySelector('dialog')")
    assert shown.plant.writes == [("oven/setpoint", 192.5, "trial of a new recipe")]
    assert page.complaints == []


async def test_a_lost_agent_is_said_and_a_new_one_is_found(page: Page) -> None:
    plant = Plant()
    app, feed = build(plant, Hub(CLOCK), Guard(token=TOKEN))
    async with serve(app, "127.0.0.1", 0) as served, asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed.run())
        await page.open(served.url, **PHONE)
        await page.sees("5 things need attention")
        feeding.cancel()
    await page.sees("No connection to the agent.")
    await page.sees("filler gives no data")
    assert await page.run("document.querySelector('main').className") == "stale"
    plant.healthy = True
    plant.call("resolved")
    app, feed = build(plant, Hub(CLOCK), Guard(token=TOKEN))
    async with serve(app, "127.0.0.1", served.port), asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed.run())
        await page.sees("All is well")
        assert "No connection" not in await page.text()
        assert await page.run("document.querySelector('main').className") == ""
        feeding.cancel()


@pytest.mark.parametrize("name", ["agent", "central"])
def test_the_pages_are_small_and_name_no_foreign_address(name: str) -> None:
    folder = built_pages("agent" if name == "agent" else "central")
    files = [path for path in folder.rglob("*") if path.is_file()]
    scripts = sum(path.stat().st_size for path in files if path.suffix == ".js")
    assert 0 < scripts < 150_000
    for path in files:
        text = path.read_text()
        addresses = re.findall(r"\w+://[^\s\"'`)]*", text)
        # the name of the SVG namespace is no address that anything asks for; `//${...}` is made at run time
        foreign = [one for one in addresses if not one.startswith("http://www.w3.org/")]
        assert foreign == [], path.name


async def test_a_machine_in_fault_is_no_good_day_and_a_figure_shows_its_doubt(shown: Shown) -> None:
    shown.plant.healthy = True
    known = shown.plant.records["oee", "press1/early"]
    data = {**known.data, "state": "aborted"}
    shown.plant.record("oee", "press1/early", data, begin=known.begin, status="live", coverage=0.005)
    await open_live(shown, "/", PHONE)
    await shown.page.sees("press1 is in fault")
    await shown.page.sees("only 0.5 % of the time is known")
    assert "All is well" not in await shown.page.text()
    assert await shown.page.run("document.querySelector('.big.doubtful') !== null")
    await open_live(shown, "/oee", DESKTOP)
    await shown.page.sees("only 0.5 % of the time is known")
    assert await shown.page.run("document.querySelector('.figure.main.doubtful') !== null")
