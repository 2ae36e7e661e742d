"""Flow engine: messages through a chain of ten nodes that multiply and add, counters and containment on.

python bench/flow.py [--messages 100000] [--runs 7]
"""

from __future__ import annotations

import argparse
import statistics
import time

from edgeflow.document import parse
from edgeflow.engine.engine import Engine
from edgeflow.flow.compile import compile_flow
from edgeflow.model import Block, Tag
from edgeflow.node import Effects, Inputs, Node, Port, Settings, Site, installed

HOPS = 10


class Config(Settings):
    """Nothing to set."""


def changed(_plan: Config, _state: None, inputs: Inputs, do: Effects) -> None:
    do.emit(inputs["in"].value * 1.01 + 1.0)


WORK = Node(
    kind="work",
    about="One float multiply-add.",
    config=Config,
    inputs={"in": Port("A number.", "number")},
    outputs={"out": Port("A number.", "number")},
    changed=changed,
)


def chain() -> str:
    """A tag and ten nodes behind it."""
    nodes = "\n".join(f"  n{i}: {{kind: work}}" for i in range(HOPS))
    wires = "\n".join(f"  - n{i} -> n{i + 1}" for i in range(HOPS - 1))
    return f"flow: bench/chain\nnodes:\n  t: {{kind: tag, tag: d/t}}\n{nodes}\nwires:\n  - t -> n0\n{wires}\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--messages", type=int, default=100_000)
    arguments.add_argument("--runs", type=int, default=7)
    given = arguments.parse_args()
    engine = Engine({})
    site = Site(tags={"d/t": Tag("d/t")})
    engine.deploy(compile_flow(parse(chain()), {}, site, {**installed(), "work": WORK}), {}, 0, "first")
    tags = ("d/t",)
    rates = []
    for run in range(given.runs):
        blocks = [Block("d", tags, [float(i)], i, i) for i in range(given.messages)]
        begun = time.perf_counter()
        for block in blocks:
            engine.block(block)
        rates.append(HOPS * given.messages / (time.perf_counter() - begun))
        print(f"run {run + 1}: {rates[-1] / 1e6:.2f} M hops/s", flush=True)
    (flow,) = engine.flows.values()
    assert flow.by_name["n9"].steps == given.runs * given.messages, "every node was stepped for every message"
    assert not flow.fault
    print(
        f"median {statistics.median(rates) / 1e6:.2f} M hops/s, min {min(rates) / 1e6:.2f}, max {max(rates) / 1e6:.2f}"
    )


if __name__ == "__main__":
    main()
