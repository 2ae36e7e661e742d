"""Publishing to a broker that wants TLS, a certificate and a password."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import aiomqtt

from edgeflow.document import parse
from edgeflow.services.mqtt import MqttService
from edgeflow.services.settings import MqttSettings
from tests.drivers.mqtt.authority import Authority
from tests.drivers.mqtt.conftest import Broker
from tests.services.conftest import Working
from tests.services.test_mqtt import publish


async def test_what_is_published_over_tls_with_a_password_arrives(tmp_path: Path, working: Working) -> None:
    authority = Authority(tmp_path)
    pair, own = authority.pair("broker", address="127.0.0.1"), authority.pair("gateway")
    users = tmp_path / "users"
    await asyncio.to_thread(subprocess.run, ["mosquitto_passwd", "-b", "-c", users, "gateway", "sesame"], check=True)
    (tmp_path / "broker.secret").write_text("sesame\n")
    broker = Broker(tmp_path, f"certfile {pair.certificate}", f"keyfile {pair.key}", f"cafile {authority.ca}",
                    "require_certificate true", f"password_file {users}", anonymous=False)  # fmt: skip
    text = f"""
      host: 127.0.0.1
      port: {broker.port}
      user: gateway
      password: {{file: broker.secret}}
      tls: {{ca: authority.pem, certificate: gateway.pem, key: gateway.key}}
    """
    settings = parse(text, str(tmp_path / "gateway.yaml")).model(MqttSettings)
    tls = aiomqtt.TLSParameters(str(authority.ca), str(own.certificate), str(own.key))
    listener: Any = aiomqtt.Client("127.0.0.1", broker.port, username="gateway", password="sesame", tls_params=tls)
    try:
        async with listener, working(mqtt=MqttService(settings)) as answers:
            await listener.subscribe("t", 1)
            answers.services.submit(publish("over tls"))
            (answer,) = await answers.of("over tls")
            assert answer.ok
            async with asyncio.timeout(5):
                assert (await anext(listener.messages)).payload == b'{"n":"over tls"}'
    finally:
        broker.kill()
