"""The address of a central server, as people write it."""

from __future__ import annotations

from urllib.parse import urlsplit


def central_address(url: str) -> str:
    """The address of a central server; ValueError says what is wrong with it, and repeats no secret."""
    if "@" in url:
        raise ValueError("an address holds no user and no password: it is shown to everybody; remove them")
    try:
        found = urlsplit(url)
        usable = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{url!r} is not an address; write it as https://central.example or http://127.0.0.1:8090")
    if found.query or found.fragment:
        raise ValueError("an address ends with its path; remove what follows `?` or `#`")
    return url
