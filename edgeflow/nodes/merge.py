"""`merge`: joins branches: whichever speaks, all of them in step, or the latest of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from edgeflow.node import Effects, Inputs, Node, Port, Settings


class Config(Settings):
    """The branches and when to speak."""

    branches: tuple[str, ...] = Field(
        default=("a", "b"), min_length=2, description="Names of the inputs; also the keys of what is emitted."
    )
    wait: Literal["any", "all", "latest"] = Field(
        default="latest",
        description="`any`: passes on whatever comes; `all`: one object per round, once every branch has spoken; "
        "`latest`: an object with the latest of each branch whenever one speaks, from when all have spoken.",
    )


@dataclass(slots=True)
class State:
    """The branches that have spoken in this round (`all`)."""

    spoken: list[str] = field(default_factory=list)


def changed(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    if plan.wait == "any":
        for branch in plan.branches:
            if branch in inputs.fresh:
                do.emit(inputs[branch].value, quality=inputs[branch].quality, at=inputs[branch].at)
        return
    if plan.wait == "all":
        state.spoken += [branch for branch in plan.branches if branch in inputs.fresh and branch not in state.spoken]
        if len(state.spoken) < len(plan.branches):
            return
        state.spoken.clear()
    if all(branch in inputs for branch in plan.branches):
        do.emit({branch: inputs[branch].value for branch in plan.branches})


def ports(config: Config) -> Mapping[str, Port]:
    return {branch: Port("A branch.", needed=config.wait != "any") for branch in config.branches}


def outputs(config: Config) -> Mapping[str, Port]:
    if config.wait == "any":
        return {"out": Port("What a branch sent.")}
    return {"out": Port("An object: branch -> value; as good as the worst of them.", "object")}


NODE = Node(
    kind="merge",
    about="Joins branches. With `any` each keeps its quality; otherwise the worst of all counts.",
    config=Config,
    state=State,
    inputs=ports,
    outputs=outputs,
    changed=changed,
    bad="see",
)
