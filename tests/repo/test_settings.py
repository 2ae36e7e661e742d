"""Every setting says what it means, and every configuration that is shipped is valid."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from edgeflow.agent.config import load
from edgeflow.node import installed
from tests.repo.tree import ROOT, modules


@cache
def models() -> frozenset[type[BaseModel]]:
    """Every pydantic model that the product defines."""
    for name in modules():
        path = name.removeprefix("drivers/").removesuffix(".py").removesuffix("/__init__")
        importlib.import_module(path.replace("/", "."))
    found: set[type[BaseModel]] = set()
    known: list[type[BaseModel]] = [BaseModel]
    while known:
        for model in known.pop().__subclasses__():
            if model not in found:
                found.add(model)
                known.append(model)
    return frozenset(model for model in found if model.__module__.split(".")[0].startswith("edgeflow"))


def test_every_field_has_a_description() -> None:
    """The schema, the form and the reference are made of them."""
    assert len(models()) > 30
    missing = {
        f"{model.__module__}.{model.__qualname__}.{name}"
        for model in models()
        for name, field in model.model_fields.items()
        if not (field.description or "").strip() and name != "root"
    }
    assert not missing


CONFIGURATIONS = sorted(set((ROOT / "config").glob("*.yaml")) - set((ROOT / "config").glob("*.policy.yaml")))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_every_configuration_that_is_shipped_is_valid(path: Path) -> None:
    config = load(path, installed(), {})
    assert config.flows


def test_the_output_policy_that_is_shipped_fits_the_gateway_that_is_shipped() -> None:
    config = load(ROOT / "config/gateway.yaml", installed(), {"EDGEFLOW__OUTPUT_POLICY": "outputs.policy.yaml"})
    assert config.policy.refuses("line1/lamp", "press1-andon") == ""
    assert config.policy.refuses("line1/lamp", "press1-oee")


def test_there_is_a_configuration_to_start_from_and_one_of_the_demo() -> None:
    assert {path.name for path in CONFIGURATIONS} >= {"demo.yaml", "gateway.yaml"}
