"""What is private in asyncua and touched in `library.py`: each name is there, and has the shape we rely on."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import asyncua
import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.ua import ua_binary

import edgeflow_opcua

FOLDER = Path(str(edgeflow_opcua.__file__)).parent
PRIVATE = re.compile(
    r"(?:client|protocol|services|transport|_transport|_client|super\(\))\._[a-z]\w+|_protocol\(\)\._\w+"
)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_a_piece_of_the_socket_is_processed_and_kept_where_we_look() -> None:
    assert parameters(UASocketProtocol._process_received_data) == ["self", "data"]
    assert parameters(UASocketProtocol._process_received_message) == ["self", "msg"]
    assert UASocketProtocol().receive_buffer is None
    assert "self._process_received_data(" in inspect.getsource(UASocketProtocol.data_received)


def test_a_request_is_sent_by_the_protocol_which_gives_a_future() -> None:
    assert parameters(UASocketProtocol._send_request) == ["self", "request", "timeout", "message_type"]
    assert not inspect.iscoroutinefunction(UASocketProtocol._send_request)
    with pytest.raises(ConnectionError):
        UASocketProtocol()._send_request(ua.ReadRequest())


def test_the_exchange_of_a_token_is_held_in_one_place() -> None:
    assert UASocketProtocol()._open_secure_channel_exchange is None
    source = inspect.getsource(UASocketProtocol._process_received_data)
    assert "self._open_secure_channel_exchange = response" in source


def test_the_transport_makes_its_protocol_and_sends_through_one_method() -> None:
    assert parameters(UaClient._make_protocol) == ["self"]
    assert parameters(UaClient._send_request) == ["self", "request", "timeout", "message_type"]
    assert inspect.iscoroutinefunction(UaClient._send_request)
    assert parameters(UaClient._on_transport_lost) == ["self", "_exc"]
    for service in (UaClient.get_endpoints, Client.create_session, Client.activate_session):
        assert "self.uaclient." in inspect.getsource(service) or "self._send_request(" in inspect.getsource(service)


def test_the_user_is_shown_by_three_attributes_of_the_client() -> None:
    client = Client("opc.tcp://127.0.0.1")
    client.set_user("name")
    client.set_password("secret")
    assert (client._username, client._password) == ("name", "secret")
    assert "self._policy_ids = ep.UserIdentityTokens" in inspect.getsource(Client.create_session)
    assert "self._policy_ids" in inspect.getsource(Client.server_policy)


def test_nothing_private_is_touched_elsewhere_and_nothing_is_replaced() -> None:
    for file in FOLDER.glob("*.py"):
        text = file.read_text()
        if file.name != "library.py" and "asyncua" in text:
            assert not PRIVATE.findall(text.replace("self._client._", "")), file.name
    assert ua_binary.unpack_uatype_array.__module__ == "asyncua.ua.ua_binary"
    assert UaClient.__module__ == "asyncua.client.ua_client"
    assert Path(str(asyncua.__file__)).exists()
