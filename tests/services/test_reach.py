"""What flows may reach: not the gateway itself, no machine behind a link, no topic that sets something."""

from __future__ import annotations

import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from edgeflow.model import Call
from edgeflow.outputs.policy import Permit, Policy, ReachPermit
from edgeflow.services.http import HttpService
from edgeflow.services.reach import Reach, unfit
from tests.services.conftest import Working


def allowing(*targets: str, service: str = "http", flows: tuple[str, ...] = ("*",)) -> Reach:
    return Reach(Policy(reaches=(ReachPermit(service, targets, flows),)))


class Server:
    """Knows who was let in, and answers by path."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.port = 0
        self.elsewhere = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, dict(request.headers)))
        match request.path:
            case "/away":
                return web.Response(status=307, headers={"Location": self.elsewhere})
            case "/round":
                return web.Response(status=302, headers={"Location": "/round"})
            case "/bomb":
                packed = gzip.compress(b"0" * 50_000_000)
                return web.Response(body=packed, headers={"Content-Encoding": "gzip"})
            case "/deep":
                return web.Response(body=b"[" * 210 + b"]" * 210, content_type="application/json")
            case "/brackets":
                return web.json_response(["[{" * 500, '\\"[[' * 500])
        return web.json_response({"path": request.path})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as running:
        assert running.port
        server.port = running.port
        yield server


async def ask(working: Working, reach: Reach, url: str, **more: Any) -> tuple[bool, Any]:
    call = Call("call-1", "flow", "node", "http", {"url": url, "method": "GET", **more}, 0, 0)
    async with working(reach, http=HttpService(reach, pause_s=0.01)) as answers:
        answers.services.submit(call)
        (answer,) = await answers.of(call.id)
    return answer.ok, answer.value if answer.ok else answer.error


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.9.10",
        "localhost",
        "LocalHost",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::7f00:1]",
        "169.254.169.254",
        "[fe80::1]",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        socket.gethostname(),
    ],
)
async def test_the_gateway_itself_cannot_be_asked_by_any_of_its_names(
    host: str, server: Server, working: Working
) -> None:
    ok, reason = await ask(working, Reach(), f"http://{host}:{server.port}/api/v1/status")
    assert not ok
    assert server.asked == []
    assert "policy" in reason or "cannot be asked" in reason or "address of many" in reason, reason


async def test_a_rule_for_any_host_does_not_open_the_gateway_itself(server: Server, working: Working) -> None:
    for pattern in ("*", "*:*", "local*", "127.0.0.*", "http://*/*"):
        for host in ("127.0.0.1", "localhost"):
            ok, reason = await ask(working, allowing(pattern), f"http://{host}:{server.port}/")
            assert (ok, server.asked) == (False, []), reason


async def test_a_rule_that_names_the_address_opens_it_to_its_flows_alone(server: Server, working: Working) -> None:
    here = f"127.0.0.1:{server.port}"
    assert (await ask(working, allowing(here), f"http://{here}/a"))[0]
    assert (await ask(working, allowing(f"http://{here}/api/*"), f"http://{here}/api/b"))[0]
    for reach in (allowing(here, flows=("other",)), allowing("127.0.0.1:1"), allowing(f"http://{here}/api/*")):
        ok, reason = await ask(working, reach, f"http://{here}/a")
        assert not ok
        assert "does not let the flow flow reach" in reason
    assert [path for _, path, _ in server.asked] == ["/a", "/api/b"]


async def test_what_one_flow_may_reach_another_does_not_through_the_same_connection(
    server: Server, working: Working
) -> None:
    reach = Reach(
        Policy(
            reaches=(
                ReachPermit("http", (f"127.0.0.1:{server.port}",), ("good",)),
                ReachPermit("http", ("localhost.test",), ("bad",)),
            )
        )
    )
    async with working(reach, http=HttpService(reach, pause_s=0.01)) as answers:
        for number, flow in enumerate(("good", "bad", "good")):
            url = f"http://127.0.0.1:{server.port}/{flow}"
            answers.services.submit(Call(str(number), flow, "node", "http", {"url": url, "method": "GET"}, 0, 0))
            await answers.of(str(number))
        assert [answers.by_call[call].ok for call in "012"] == [True, False, True]


@pytest.mark.parametrize(
    "target", ["http://localhost:{port}/inside", "http://[::ffff:127.0.0.1]:{port}/inside", "//0.0.0.0:{port}/inside"]
)
async def test_a_redirect_leads_nowhere_else(target: str, server: Server, working: Working) -> None:
    server.elsewhere = target.format(port=server.port)
    ok, reason = await ask(
        working, allowing(f"http://127.0.0.1:{server.port}/away"), f"http://127.0.0.1:{server.port}/away"
    )
    assert not ok
    assert "redirects, but" in reason
    assert [path for _, path, _ in server.asked] == ["/away"]


async def test_a_redirect_to_another_server_takes_no_secret_along(server: Server, working: Working) -> None:
    server.elsewhere = f"http://localhost:{server.port}/there"
    reach = allowing("127.0.0.1", "localhost")
    headers = {"Authorization": "Bearer secret", "X-Key": "secret"}
    ok, _ = await ask(working, reach, f"http://127.0.0.1:{server.port}/away", headers=headers)
    assert ok
    assert server.asked[0][2]["X-Key"] == "secret"
    assert "secret" not in str(server.asked[1])


async def test_redirects_without_end_have_one(server: Server, working: Working) -> None:
    ok, reason = await ask(working, allowing("127.0.0.1"), f"http://127.0.0.1:{server.port}/round")
    assert (ok, "redirects more than 5 times" in reason) == (False, True)


@pytest.mark.parametrize("name", ["Host", "host", "HOST ", "Transfer-Encoding", "Content-Length", "Accept-Encoding"])
async def test_headers_of_the_connection_cannot_be_chosen(name: str, server: Server, working: Working) -> None:
    url = f"http://127.0.0.1:{server.port}/"
    ok, reason = await ask(working, allowing("127.0.0.1"), url, headers={name: "other.example"})
    assert (ok, server.asked) == (False, [])
    assert "cannot be chosen" in reason


async def test_an_address_holds_no_password_and_none_is_repeated(working: Working) -> None:
    for url in ("http://user:hunter2@10.0.0.9/", "http://hunter2@mes.example/a", "https://:hunter2@[::1]/"):
        ok, reason = await ask(working, Reach(), url)
        assert not ok
        assert "a user or a password" in reason
        assert "hunter2" not in reason


async def test_an_answer_in_an_encoding_is_not_unpacked(server: Server, working: Working) -> None:
    ok, reason = await ask(working, allowing("127.0.0.1"), f"http://127.0.0.1:{server.port}/bomb")
    assert (ok, "encoding 'gzip', which was not asked for" in reason) == (False, True)
    assert server.asked[0][2]["Accept-Encoding"] == "identity"


async def test_an_answer_that_is_nested_too_deeply_is_refused_where_it_comes_in(
    server: Server, working: Working
) -> None:
    ok, reason = await ask(working, allowing("127.0.0.1"), f"http://127.0.0.1:{server.port}/deep")
    assert (ok, "nested more than 100 deep" in reason) == (False, True)
    assert (await ask(working, allowing("127.0.0.1"), f"http://127.0.0.1:{server.port}/brackets"))[0]


def test_machines_behind_links_are_not_asked_without_a_rule() -> None:
    reach = Reach(hosts=("10.0.0.5", "plc.example"))
    for url in (
        "http://10.0.0.5/relay?on",
        "http://10.0.0.5:8080/",
        "https://PLC.example/",
        "http://[::ffff:10.0.0.5]/",
    ):
        assert "behind a link" in reach.refuses("http", url, "flow"), url
    assert "behind a link" in reach.refuses_connection("10.0.0.5", 80, "flow")
    assert "behind a link" in reach.refuses_connection("10.0.0.7", 80, "flow", {"10.0.0.7"})
    assert reach.refuses("http", "https://mes.example/", "flow") == ""
    assert reach.refuses_connection("10.0.0.6", 80, "flow") == ""
    allowed = Reach(Policy(reaches=(ReachPermit("http", ("10.0.0.5",), ("*",)),)), hosts=("10.0.0.5",))
    assert allowed.refuses("http", "http://10.0.0.5/relay?on", "flow") == ""
    assert allowed.refuses_connection("10.0.0.5", 80, "flow") == ""


COMMANDS = {"mqtt:plant/oven/setpoint": "oven/setpoint", "mqtt:spBv1.0/g/DCMD/n/d": "cell/speed"}


def test_a_topic_that_sets_a_tag_is_for_those_who_may_drive_the_tag() -> None:
    nobody = Reach(Policy(permits=()), commands=COMMANDS)
    for topic in ("plant/oven/setpoint", "spBv1.0/g/DCMD/n/d"):
        assert "sets the tag" in nobody.refuses("mqtt", topic, "flow")
        assert "sets the tag" in Reach(commands=COMMANDS).refuses("mqtt", topic, "flow")
    some = Reach(Policy(permits=(Permit("oven/*", ("good",)),)), commands=COMMANDS)
    assert some.refuses("mqtt", "plant/oven/setpoint", "good") == ""
    assert some.refuses("mqtt", "plant/oven/setpoint", "bad")
    bounded = Reach(Policy(permits=(Permit("oven/*", ("good",), 20, 240),)), commands=COMMANDS)
    assert bounded.refuses("mqtt", "plant/oven/setpoint", "good"), "a publish keeps no range"


def test_a_topic_that_sets_something_needs_a_rule() -> None:
    topics = ["spBv1.0/g/NCMD/n", "spBv1.0/other/DCMD/n/d", "zigbee2mqtt/plug/set", "cmnd/plug/POWER", "a/command/b"]
    for topic in topics:
        assert "sets something" in Reach().refuses("mqtt", topic, "flow"), topic
        assert allowing(topic, service="mqtt").refuses("mqtt", topic, "flow") == ""
    for topic in ("line1/oven", "settings/a", "spBv1.0/g/NDATA/n", "plant/commands"):
        assert Reach().refuses("mqtt", topic, "flow") == ""


def test_a_rule_of_a_service_is_all_that_can_be_reached_and_a_wildcard_sets_no_tag() -> None:
    reach = Reach(Policy(reaches=(ReachPermit("mqtt", ("*", "plant/oven/setpoint2"), ("good",)),)), commands=COMMANDS)
    assert reach.refuses("mqtt", "line1/oven", "good") == ""
    assert "sets the tag" in reach.refuses("mqtt", "plant/oven/setpoint", "good")
    assert "does not let the flow bad" in reach.refuses("mqtt", "line1/oven", "bad")
    named = Reach(Policy(reaches=(ReachPermit("mqtt", ("plant/oven/setpoint",), ("good",)),)), commands=COMMANDS)
    assert named.refuses("mqtt", "plant/oven/setpoint", "good") == ""


@pytest.mark.parametrize("target", ["http://user@mes", "mes plant", "ftp://mes", "mes:port", "http://"])
def test_a_target_that_is_none_is_said(target: str) -> None:
    assert "write a host" in unfit("http", target)


@pytest.mark.parametrize(
    "target", ["mes.example", "10.0.0.9:8080", "https://mes.example/api/*", "[::1]:80", "*.plant:*"]
)
def test_a_target_is_a_host_with_or_without_port_and_path(target: str) -> None:
    assert unfit("http", target) == ""
