"""Commissioning over HTTP: real server, real devices part, fake wires; what takes time comes as lines and can be left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import Field

from edgeflow.agent.api import build
from edgeflow.agent.commission import LINES, Commission
from edgeflow.agent.views import Drivers, FindingLine, LinkAbout, Links, RawTags, Templates
from edgeflow.clock import SystemClock
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices
from edgeflow.document import parse
from edgeflow.driver import Driver, Finding, Home, Note, Progress, Row, Tool
from edgeflow.errors import LinkDown
from edgeflow.model import Strict
from edgeflow.testing.relay import until
from edgeflow.testing.session import Wire
from edgeflow.web.guard import Guard
from edgeflow.web.live import Hub
from edgeflow.web.server import serve
from tests.pages.plant import CLOCK, Plant

KEY = {"Authorization": "Bearer token-of-the-test"}
CONFIG = """
links:
  line: {driver: exclusive}
  net: {driver: shared}
devices:
  meter: {link: line, every: 50 ms, tags: {a: {address: 1, scale: 10}}}
  press: {link: net, every: 50 ms, tags: {b: {address: 1}}}
"""


class Options(Strict):
    """What the tool is told."""

    rows: int = Field(default=2, ge=0, description="How many rows it finds.")
    then: str = Field(default="end", description="`end`, `fail`, `wait` or `refuse`.")


class Bench:
    """A gateway whose links lead to fake wires, with a tool that does what it is told, and a client."""

    def __init__(self, folder: Path) -> None:
        self.wires = {"exclusive": Wire({1: 7}), "shared": Wire({1: 8})}
        self.running = self.ended = 0
        drivers = {name: self._driver(name) for name in self.wires}
        plant = read_links_and_devices(
            parse(CONFIG, str(folder / "gateway.yaml")), drivers.__getitem__, lambda: drivers
        )
        self.devices = Devices(plant, {}, lambda block: None, SystemClock(), lambda name: Home())
        self.commission = Commission(plant, self.devices, lambda name: Home(), folder, SystemClock())
        self.url = ""
        self.client: Any = None

    def _driver(self, name: str) -> Driver[Any, Any, Any]:
        tool = Tool("find", "Finds rows.", Options, lambda link, home, options: self._find(name, link, options))
        return replace(self.wires[name].driver(name), tools=lambda: (tool,), exclusive=lambda link: name == "exclusive")

    async def _find(self, name: str, link: Any, options: Options) -> AsyncIterator[Finding]:
        self.running += 1
        try:
            if options.then == "refuse":
                raise LinkDown("nobody answers")
            opened = len(self.wires[name].requests("open")) - len(self.wires[name].requests("close"))
            yield Note(f"{opened} sessions are open")
            for i in range(options.rows):
                yield Progress(i, options.rows, "looking")
                yield Row({"number": i, "raw": b"\x01", "nan": float("nan")}, {"address": i})
            if options.then == "fail":
                raise LinkDown("the cable was pulled")
            while options.then == "wait":
                await asyncio.sleep(0.05)
                yield Progress(0, 0)
        finally:
            self.running -= 1
            self.ended += 1

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.client.get(self.url + path) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json(content_type=None)

    async def post(self, path: str, body: Any, status: int = 200, headers: Any = KEY) -> Any:
        async with self.client.post(self.url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            if answer.content_type == LINES:
                return [json.loads(line) for line in text.splitlines()]
            return json.loads(text)

    async def good(self, link: str) -> None:
        await until(lambda: self.link(link).state == "good", f"{link} is good")

    def link(self, name: str) -> Any:
        return next(status for status in self.devices.status().links if status.name == name)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    hub = Hub(CLOCK, pace_s=0.01)
    app, _ = build(Plant(), hub, Guard(token="token-of-the-test"), more=bench.commission.routes())
    async with running(bench.devices), serve(app, "127.0.0.1", 0) as served, aiohttp.ClientSession() as client:
        bench.url, bench.client = served.url, client
        await bench.good("line")
        await bench.good("net")
        yield bench


@asynccontextmanager
async def running(devices: Devices) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(devices.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


TOOL = "/api/v1/drivers/shared/tools/find"
TOOL_ALONE = "/api/v1/drivers/exclusive/tools/find"


async def test_the_links_are_told_with_what_can_be_done(bench: Bench) -> None:
    links = Links.model_validate(await bench.get("/api/v1/links")).links
    assert links[0] == LinkAbout(
        name="line", driver="exclusive", address="fake", state="good", exclusive=True, devices=["meter"], tools=["find"]
    )
    assert not links[1].exclusive


async def test_drivers_are_told_by_name_and_one_with_its_settings(bench: Bench) -> None:
    assert "modbus" in Drivers.model_validate(await bench.get("/api/v1/drivers")).drivers
    modbus = await bench.get("/api/v1/drivers/modbus")
    assert "host" in modbus["link"]["properties"]
    assert {"scan", "guess"} <= {tool["name"] for tool in modbus["tools"]}
    assert "did you mean 'modbus'" in (await bench.get("/api/v1/drivers/modbsu", 404))["detail"]


async def test_templates_are_those_of_the_drivers_in_use_or_of_one(bench: Bench) -> None:
    assert Templates.model_validate(await bench.get("/api/v1/templates")).templates == []
    found = Templates.model_validate(await bench.get("/api/v1/templates?driver=modbus")).templates
    assert "eastron/sdm630" in {template.template for template in found}


async def test_raw_values_are_kept_while_somebody_asks(bench: Bench) -> None:
    await bench.get("/api/v1/raw/meter")
    raw: dict[str, Any] = {"names": []}
    while not raw["names"]:
        raw = await bench.get("/api/v1/raw/meter")
    assert RawTags.model_validate(raw).raw == [7], "the tag itself is 70"
    assert "no device 'metre'; did you mean 'meter'?" in (await bench.get("/api/v1/raw/metre", 404))["detail"]


async def test_findings_come_as_lines_and_end_with_one_that_says_so(bench: Bench) -> None:
    lines = await bench.post(TOOL, {"link": "net", "options": {"rows": 1}})
    assert [FindingLine.model_validate(line).kind for line in lines] == ["note", "progress", "row", "end"]
    assert lines[0]["text"] == "1 sessions are open", "the agent goes on with its own"
    assert lines[2] == {"kind": "row", "cells": {"number": 0, "raw": "01", "nan": "nan"}, "point": {"address": 0}}


async def test_without_the_token_nothing_is_sent_to_a_device(bench: Bench) -> None:
    for path in (TOOL, "/api/v1/browse", "/api/v1/check"):
        await bench.post(path, {"link": "net", "device": "press"}, 401, {})
        await bench.post(path, {"link": "net", "device": "press"}, 401, {"Authorization": "Bearer wrong"})
        foreign = KEY | {"Origin": "http://elsewhere.example"}
        await bench.post(path, {"link": "net", "device": "press"}, 403, foreign)
    assert bench.ended == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (TOOL, {"link": "nett"}, 404, "did you mean 'net'?"),
        (TOOL, {"link": "line"}, 409, "speaks exclusive, not shared"),
        (TOOL.replace("find", "fnd"), {"link": "net"}, 409, "did you mean 'find'?"),
        (TOOL, {"link": "net", "options": {"rows": -1}}, 422, "options.rows: -1 is too small"),
        (TOOL, {"link": "net", "options": {"rwos": 1}}, 422, "did you mean 'rows'?"),
        (TOOL, {"link": "net", "options": {"then": "refuse"}}, 503, "nobody answers"),
        ("/api/v1/drivers/modbus/tools/scan", {"link": {"host": "x", "prot": 1}}, 422, "did you mean 'port'?"),
        ("/api/v1/browse", {"link": {"host": "x"}}, 422, "link.driver: is required"),
        ("/api/v1/browse", {"link": {"driver": "modbsu"}}, 404, "did you mean 'modbus'?"),
        ("/api/v1/browse", {"link": "net"}, 409, "cannot look around"),
        ("/api/v1/check", {"device": "pres"}, 404, "did you mean 'press'?"),
    ],
)
async def test_what_cannot_be_is_answered_before_any_line(
    bench: Bench, path: str, body: Any, status: int, words: str
) -> None:
    answer = await bench.post(path, body, status)
    assert words in answer["detail"], answer


async def test_what_fails_after_the_first_line_is_the_last_line(bench: Bench) -> None:
    lines = await bench.post(TOOL, {"link": "net", "options": {"then": "fail"}})
    assert lines[-1] == {"kind": "error", "text": "the cable was pulled"}


async def test_a_tool_ends_when_the_client_leaves(bench: Bench) -> None:
    body = {"link": "net", "options": {"then": "wait"}}
    async with bench.client.post(bench.url + TOOL, json=body, headers=KEY) as answer:
        await answer.content.readline()
        assert bench.running == 1
    await until(lambda: bench.running == 0, "the tool has ended")


async def test_only_so_many_run_at_once(bench: Bench) -> None:
    body = {"link": "net", "options": {"then": "wait"}}
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(bench.post(TOOL, body)) for _ in range(4)]
        await until(lambda: bench.running == 4, "four tools run")
        assert "are running" in (await bench.post(TOOL, body, 503))["detail"]
        for task in waiting:
            task.cancel()
    await until(lambda: bench.running == 0, "they have ended")


@pytest.mark.parametrize(
    ("driver", "settings", "named"),
    [
        ("mqtt", {"host": "127.0.0.1", "user": "x", "password": {"env": "HOME"}}, "password"),
        ("mqtt", {"host": "127.0.0.1", "user": "x", "password": {"file": "/etc/hostname"}}, "password"),
        ("mqtt", {"host": "127.0.0.1", "tls": {"ca": "/etc/hostname"}}, "tls.ca"),
        ("modbus", {"host": "127.0.0.1", "transport": "tls", "certificate": "/etc/hostname"}, "certificate"),
        ("opcua", {"url": "opc.tcp://127.0.0.1", "user": "x", "password": {"env": "HOME"}}, "password"),
    ],
)
async def test_a_link_given_in_a_request_cannot_send_files_and_secrets_anywhere(
    bench: Bench, driver: str, settings: dict[str, Any], named: str
) -> None:
    refused = await bench.post("/api/v1/browse", {"link": {"driver": driver, **settings}}, 422)
    assert f"link.{named}: files and secrets of this machine go only to links" in refused["detail"]


async def test_a_link_for_one_is_given_up_only_if_asked_and_taken_back(bench: Bench) -> None:
    answer = await bench.post(TOOL_ALONE, {"link": "line"}, 409)
    assert "is in use by the agent" in answer["detail"]
    assert "meter is not read and not written" in answer["detail"]
    assert bench.link("line").state == "good"
    lines = await bench.post(TOOL_ALONE, {"link": "line", "take": True})
    assert lines[0]["text"] == "0 sessions are open"
    await bench.good("line")
    assert bench.link("line").reason == ""


async def test_meanwhile_its_devices_say_why_they_are_not_read(bench: Bench) -> None:
    body = {"link": "line", "take": True, "options": {"then": "wait"}}
    async with bench.client.post(bench.url + TOOL_ALONE, json=body, headers=KEY) as answer:
        await answer.content.readline()
        (meter, _) = bench.devices.status().devices
        assert (meter.state, meter.reason) == ("bad", "given to the tool exclusive find")
        again = await bench.post(TOOL_ALONE, body, 409)
        assert "given to the tool exclusive find" in again["detail"]
        assert bench.link("net").state == "good"
    await bench.good("line")


async def test_a_device_is_tried_on_the_session_that_the_agent_has(bench: Bench) -> None:
    opened = len(bench.wires["exclusive"].requests("open"))
    lines = await bench.post("/api/v1/check", {"device": "meter", "reads": 2, "every": "10 ms"})
    assert lines[-2]["text"] == "meter: 1 of 1 tags were read."
    assert lines[-3]["cells"]["value"] == 70
    assert len(bench.wires["exclusive"].requests("open")) == opened
    bench.wires["exclusive"].drop()
    await until(lambda: bench.link("line").state == "bad", "the link is lost")
    assert "the connection was reset" in (await bench.post("/api/v1/check", {"device": "meter"}, 503))["detail"]


async def test_the_openapi_document_describes_the_lines(bench: Bench) -> None:
    document = await bench.get("/api/v1/openapi.json")
    OpenAPIV31SpecValidator(document).validate()
    operation = document["paths"]["/api/v1/drivers/{driver}/tools/{tool}"]["post"]
    assert operation["security"] == [{"token": []}]
    assert LINES in operation["responses"]["200"]["content"]
