"""`http_request`: asks a web service; retries and time-outs are the service's work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeflow.node import Answered, Effects, Inputs, Node, Port, Settings
from edgeflow.units import Duration


class Config(Settings):
    """What to ask."""

    url: str = Field(pattern=r"^https?://", description="The address, beginning with http:// or https://.")
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="POST", description="The HTTP method; all but GET and DELETE send the input as JSON."
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Headers to send.")
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
