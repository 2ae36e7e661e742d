"""What the command line asks of an agent or a central server over HTTP."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from edgeflow.errors import EdgeFlowError

TIMEOUT_S = 15.0


def token_in(state: Path, name: str | None = None) -> str:
    """The token in the state folder; raises EdgeFlowError that says what to do."""
    path = state / (name or "admin.token")
    try:
        return path.read_text("ascii").strip()
    except OSError as error:
        raise EdgeFlowError(
            f"{path} cannot be read ({error.strerror}): name the state folder (--state) or the token file "
            "(--token-file) of the server that is asked, and run as a user who may read it"
        ) from None


def get(url: str, path: str, token: str | None = None) -> Any:
    """GET, as data; raises EdgeFlowError with the server's own words."""
    return _ask("GET", url, path, None, token)


def post(url: str, path: str, body: Any, token: str | None = None, method: str = "POST") -> Any:
    """POST (or PUT) of JSON, as data; raises EdgeFlowError with the server's own words."""
    return _ask(method, url, path, body, token)


def _ask(method: str, url: str, path: str, body: Any, token: str | None) -> Any:
    if not url.startswith(("http://", "https://")):
        raise EdgeFlowError(f"{url!r} is not an address; write it with http:// or https://")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url.rstrip("/") + path, data, headers, method=method)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - checked above
            content = response.read()
    except urllib.error.HTTPError as error:
        raise EdgeFlowError(_words(error)) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise EdgeFlowError(f"{url} does not answer ({reason}); is it running, and is this its address?") from None
    try:
        return json.loads(content) if content else None
    except ValueError:
        raise EdgeFlowError(f"{url} is not EdgeFlow: it answers something else; name the right address") from None


def _words(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(error.read())
        problems = problem.get("problems", ())
        detail = problem["detail"] if len(problems) < 2 else "".join(f"\n  {line}" for line in problems)
        return f"{problem['title']}: {detail}"
    except (ValueError, KeyError, AttributeError):
        return f"the server answered {error.code} {error.reason}"
