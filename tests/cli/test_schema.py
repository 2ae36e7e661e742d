"""The schemas for editors let pass what the models let pass, and stop what is wrong in the same places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeflow.cli import schema
from edgeflow.document import parse
from tests.repo.tree import ROOT

VALIDATORS = {name: Draft202012Validator(schema.schema(name)) for name in schema.NAMES}
GATEWAYS = sorted(set((ROOT / "config").glob("*.yaml")) - set((ROOT / "config").glob("*.policy.yaml")))
FLOWS = sorted((ROOT / "flows").rglob("flow.yaml"))


def found(name: str, data: Any) -> list[str]:
    return [error.message for error in VALIDATORS[name].iter_errors(data)]


@pytest.mark.parametrize("path", [*GATEWAYS, *FLOWS], ids=str)
def test_everything_that_is_shipped_validates(path: Path) -> None:
    assert not found("flow" if path.name == "flow.yaml" else "gateway", parse(path.read_text("utf-8")).data)


@pytest.mark.parametrize("name", schema.NAMES)
def test_what_is_shipped_is_fresh(name: str) -> None:
    Draft202012Validator.check_schema(schema.schema(name))
    assert (ROOT / f"schemas/{name}.json").read_text("utf-8") == schema.text(name), (
        "run `python -m edgeflow.cli.schema`"
    )


G = "gateway: {name: a}\n"


@pytest.mark.parametrize(
    "text",
    [
        "{}", "gateway: {name: A B}", G + "htpp: {port: 80}", G + "http: {port: eighty}", G + "http: {prot: 1}",
        G + "links: {a: {driver: modbus, hots: x}}", G + "links: {a: {driver: nothing}, b: 5}",
        G + "devices: {d: {link: a, unit: 1, tags: {t: {regster: 1}}}}",
        G + "outputs: {l: {elements: {red: {tga: a/b}}}}", G + "central: {url: 5, tokn: x}",
        G + "flows: {f: {flwo: a}}", G + "calendars: {plant: {shifts: [{name: a}]}}",
    ],
)  # fmt: skip
def test_a_wrong_configuration_does_not(text: str) -> None:
    assert found("gateway", parse(text).data)


F = "flow: t\nnodes: {n: {kind: "


@pytest.mark.parametrize(
    "text",
    [
        "flow: t\nnodes: {}", F + "nothing}}", F + "threshold}}", F + "threshold, limit: warm}}",
        F + "threshold, limit: 1, limt: 2}}", F + "oee, machine: m, policy: vorn}}", F + "tag}}",
        F + "tag, tag: a/b}}\nwires: {a: b}", F + "tag, tag: a/b}}\nparameters: {p: {type: nothing, description: x}}",
    ],
)  # fmt: skip
def test_a_wrong_flow_does_not(text: str) -> None:
    assert found("flow", parse(text).data)


def test_a_parameter_may_stand_wherever_a_value_stands() -> None:
    assert not found(
        "flow", parse(F + 'oee, machine: "{m}", policy: "{p}", good: {modulus: "{x}"}, small_stop: "{s}"}}').data
    )
