"""What the command line asks of an agent or a central server over HTTP."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeflow.errors import EdgeFlowError

TIMEOUT_S = 15.0
STREAM_S = 600.0
"""How long a tool may find nothing at all."""


def token_in(state: Path, name: str | None = None, *, given: str = "the state folder (--state)") -> str:
    """The token in the state folder; raises EdgeFlowError that says what to do. `given`: how another one is named."""
    path = state / (name or "admin.token")
    try:
        return path.read_text("ascii").strip()
    except OSError as error:
        raise EdgeFlowError(
            f"{path} cannot be read ({error.strerror}): name {given} of the server that is asked, "
            "and run as a user who may read it"
        ) from None


def get(url: str, path: str, token: str | None = None) -> Any:
    """GET, as data; raises EdgeFlowError with the server's own words."""
    return _ask("GET", url, path, None, token)


def post(url: str, path: str, body: Any, token: str | None = None, method: str = "POST") -> Any:
    """POST (or PUT) of JSON, as data; raises EdgeFlowError with the server's own words."""
    return _ask(method, url, path, body, token)


def stream(url: str, path: str, body: Any, token: str | None = None) -> Iterator[Any]:
    """POST, as one piece of data for each line of the answer; raises EdgeFlowError with the server's own words."""
    with _opened("POST", url, path, body, token, STREAM_S) as response:
        try:
            for line in response:
                if line.strip():
                    yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EdgeFlowError(f"{url} has ended in the middle of its answer ({error})") from None


def _ask(method: str, url: str, path: str, body: Any, token: str | None) -> Any:
    with _opened(method, url, path, body, token, TIMEOUT_S) as response:
        try:
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise _unanswered(url, error) from None
    try:
        return json.loads(content) if content else None
    except ValueError:
        raise EdgeFlowError(f"{url} is not EdgeFlow: it answers something else; name the right address") from None


def _opened(method: str, url: str, path: str, body: Any, token: str | None, timeout_s: float) -> Any:
    if not url.startswith(("http://", "https://")):
        raise EdgeFlowError(f"{url!r} is not an address; write it with http:// or https://")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url.rstrip("/") + path, data, headers, method=method)  # noqa: S310 - checked above
    try:
        return urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310 - checked above
    except urllib.error.HTTPError as error:
        raise EdgeFlowError(_words(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _unanswered(url, error) from None


def _unanswered(url: str, error: Exception) -> EdgeFlowError:
    reason = getattr(error, "reason", error)
    reason = getattr(reason, "strerror", None) or reason
    return EdgeFlowError(f"{url} does not answer ({reason}); is it running, and is this its address?")


def _words(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(error.read())
        problems = problem.get("problems", ())
        detail = problem["detail"] if len(problems) < 2 else "".join(f"\n  {line}" for line in problems)
        return f"{problem['title']}: {detail}"
    except (ValueError, KeyError, AttributeError):
        return f"the server answered {error.code} {error.reason}"
