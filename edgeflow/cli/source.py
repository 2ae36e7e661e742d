"""Where a command has its links from: a configuration, the agent that runs it, and the driver's home beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeflow.agent.config import overridden
from edgeflow.cli import api
from edgeflow.cli.process import state_dir
from edgeflow.document import Document, load
from edgeflow.driver import Home
from edgeflow.errors import ConfigError, EdgeFlowError
from edgeflow.store.homes import FolderHome

DEFAULT_CONFIG = Path("/etc/edgeflow/gateway.yaml")
DEFAULT_PORT = 8080


def read_source(path: Path | None) -> Document:
    """A configuration with what the environment overrides, not yet checked; raises ConfigError."""
    return overridden(load(path or DEFAULT_CONFIG), os.environ)


def all_links(source: Document) -> dict[str, Any]:
    """What is written of each link, by its name."""
    links = source.data.get("links") if isinstance(source.data, dict) else None
    return links if isinstance(links, dict) else {}


def links_of(source: Document, driver: str) -> list[str]:
    """The names of the links of a driver."""
    entries = all_links(source).items()
    return [name for name, link in entries if isinstance(link, dict) and link.get("driver") == driver]


def installed_source() -> Document | None:
    """The configuration that is installed on this machine, where there is one that may be read."""
    try:
        return read_source(None)
    except ConfigError:
        return None


def agent_url(source: Document | None) -> str:
    """Where the agent of a configuration answers on this machine; without one, as the environment says."""
    source = source or overridden(Document("", {}, {}), os.environ)
    http = source.data.get("http") if isinstance(source.data, dict) else None
    settings = http if isinstance(http, dict) else {}
    host = str(settings.get("host") or "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - compared
    return f"http://{host}:{settings.get('port') or DEFAULT_PORT}"


def gateway_at(where: str) -> str:
    """The name of the gateway whose agent answers at an address."""
    return str(api.get(where, "/api/v1/status")["gateway"]["name"])


def must_be_ours(where: str, source: Document) -> None:
    """Raises EdgeFlowError where the agent at this address is another gateway's than the configuration's; says so."""
    gateway = source.data.get("gateway")
    ours = gateway.get("name") if isinstance(gateway, dict) else None
    theirs = gateway_at(where)
    if ours is not None and theirs != ours:
        print(f"The agent at {where} is that of {theirs}, not of {ours}.", file=sys.stderr)
        raise EdgeFlowError(f"the agent of {theirs}")


class AgentLinks:
    """The agent that may have the links of a configuration in use."""

    def __init__(self, source: Document | None, url: str | None, state: str | None) -> None:
        self.url, self._state = url or agent_url(source), state
        try:
            if source is not None and url is None:
                must_be_ours(self.url, source)
            self._links = {link["name"]: link for link in api.get(self.url, "/api/v1/links")["links"]}
        except (EdgeFlowError, KeyError, TypeError):
            self._links = {}

    def has(self, link: str) -> bool:
        """Whether it runs and has this link."""
        return link in self._links

    def stream(self, path: str, body: Any) -> Iterator[Mapping[str, Any]]:
        """The lines of an answer; raises EdgeFlowError in the agent's own words."""
        return api.stream(self.url, path, body, api.token_in(state_dir(self._state)))


class DriverHome:
    """The driver's home in the state folder; one that lasts as long as the command where that cannot be used.

    What root writes there belongs to whom the state folder belongs to: else the agent could not change it.
    """

    def __init__(self, state: str | None, driver: str, say: Callable[[str], None]) -> None:
        self._state, self._say = state_dir(state), say
        self._folder = self._state / "drivers" / driver
        named = state is not None or "EDGEFLOW_STATE" in os.environ
        there = os.access(self._state, os.F_OK)
        place = self._folder if os.access(self._folder, os.F_OK) else self._state
        self._home: Home = Home()
        if os.access(place, os.R_OK | os.W_OK | os.X_OK) or (named and not there):
            self._home = FolderHome(self._folder)
        elif there:
            say(f"{self._folder} cannot be read and written by this user: what the driver keeps there is not used.")

    def __enter__(self) -> Home:
        return self._home

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not isinstance(self._home, FolderHome):
            if self._home.names():
                self._say("Nothing of this is kept: name the state folder with --state.")
            return
        try:
            self._home.flush()
            self._hand_over()
        except OSError as refused:
            self._say(
                f"Nothing of this is kept: {self._folder} cannot be written ({refused.strerror}); "
                "name the state folder with --state, and run as a user who may write it."
            )

    def _hand_over(self) -> None:
        if os.geteuid() != 0 or not self._folder.is_dir():
            return
        owner = self._state.stat()
        for path in (self._folder.parent, self._folder, *self._folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
