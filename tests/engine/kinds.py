"""Small node kinds to show the engine's rules with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from edgeflow.model import Quality
from edgeflow.node import Answered, Due, Effects, Inputs, Node, OutputField, Port, Settings, Started


class Nothing(Settings):
    """Nothing to set."""


class Which(Settings):
    """Which tag."""

    tag: str = Field(description="The tag.")


class Lamp(Settings):
    """Which output."""

    output: str = OutputField(description="The output.")
    lease: int | None = Field(default=None, description="Lease in ns.")


@dataclass(slots=True)
class Seen:
    log: list[Any] = field(default_factory=list)
    sum: int = 0


def _pass(_plan: Any, _state: Any, inputs: Inputs, do: Effects) -> None:
    do.emit(inputs["tag"].value)


def _add(_plan: Any, _state: Any, inputs: Inputs, do: Effects) -> None:
    do.emit(sum(m.value for m in inputs.values()))


def _burst(_plan: Any, _state: Any, inputs: Inputs, do: Effects) -> None:
    for i in range(inputs["in"].value):
        do.emit(i)


def _see(_plan: Any, state: Seen, inputs: Inputs, do: Effects) -> None:
    state.log.append([sorted(inputs.fresh), {p: m.value for p, m in sorted(inputs.items())}, do.at])


def _sum(_plan: Any, state: Seen, inputs: Inputs, do: Effects) -> None:
    state.sum += inputs["in"].value
    do.emit(state.sum)


def _fail(_plan: Any, _state: Any, inputs: Inputs, do: Effects) -> None:
    if inputs["in"].value == 13:
        raise ZeroDivisionError("thirteen")
    do.emit(inputs["in"].value)


def _bad(_plan: Any, _state: Any, _inputs: Inputs, do: Effects) -> None:
    do.emit(None, quality=Quality.BAD)


def _fail_at_start(_plan: Any, _state: Any, _event: Started, _do: Effects) -> None:
    raise ValueError("cannot start")


def _later(_plan: Any, state: Seen, inputs: Inputs, do: Effects) -> None:
    do.wake(do.at + 10, key=str(inputs["in"].value))


def _now(_plan: Any, state: Seen, event: Due, do: Effects) -> None:
    state.log.append([event.key, event.at, do.run])
    do.emit(event.key)


def _ask(_plan: Any, _state: Any, inputs: Inputs, do: Effects) -> None:
    do.call("http", {"q": inputs["in"].value}, key="k")


def _told(_plan: Any, state: Seen, event: Answered, do: Effects) -> None:
    state.log.append([event.key, event.answer.ok, event.answer.error, event.answer.value])
    do.emit(event.answer.value, quality=Quality.GOOD if event.answer.ok else Quality.BAD)


def _light(plan: Lamp, _state: Any, inputs: Inputs, do: Effects) -> None:
    if inputs["in"].value:
        do.hold(plan.output, {"red": "on"}, lease=plan.lease)
    else:
        do.release(plan.output)


def _note(_plan: Any, _state: Any, inputs: Inputs, do: Effects) -> None:
    do.record("s", "k", {"v": inputs["in"].value}, status="live" if inputs["in"].value < 0 else "final")


def listens(config: Which) -> dict[str, str]:
    return {"tag": config.tag}


IN, OUT = {"in": Port("In.")}, {"out": Port("Out.")}
TWO = {"a": Port("A."), "b": Port("B.")}
_TAG = {"tag": Port("Fed.")}
KINDS = {
    node.kind: node
    for node in (
        Node("src", "A tag.", Which, _TAG, OUT, changed=_pass, listens=listens),
        Node("add", "Adds.", Nothing, TWO, OUT, changed=_add),
        Node("burst", "Emits several.", Nothing, IN, OUT, changed=_burst),
        Node("see", "Remembers.", Nothing, {**IN, **TWO}, {}, Seen, changed=_see, bad="see"),
        Node("sum", "Sums.", Nothing, IN, OUT, Seen, changed=_sum),
        Node("fail", "Fails at 13.", Nothing, IN, OUT, changed=_fail),
        Node("nothing", "Knows nothing.", Nothing, IN, OUT, changed=_bad),
        Node("stillborn", "Never starts.", Nothing, IN, OUT, started=_fail_at_start),
        Node("later", "Wakes later.", Nothing, IN, OUT, Seen, changed=_later, due=_now),
        Node("ask", "Calls.", Nothing, IN, OUT, Seen, changed=_ask, answered=_told),
        Node("light", "Holds red.", Lamp, IN, {}, changed=_light),
        Node("note", "Records.", Nothing, IN, {}, changed=_note, bad="see"),
    )
}
