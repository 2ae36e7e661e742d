"""paho's socket on the event loop: read when something came, written when there is room, closed without a trace."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt import client as mqtt

from edgeflow.mqtt import reason
from edgeflow.mqtt.settings import Context

LARGEST = 16 * 1024 * 1024
"""A larger packet than this many bytes is not taken: MQTT 5 lets us say so, of MQTT 3.1.1 it is passed over."""

_TICK_S = 1.0
_NOT_MQTT = (OSError, ValueError, LookupError, struct.error, MQTTException)
"""What paho raises where the other side sends what is no MQTT."""


class Wire:
    """The socket of one paho client; `failed` is told why it is of no more use, `passed_over` of what was too large."""

    def __init__(self, paho: mqtt.Client, failed: Callable[[str], object], passed_over: Callable[[int], None]) -> None:
        self.tls: Context | None = None
        self.heard_s = 0.0  # loop time when something came last
        self.nonsense = ""  # what came that is not MQTT
        self._paho, self._failed, self._passed_over = paho, failed, passed_over
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._blocked = self._begun = False
        self._timer: asyncio.TimerHandle | None = None

    def attach(self) -> bool:
        """Takes over the socket that paho has connected; false where it is closed already."""
        paho = self._paho
        sock = paho.socket()
        if not isinstance(sock, socket.socket) or sock.fileno() < 0:
            return False
        # Else a small packet waits for the acknowledgement of the one before, which the other side holds back 40 ms.
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = sock.fileno()
        paho.on_socket_close = self._on_close
        paho.on_socket_register_write = self._on_register_write
        paho.on_socket_unregister_write = self._on_unregister_write
        self._loop.add_reader(self._fd, self._read)
        self.heard_s = self._loop.time()
        self._write()
        self._timer = self._loop.call_later(_TICK_S, self._tick)
        return True

    def drop(self) -> None:
        """Ends the TCP connection now."""
        if self._timer is not None:
            self._timer.cancel()
        self._on_close(None, None, None)
        paho = self._paho
        paho.on_socket_close = paho.on_socket_register_write = paho.on_socket_unregister_write = None
        for sock in (paho.socket(), self.tls and self.tls.made):
            if isinstance(sock, socket.socket):
                with suppress(OSError):
                    sock.close()

    def _tick(self) -> None:
        """Keepalive: paho pings the broker when it is time."""
        if self._fd >= 0:
            self._paho.loop_misc()
            self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _read(self) -> None:
        self.heard_s = self._loop.time()
        paho = self._paho
        try:
            if not self._begun:
                self._look(paho.socket())
            if self.nonsense or self._passes_over():
                return
            paho.loop_read()
            # what the TLS layer has decrypted already makes no socket readable
            while isinstance(sock := paho.socket(), ssl.SSLSocket) and sock.pending() and not self._passes_over():
                paho.loop_read()
        except _NOT_MQTT as error:
            self._not_mqtt(f"it sends what is not MQTT ({type(error).__name__}: {error})")

    def _look(self, sock: Any) -> None:
        """What the other side says first shows whether it is a broker at all."""
        self._begun = True
        if isinstance(sock, socket.socket) and not isinstance(sock, ssl.SSLSocket):
            with suppress(OSError):
                if foreign := reason.foreign(sock.recv(16, socket.MSG_PEEK)):
                    self._not_mqtt(foreign)

    def _not_mqtt(self, what: str) -> None:
        self.nonsense = what
        self._failed(what)
        self.drop()

    def _passes_over(self) -> bool:
        """Drops the rest of a packet that is too large instead of gathering it; whether there is such a one.

        The one place that knows how paho keeps a packet that has not wholly come.
        """
        packet: Any = self._paho._in_packet
        if not packet["have_remaining"] or packet["remaining_length"] <= LARGEST:
            return False
        sock: Any = self._paho.socket()
        if packet["packet"]:
            packet["packet"] = bytearray()
            self._passed_over(packet["remaining_length"])
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            dropped = len(sock.recv(min(packet["to_process"], 1 << 20)))
            if not dropped:
                self._failed(reason.CLOSED)
                self.drop()
            packet["to_process"] -= dropped
        if not packet["to_process"]:
            packet.update(command=0, have_remaining=0, remaining_count=[], remaining_mult=1, remaining_length=0, pos=0)
        return True

    def _on_register_write(self, _client: Any, _data: Any, _sock: Any) -> None:
        self._loop.call_soon(self._write)

    def _write(self) -> None:
        """Writes what waits; only what the socket does not take at once waits for it."""
        paho = self._paho
        if self._fd < 0:
            return
        try:
            paho.loop_write()
        except OSError as error:
            self._failed(str(error))
        if self._fd >= 0 and paho.socket() is not None and paho.want_write() and not self._blocked:
            self._blocked = True
            self._loop.add_writer(self._fd, self._write)

    def _on_unregister_write(self, _client: Any, _data: Any, _sock: Any) -> None:
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._fd)

    def _on_close(self, _client: Any, _data: Any, _sock: Any) -> None:
        """paho closes the socket, whose number may be another's the next moment."""
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._fd)
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1
