"""`record`: queues results for the central server."""

from __future__ import annotations

import math

from pydantic import Field

from edgeflow.clock import utc_ns, utc_text
from edgeflow.model import Value
from edgeflow.node import Effects, Inputs, Node, Port, Settings


class Config(Settings):
    """Under which name."""

    stream: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="The stream of results, for example `oee`.")
    name: str = Field(default="", description="Begins the key of a plain value; the stream's name where empty.")


def changed(plan: Config, _state: None, inputs: Inputs, do: Effects) -> None:
    value = inputs["in"].value
    if is_result(value):
        do.record(
            plan.stream,
            value["key"],
            value["data"],
            begin=_ns(value.get("begin")),
            end=_ns(value.get("end")),
            coverage=value.get("coverage"),
            status=value.get("status", "final"),
        )
    else:
        do.record(plan.stream, f"{plan.name or plan.stream}/{utc_text(do.at)}", {"value": value})


def is_result(value: Value) -> bool:
    """Whether it is a result object with its own key, and not a plain value (also from a web service's answer)."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("key"), str)
        and isinstance(value.get("data"), dict)
        and _is_share(value.get("coverage"))
        and value.get("status", "final") in ("live", "provisional", "final")
        and _is_time(value.get("begin"))
        and _is_time(value.get("end"))
    )


def _is_share(value: Value) -> bool:
    return value is None or (isinstance(value, int | float) and -math.inf < value < math.inf)


def _is_time(text: Value) -> bool:
    try:
        return text is None or bool(utc_text(utc_ns(text)))
    except (TypeError, ValueError, OverflowError):
        return False


def _ns(text: str | None) -> int | None:
    return None if text is None else utc_ns(text)


NODE = Node(
    kind="record",
    about="Records what comes in. A result {key, data, begin, end, status, coverage} keeps its key, so that a newer "
    "one restates it; any other value becomes a final record of its own. BAD is recorded as BAD.",
    config=Config,
    inputs={"in": Port("A result, or any value.")},
    changed=changed,
    bad="see",
)
