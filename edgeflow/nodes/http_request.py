"""`http_request`: asks a web service; retries and time-outs are the service's work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edgeflow.model import CONNECTION_HEADERS
from edgeflow.node import Answered, Effects, Inputs, Node, Port, ReachField, Settings
from edgeflow.units import Duration


def _address(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("write an address that begins with http:// or https://")
    if "@" in url.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0].replace("\\", "/"):
        raise ValueError("an address holds no user and no password: everybody who may read the flow would read them")
    return url


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if name.lower() in CONNECTION_HEADERS:
            raise ValueError(f"{name} belongs to the connection and cannot be chosen; remove it")
    return headers


class Config(Settings):
    """What to ask."""

    url: Annotated[str, AfterValidator(_address)] = ReachField(
        "http",
        description="The address, beginning with http:// or https://, without a user or a password in it. This gateway "
        "itself and the machines behind its links need a rule under `reach` in the output policy.",
    )
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="POST", description="The HTTP method; all but GET and DELETE send the input as JSON."
    )
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict,
        description="Headers to send, but for those that belong to the connection, such as `Host`.",
    )
    timeout: Duration = Field(default=10_000_000_000, description="How long one attempt may take.")


def changed(plan: Config, _state: None, inputs: Inputs, do: Effects) -> None:
    request = {"method": plan.method, "url": plan.url, "headers": plan.headers, "timeout": plan.timeout}
    if plan.method not in ("GET", "DELETE"):
        request["json"] = inputs["in"].value
    do.call("http", request)


def answered(_plan: Config, _state: None, event: Answered, do: Effects) -> None:
    if event.answer.ok:
        do.emit(event.answer.value)
    else:
        do.emit({"error": event.answer.error, **event.answer.extra}, port="failed")


NODE = Node(
    kind="http_request",
    about="Calls a web service for every input. A BAD input is not sent; both outputs turn BAD.",
    config=Config,
    inputs={"in": Port("What to send.")},
    outputs={"out": Port("The answer's body."), "failed": Port("Why there is none: {error, status}.", "object")},
    changed=changed,
    answered=answered,
)
