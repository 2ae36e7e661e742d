"""What the central server can tell of a flow document without the gateway: its structure."""

from __future__ import annotations

from edgeflow.document import MOST_PROBLEMS, Document, parse, suggestion, version
from edgeflow.errors import ConfigError, Problem
from edgeflow.flow.document import FlowDocument, read_wire

_MOST_PLACES = 50_000
"""More keys and items than any flow has; each costs a server of many gateways its share of memory."""


def checked(text: str, file: str) -> tuple[Document, FlowDocument, str]:
    """The document, its model and its version; raises ConfigError with every problem found.

    Kinds, tags, units and cycles are the gateway's to judge: only it knows what is installed and connected.
    """
    source = parse(text, file, most_places=_MOST_PLACES)
    flow = source.model(FlowDocument)
    problems = _wires(source, flow)
    if problems:
        raise ConfigError(problems)
    try:
        return source, flow, version(source.data)
    except ValueError:
        message = "holds .nan or .inf, which a flow cannot be kept with; write a number"
        raise ConfigError([Problem(file, 1, 1, "", message)]) from None


def _wires(source: Document, flow: FlowDocument) -> list[Problem]:
    problems: list[Problem] = []
    for i, text in enumerate(flow.wires):
        if len(problems) >= MOST_PROBLEMS:
            break
        try:
            begin, _, end, _ = read_wire(text)
        except ValueError as error:
            problems.append(source.problem(("wires", i), str(error)))
            continue
        problems += [
            source.problem(("wires", i), f"there is no node {name!r}{suggestion(name, flow.nodes)}")
            for name in (begin, end)
            if name not in flow.nodes
        ]
    return problems
