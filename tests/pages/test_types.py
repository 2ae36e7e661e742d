"""The pages name only what the APIs have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from edgeflow.agent import views
from edgeflow.central import views as central_views
from edgeflow.store.wire import WireRecord
from edgeflow.sync.protocol import FlowReport

SOURCE = Path(__file__).parents[2] / "web" / "src"
AGENT: dict[str, type[BaseModel]] = {
    "Gateway": views.Gateway,
    "Device": views.Device,
    "Flow": views.Flow,
    "HeldRequest": views.HeldRequest,
    "Output": views.Output,
    "Outbox": views.Outbox,
    "Central": views.Central,
    "Result": views.Result,
    "TagPlan": views.TagTable,
    "TagValues": views.TagTable,
}
CENTRAL: dict[str, type[BaseModel]] = {
    "FlowReport": FlowReport,
    "GatewaySummary": central_views.GatewaySummary,
    "Storage": central_views.Storage,
    "WireRecord": WireRecord,
}


def interfaces(file: Path) -> dict[str, set[str]]:
    """The fields of every interface of a TypeScript file."""
    found = re.findall(r"export interface (\w+)[^{]*\{(.*?)\n\}", file.read_text(), re.DOTALL)
    return {name: set(re.findall(r"^  (\w+)\??:", body, re.MULTILINE)) for name, body in found}


@pytest.mark.parametrize(("folder", "models"), [("agent", AGENT), ("central", CENTRAL)])
def test_every_field_the_pages_read_exists(folder: str, models: dict[str, type[BaseModel]]) -> None:
    declared = interfaces(SOURCE / folder / "types.ts")
    for name, model in models.items():
        known = {field.alias or key for key, field in model.model_fields.items()}
        assert declared[name], name
        assert declared[name] <= known, (name, declared[name] - known)
