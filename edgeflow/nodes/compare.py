"""`compare`: whether a value is equal to, above or below another."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field

from edgeflow.model import BAD, Value
from edgeflow.node import Effects, Inputs, Node, Port, Settings

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Config(Settings):
    """The comparison."""

    is_: Literal["==", "!=", "<", "<=", ">", ">="] = Field(alias="is", description="How the input relates to `than`.")
    than: Value = Field(default=None, description="What to compare with, until something comes in at `than`.")


def changed(plan: Config, _state: None, inputs: Inputs, do: Effects) -> None:
    given = inputs.get("than")
    other = given.value if given else plan.than
    if "in" not in inputs or other is None:
        return
    try:
        do.emit(OPERATORS[plan.is_](inputs["in"].value, other))
    except TypeError:  # text and numbers have no order
        do.emit(None, quality=BAD)


NODE = Node(
    kind="compare",
    about="Compares a value with another. "
    "BAD on either side gives BAD; so does asking which of a text and a number is larger.",
    config=Config,
    inputs={"in": Port("The value.", needed=True), "than": Port("What to compare with, instead of the setting.")},
    outputs={"out": Port("Whether it is so.", "boolean")},
    changed=changed,
)
