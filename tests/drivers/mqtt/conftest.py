"""A real mosquitto in its own process, so that it can be stopped, killed and started again."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeflow.plant.port import free_port

_START_S = 10.0


class Broker:
    """One mosquitto process on a free port; `more` are further lines of its configuration."""

    def __init__(self, folder: Path, *more: str, anonymous: bool = True) -> None:
        found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        assert found, "mosquitto is not installed"
        self._binary = found
        self.port = free_port()
        self.tls_port = 0
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {str(anonymous).lower()}"]
        lines += ["persistence false", "log_dest none"]
        lines.append(f"user {getpass.getuser()}")  # started by root it would become another, who cannot read `folder`
        self._config.write_text("\n".join([*lines, *more]) + "\n")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([self._binary, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        for _ in range(int(_START_S / 0.02)):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                assert self.process.poll() is None, "mosquitto did not start"
                signal.sigtimedwait([], 0.02)
            else:
                return
        raise AssertionError("mosquitto does not listen")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker that every test may use and none may harm."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.kill()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own, to stop and kill."""
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


_REFUSING = """{"defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true, "subscribe": true,
"unsubscribe": true}, "clients": [], "groups": [{"groupname": "everybody", "roles": [{"rolename": "guest"}]}],
"anonymousGroup": "everybody",
"roles": [{"rolename": "guest", "acls": [{"acltype": "subscribePattern", "topic": "secret/#", "allow": false}]}]}"""


@pytest.fixture
def refusing_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that allows nobody to subscribe to secret/#."""
    plugins = list(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))
    if not plugins:
        pytest.skip("this mosquitto has no dynamic security plugin")
    rules = tmp_path / "rules.json"
    rules.write_text(_REFUSING)
    broker = Broker(tmp_path, f"plugin {plugins[0]}", f"plugin_opt_config_file {rules}")
    yield broker
    broker.kill()
