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
from edgeflow.outputs.policy import Permit, Policy, ReachPermit
from edgeflow.services.reach import SERVICES, unfit
from edgeflow.units import Duration


def _some(flows: tuple[str, ...]) -> tuple[str, ...]:
    if not flows:
        raise ValueError("name the flows that may drive it, for example [press-andon]; `*` stands for any part")
    return flows


def _somewhere(targets: tuple[str, ...]) -> tuple[str, ...]:
    if not targets:
        raise ValueError("name what may be reached, for example [mes.example]")
    return targets


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


class ReachOptions(Strict):
    """What some flows may reach through a service."""

    service: str = Field(description="The service: `mqtt` for what publishes, `http` for what asks web services.")
    to: Annotated[tuple[str, ...], AfterValidator(_somewhere)] = Field(
        description="What they may reach. Of `mqtt` topics; of `http` a host, `host:port` or an address; `*` stands "
        "for any part. What belongs to this gateway itself must be named by its own address, as `127.0.0.1:1880`."
    )
    flows: Annotated[tuple[str, ...], AfterValidator(_some)] = Field(
        description="The flow instances that may; `*` stands for any part."
    )


class PolicyFile(Strict):
    """The whole file: what no rule allows is refused."""

    rules: tuple[PermitOptions, ...] = Field(description="What is allowed; the first that fits counts.")
    reach: tuple[ReachOptions, ...] = Field(
        default=(),
        description="What flows may reach through services. Of a service that is named here nothing else can be "
        "reached; of any other everything but this gateway itself, the machines behind its links and the topics that "
        "set something.",
    )


def read_policy(path: Path, outputs: Collection[str], flows: Collection[str]) -> Policy:
    """The policy in a file; raises ConfigError with every problem, also for names that fit nothing here."""
    source = document.load(path)
    file = source.model(PolicyFile)
    rules = file.rules
    problems: list[Problem] = []
    for i, rule in enumerate(rules):
        if not any(fnmatchcase(output, rule.output) for output in outputs):
            message = f"there is no output {rule.output!r}{suggestion(rule.output, outputs)}"
            problems.append(source.problem(("rules", i, "output"), message))
        problems += _unknown_flows(source, ("rules", i, "flows"), rule.flows, flows)
    for i, reach in enumerate(file.reach):
        if reach.service not in SERVICES:
            message = f"there is no service {reach.service!r}{suggestion(reach.service, SERVICES)}"
            problems.append(source.problem(("reach", i, "service"), message))
        for n, target in enumerate(reach.to):
            if reason := unfit(reach.service, target):
                problems.append(source.problem(("reach", i, "to", n), reason))
        problems += _unknown_flows(source, ("reach", i, "flows"), reach.flows, flows)
    if problems:
        raise ConfigError(problems)
    reaches = tuple(ReachPermit(reach.service, reach.to, reach.flows) for reach in file.reach)
    return Policy(tuple(map(_permit, rules)), reaches)


def _unknown_flows(
    source: document.Document, at: document.At, names: tuple[str, ...], flows: Collection[str]
) -> list[Problem]:
    return [
        source.problem((*at, n), f"there is no flow {name!r}{suggestion(name, flows)}")
        for n, name in enumerate(names)
        if not any(fnmatchcase(flow, name) for flow in flows)
    ]


def _permit(rule: PermitOptions) -> Permit:
    low, high = rule.range or (None, None)
    return Permit(rule.output, rule.flows, low, high, rule.every)
