"""Loads aiohttp without the system's certificates."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Callable
from threading import get_ident
from typing import Any

_READ = ("load_default_certs", "set_default_verify_paths")


def load_aiohttp() -> None:
    """To be called before anybody else loads it; other threads may make contexts of their own meanwhile.

    The certificates are 2 MB, read twice at once; whoever needs them reads them for himself.
    """
    kept, me = {name: getattr(ssl.SSLContext, name) for name in _READ}, get_ident()

    def not_here(read: Callable[..., None]) -> Callable[..., None]:
        def maybe(context: ssl.SSLContext, *given: Any) -> None:
            if get_ident() != me:
                read(context, *given)

        return maybe

    try:
        for name in _READ:
            setattr(ssl.SSLContext, name, not_here(kept[name]))
        importlib.import_module("aiohttp")
    finally:
        for name in _READ:
            setattr(ssl.SSLContext, name, kept[name])
