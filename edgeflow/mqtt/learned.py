"""What was learned of one broker that it does not declare: its version of MQTT, and how much it takes at once."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import orjson

from edgeflow.clock import SystemClock
from edgeflow.mqtt.settings import Broker
from edgeflow.units import NS_PER_S

Version = Literal["3.1.1", "5"]

FILTERS_AT_ONCE = 100
_ANEW_NS = 24 * 3600 * NS_PER_S
_STRIKES = 3
_PROCESS = secrets.token_hex(4)


class Keep(Protocol):
    """Where it is kept: the home of a driver."""

    def get(self, name: str) -> bytes | None:
        """What was put last under the name; None where there is nothing."""

    def put(self, name: str, content: bytes | None) -> None:
        """Keeps the content in place of what was there."""


class _Held(dict[str, bytes | None]):
    """Keeps it as long as it is held."""

    def put(self, name: str, content: bytes | None) -> None:
        self[name] = content


class Learned:
    """Read when it is asked for, so that every connection to one broker knows the same.

    A version that was found is begun with for a day, then 5 is asked again. A topic on which the broker ends
    the connection three times in a row is left out for a day, at most until the agent begins anew.
    """

    def __init__(self, broker: Broker, keep: Keep | None = None, now_ns: Callable[[], int] | None = None) -> None:
        self._keep: Any = _Held() if keep is None else keep
        self._name = "broker/" + re.sub("[^a-z0-9]+", "-", f"{broker.host}-{broker.port}".lower()).strip("-")
        self._now_ns = now_ns or SystemClock().now_ns

    @property
    def version(self) -> Version:
        """The version to begin with: 5, unless the broker was found to speak only the other."""
        known = self._read()
        return "3.1.1" if known.get("version") == "3.1.1" and self._is_of_today(known.get("version_ns")) else "5"

    def spoke(self, version: Version) -> bool:
        """The broker was found to speak it though the other was tried; returns whether that is news."""
        known = self._read()
        news = bool(known.get("version", "5") != version)
        if version == "5":
            known.pop("version", None)
        else:
            known |= {"version": version, "version_ns": self._now_ns()}
        self._write(known)
        return news

    @property
    def at_once(self) -> int:
        """How many topic filters it takes in one SUBSCRIBE."""
        known = self._read().get("filters")
        return min(FILTERS_AT_ONCE, max(1, known)) if isinstance(known, int) else FILTERS_AT_ONCE

    @property
    def left_out(self) -> frozenset[str]:
        """The topic filters on which it ends the connection."""
        strikes = self._strikes(self._read())
        return frozenset(topic for topic, times in strikes.items() if times >= _STRIKES)

    def ended_at(self, filters: Sequence[str]) -> str:
        """It has ended the connection at a SUBSCRIBE of these; returns what is done about it, for a person."""
        known, count = self._read(), len(filters)
        if count > 1:
            known["filters"] = max(1, count // 2)
            self._write(known)
            return f"it ended the connection when asked for {count} topics at once; from now on at most {count // 2}"
        strikes = self._strikes(known)
        strikes[filters[0]] = strikes.get(filters[0], 0) + 1
        self._write(known | {"ended_at": strikes, "process": _PROCESS, "ended_ns": self._now_ns()})
        return f"it ended the connection when asked for the topic {filters[0]}"

    def took(self, filters: Sequence[str]) -> None:
        """It has answered a SUBSCRIBE of these."""
        known = self._read()
        strikes = self._strikes(known)
        if strikes.keys() & set(filters):
            self._write(known | {"ended_at": {topic: n for topic, n in strikes.items() if topic not in filters}})

    def _strikes(self, known: dict[str, Any]) -> dict[str, int]:
        if known.get("process") != _PROCESS or not self._is_of_today(known.get("ended_ns")):
            return {}
        return dict(known.get("ended_at", {}))

    def _is_of_today(self, at_ns: Any) -> bool:
        return isinstance(at_ns, int) and 0 <= self._now_ns() - at_ns < _ANEW_NS

    def _read(self) -> dict[str, Any]:
        try:
            known = orjson.loads(self._keep.get(self._name) or b"{}")
        except orjson.JSONDecodeError:
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, Any]) -> None:
        self._keep.put(self._name, orjson.dumps(known) if known else None)
