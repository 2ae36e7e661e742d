"""Reads the output policy: a file at the gateway that no pushed flow and no server can change."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from edgeflow import document
from edgeflow.devices.config import bounds
from edgeflow.document import suggestion
from edgeflow.errors import ConfigError, Problem
from edgeflow.model import Strict
from edgeflow.outputs.policy import Permit, Policy
from edgeflow.units import Duration


def _some(flows: tuple[str, ...]) -> tuple[str, ...]:
    if not flows:
        raise ValueError("name the flows that may drive it, for example [press-andon]; `*` stands for any part")
    return flows


class PermitOptions(Strict):
    """What some flows may do at an output."""

    output: str = Field(description="The output's name, or a writable tag's; `*` stands for any part.")
    flows: Annotated[tuple[str, ...], AfterValidator(_some)] = Field(
        description="The flow instances that may drive it; `*` stands for any part."
    )
    range: Annotated[tuple[float, float] | None, BeforeValidator(bounds)] = Field(
        default=None, description="[lowest, highest] number that they may write."
    )
    every: Duration = Field(default=0, description="The least time between two changes that they make.")


class PolicyFile(Strict):
    """The whole file: what no rule allows is refused."""

    rules: tuple[PermitOptions, ...] = Field(description="What is allowed; the first that fits counts.")


def read_policy(path: Path, outputs: Collection[str], flows: Collection[str]) -> Policy:
    """The policy in a file; raises ConfigError with every problem, also for names that fit nothing here."""
    source = document.load(path)
    rules = source.model(PolicyFile).rules
    problems: list[Problem] = []
    for i, rule in enumerate(rules):
        if not any(fnmatchcase(output, rule.output) for output in outputs):
            message = f"there is no output {rule.output!r}{suggestion(rule.output, outputs)}"
            problems.append(source.problem(("rules", i, "output"), message))
        problems += [
            source.problem(("rules", i, "flows", n), f"there is no flow {name!r}{suggestion(name, flows)}")
            for n, name in enumerate(rule.flows)
            if not any(fnmatchcase(flow, name) for flow in flows)
        ]
    if problems:
        raise ConfigError(problems)
    return Policy(tuple(map(_permit, rules)))


def _permit(rule: PermitOptions) -> Permit:
    low, high = rule.range or (None, None)
    return Permit(rule.output, rule.flows, low, high, rule.every)
