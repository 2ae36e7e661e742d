"""Every template that is shipped: complete, consistent, and right about a recorded device."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeflow import driver as drivers
from edgeflow.agent.config import load as load_config
from edgeflow.devices.check import checks_of, probes_of
from edgeflow.devices.template import CASE, read, shipped_folders
from edgeflow.document import load
from edgeflow.node import installed
from edgeflow.testing.golden import find_cases, run_cases
from edgeflow.testing.recording import Case
from edgeflow.testing.templates import tried

TEMPLATES = sorted(p for folder in shipped_folders() for p in folder.rglob("*.yaml") if not p.name.endswith(CASE))
NAMES = [f"{path.parent.name}/{path.stem}" for path in TEMPLATES]
METERS = [path for path in TEMPLATES if "\n  energy:" in path.read_text("utf-8")]

every = pytest.mark.parametrize("path", TEMPLATES, ids=NAMES)
meters = pytest.mark.parametrize("path", METERS, ids=[f"{p.parent.name}/{p.stem}" for p in METERS])

VOCABULARY = re.compile(
    r"(voltage|current|power|apparent_power|reactive_power|power_factor|energy|thd_voltage|thd_current)_l[123](_l[123])?|"
    r"(power|apparent_power|reactive_power|power_factor|frequency|energy|export_energy|total_energy|"
    r"reactive_energy|reactive_export_energy|apparent_energy|maker|model|serial|state|temperature|string_\d_power)"
)
GATEWAY = """
gateway: {{name: g}}
links: {{bus: {{driver: modbus, host: 127.0.0.1}}}}
devices:
  meter: {{link: bus, unit: 7, template: {template}}}
  press: {{link: bus, tags: {{state: {{register: 0, map: packtags}}, good: {{register: 1}}}}}}
flows: {{energy: {{flow: energy/meter, with: {{meter: meter, machine: press}}}}}}
"""
UNITS = {"power": "kW", "energy": "kWh", "voltage": "V", "current": "A", "frequency": "Hz"}


def case_of(path: Path) -> Path:
    return path.with_name(path.stem + CASE)


def given(path: Path) -> dict[str, Any]:
    return dict(load(case_of(path)).model(Case).device.get("with", {}))


@every
async def test_the_recorded_case_comes_out_as_recorded(path: Path) -> None:
    result = await tried(case_of(path))
    assert result.ok, str(result)


@every
def test_it_says_what_it_is_for_and_where_it_is_known_from(path: Path) -> None:
    template = read(path).template
    assert template.title
    assert len(template.source) > 30
    assert all(tag.get("about") for tag in template.tags.values())
    case = load(case_of(path)).model(Case)
    assert len(case.about) > 30


@every
def test_its_probes_and_checks_are_sound(path: Path) -> None:
    sheet = read(path)
    driver = drivers.find(sheet.template.driver)
    probes_of(sheet, given(path), driver)
    checks_of(sheet, given(path))


@meters
def test_a_meter_speaks_the_words_that_flows_know(path: Path) -> None:
    template = read(path).template
    assert {"energy", "power"} <= template.tags.keys()
    assert [name for name in template.tags if not VOCABULARY.fullmatch(name)] == []
    for name, tag in template.tags.items():
        quantity = name.partition("_")[0]
        if quantity in UNITS and name not in ("power_factor", "power_factor_l1", "power_factor_l2", "power_factor_l3"):
            assert tag["unit"] == UNITS[quantity], name


@meters
def test_a_meter_that_is_set_up_wrongly_is_found_out(path: Path) -> None:
    template, case = read(path).template, load(case_of(path)).model(Case)
    assert case.wrong
    longer = [tag for tag in template.tags.values() if str(tag.get("type", "")).endswith(("32", "64"))]
    if longer:
        assert any("word_order" in wrong.device for wrong in case.wrong)


@meters
def test_a_meter_is_checked_by_physics(path: Path) -> None:
    kinds = {check["kind"] for check in read(path).template.checks}
    assert "monotone" in kinds
    assert kinds & {"sum", "triangle", "product"}


@meters
def test_the_energy_flow_takes_any_meter_as_it_is(path: Path, tmp_path: Path) -> None:
    name = read(path).template.template
    gateway = tmp_path / "gateway.yaml"
    gateway.write_text(GATEWAY.format(template=name), "utf-8")
    config = load_config(gateway, installed(), {})
    assert config.plant.tags["meter/power"].unit == "kW"
    assert list(config.flows) == ["energy"]


def test_a_case_that_does_not_come_out_says_what_is_different(tmp_path: Path) -> None:
    folder = tmp_path / "templates/eastron"
    shutil.copytree(next(path for path in TEMPLATES if path.stem == "sdm120").parent, folder)
    for other in folder.glob("sdm[67]*"):
        other.unlink()
    case = folder / "sdm120.case.yaml"
    text = (
        case.read_text("utf-8").replace("power: 1.840 kW", "power: 1.850 kW").replace("frequency: 50.00 Hz", "f: 50 Hz")
    )
    case.write_text(text.replace("says: word order", "says: no such words"), "utf-8")
    assert find_cases([tmp_path]) == find_cases([folder / "sdm120.yaml"]) == [case]
    (result,) = run_cases([tmp_path], {})
    assert not result.ok
    power, frequency, unknown, complaint = result.problems
    assert power == "power: expected 1.850 kW, got 1.84 kW"
    assert frequency == "frequency: is not expected, and is 50.0 Hz"
    assert unknown == "f: there is no such tag"
    assert complaint.startswith("with {'word_order': 'little'} the check must say 'no such words'; it said: ")


def test_a_template_of_the_site_is_tested_like_those_that_are_shipped(tmp_path: Path) -> None:
    folder = tmp_path / "templates/acme"
    folder.mkdir(parents=True)
    (folder / "tank.yaml").write_text(
        "template: acme/tank\ntitle: A tank\ndriver: modbus\nsource: Our own list.\n"
        "tags: {level: {register: 7, type: int16, scale: 0.1, unit: m, range: [0, 20]}}\n",
        "utf-8",
    )
    (folder / "tank.case.yaml").write_text(
        "case: half full\nregisters: {holding: {7: 52}}\nexpect: {level: 5.2 m}\n"
        "wrong: [{device: {tags: {level: {scale: 10}}}, says: 100 times too large}]\n",
        "utf-8",
    )
    (result,) = run_cases([tmp_path], {})
    assert result.ok, str(result)
