"""A device with a template: what it gets from it, what wins, and where every mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.plan import DevicePlan, Plant
from edgeflow.devices.template import Library
from edgeflow.document import load
from edgeflow.errors import ConfigError
from edgeflow.testing.session import Wire

METER = """
template: acme/meter
title: A meter of Acme
driver: fake
source: The maker's list.
parameters:
  ratio: {default: 1, description: Ratio of the transformers}
  first: {type: integer, default: 10, description: The first address}
  name: {type: text, default: main, one_of: [main, sub], description: Which part of it}
device: {unit: 3, every: 2 s}
tags:
  power: {address: "{first} + 2", unit: kW, scale: "0.001 * {ratio}", about: "Power of {name}"}
  energy: {address: "{first}", type: integer, unit: kWh}
  state: {address: 5, type: integer, map: packml}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "templates" / "acme"
    folder.mkdir(parents=True)
    (folder / "meter.yaml").write_text(METER, "utf-8")
    return tmp_path


def plant_of(site: Path, device: str, driver: str = "fake") -> Plant:
    path = site / "gateway.yaml"
    path.write_text(f"links: {{l: {{driver: {driver}}}}}\ndevices:\n  m: {{link: l, {device}}}\n", "utf-8")
    drivers = {driver: Wire().driver(driver)}
    return read_links_and_devices(load(path), drivers.__getitem__, lambda: drivers)


def device_of(site: Path, device: str) -> DevicePlan:
    return plant_of(site, device).devices["m"]


def addresses(device: DevicePlan) -> dict[str, Any]:
    return {plan.tag.name.partition("/")[2]: plan.point.address for plan in device.tags}  # type: ignore[attr-defined]


def problems(site: Path, device: str, driver: str = "fake") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plant_of(site, device, driver)
    return [str(problem).replace(str(site) + "/", "") for problem in caught.value.problems]


def test_a_device_is_what_its_template_says(site: Path) -> None:
    device = device_of(site, "template: acme/meter")
    assert (device.config.unit, device.every_ns, device.about) == (3, 2_000_000_000, "A meter of Acme")  # type: ignore[attr-defined]
    assert addresses(device) == {"power": 12, "energy": 10, "state": 5}
    power = device.tags[0]
    assert (power.tag.unit, power.scale, power.tag.about) == ("kW", 0.001, "Power of main")
    assert (device.template, device.given) == ("acme/meter", {})


def test_parameters_are_put_in_and_worked_out(site: Path) -> None:
    device = device_of(site, "template: acme/meter, with: {ratio: 50, first: 100, name: sub}")
    assert addresses(device) == {"power": 102, "energy": 100, "state": 5}
    assert (device.tags[0].scale, device.tags[0].tag.about) == (0.05, "Power of sub")
    assert device.given == {"ratio": 50, "first": 100, "name": "sub"}


def test_what_is_written_at_the_device_wins(site: Path) -> None:
    device = device_of(
        site,
        "template: acme/meter, unit: 9, about: Press, "
        "tags: {power: {scale: -1, unit: ~}, state: ~, extra: {address: 1}}",
    )
    assert (device.config.unit, device.about, device.every_ns) == (9, "Press", 2_000_000_000)  # type: ignore[attr-defined]
    assert addresses(device) == {"power": 12, "energy": 10, "extra": 1}
    assert (device.tags[0].scale, device.tags[0].tag.unit) == (-1, None)


def test_only_some_of_its_tags_can_be_taken(site: Path) -> None:
    assert addresses(device_of(site, "template: acme/meter, only: [energy]")) == {"energy": 10}
    both = "template: acme/meter, only: [energy], tags: {extra: {address: 1}}"
    assert addresses(device_of(site, both)) == {"energy": 10, "extra": 1}


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("template: acme/metre", "3:16 devices.m.template: there is no template 'acme/metre' for fake; did you mean 'acme/meter'?"),
        ("template: ../meter", "3:16 devices.m.template: '../meter' is not the name of a template; write `maker/model`, for example `eastron/sdm630`"),
        ("template: acme/meter, with: {ratoi: 2}", "3:45 devices.m.with.ratoi: acme/meter has no parameter 'ratoi'; did you mean 'ratio'?"),
        ("template: acme/meter, with: {first: 1.5}", "3:45 devices.m.with.first: 1.5 is not a whole number; write a whole number"),
        ("template: acme/meter, with: {name: other}", "3:45 devices.m.with.name: write one of main, sub, not 'other'"),
        ("template: acme/meter, only: [enery]", "3:45 devices.m.only.1: acme/meter has no tag 'enery'; did you mean 'energy'?"),
        ("template: acme/meter, tags: {enery: ~}", "3:45 devices.m.tags.enery: acme/meter has no tag 'enery' to take away; did you mean 'energy'?"),
        ("template: acme/meter, tags: {power: {unit: kw}}", "3:53 devices.m.tags.power.unit: unknown unit 'kw'; did you mean 'kW'?"),
        ("template: acme/meter, untt: 7", "3:38 devices.m.untt: unknown key 'untt'; did you mean 'unit'?"),
        ("with: {ratio: 2}, tags: {a: {address: 1}}", "3:16 devices.m.with: is of use only with a `template`"),
    ],
)  # fmt: skip
def test_a_mistake_in_its_use_is_told_where_it_was_written(site: Path, device: str, expected: str) -> None:
    (found,) = problems(site, device)
    assert found.startswith(f"gateway.yaml:{expected}")


def test_a_parameter_that_does_not_fit_where_it_is_put_is_told_at_the_parameter(site: Path) -> None:
    (found,) = problems(site, "template: acme/meter, with: {ratio: 0}")
    assert found.startswith(
        "gateway.yaml:3:45 devices.m.with.ratio: does not fit there (acme/meter, tags.power.scale): "
    )


def test_a_mistake_in_the_template_is_told_in_the_template(site: Path) -> None:
    file = site / "templates/acme/meter.yaml"
    file.write_text(METER.replace("map: packml", "mpa: packml"), "utf-8")
    (found,) = problems(site, "template: acme/meter")
    assert found.startswith("templates/acme/meter.yaml:14:38 tags.state.mpa: unknown key 'mpa'; did you mean 'map'?")


@pytest.mark.parametrize(
    ("wrong", "right", "expected"),
    [
        ("{ration}", "{ratio}", "12:45 tags.power.scale: {ration} is not a parameter; did you mean 'ratio'?"),
        (
            "device: {link: l}",
            "device: {unit: 3, every: 2 s}",
            "10:10 device.link: a template cannot say `link` of a device",
        ),
        ("default: many", "default: 10", "8:26 parameters.first.default: 'many' is not a whole number"),
        ("template: acme/other", "template: acme/meter", "2:1 template: this file must be templates/acme/other.yaml"),
        ("drivr: fake", "driver: fake", "4:1 drivr: unknown key 'drivr'; did you mean 'driver'?"),
    ],
)
def test_a_template_that_is_wrong_in_itself_says_where(site: Path, wrong: str, right: str, expected: str) -> None:
    file = site / "templates/acme/meter.yaml"
    file.write_text(METER.replace(right, wrong), "utf-8")
    found = problems(site, "template: acme/meter")
    assert any(line.startswith(f"templates/acme/meter.yaml:{expected}") for line in found)


def test_a_parameter_without_a_default_is_asked_for(site: Path) -> None:
    file = site / "templates/acme/meter.yaml"
    file.write_text(METER.replace("type: integer, default: 10, ", "type: integer, "), "utf-8")
    (found,) = problems(site, "template: acme/meter")
    assert found == "gateway.yaml:3:3 devices.m.with.first: acme/meter needs `first`: The first address"


def test_a_template_of_another_driver_is_named_as_that(site: Path) -> None:
    (found,) = problems(site, "template: eastron/sdm630")
    assert found.endswith("template: eastron/sdm630 is for the driver modbus, and the link's is fake")
    (found,) = problems(site, "template: acme/meter", driver="other")
    assert found.endswith("template: acme/meter is for the driver fake, and the link's is other")


def test_only_the_template_that_is_named_is_read(site: Path) -> None:
    (site / "templates/acme/broken.yaml").write_text("[", "utf-8")
    assert device_of(site, "template: acme/meter").template == "acme/meter"


def test_a_library_knows_what_is_shipped_and_what_the_site_has(site: Path) -> None:
    names = Library([site / "templates"]).names("modbus")
    assert {"acme/meter", "eastron/sdm630", "wago/750"} <= set(names)
    assert not any(name.endswith(".case") for name in names)


def test_a_strangers_driver_can_ship_templates_in_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "acme_bus"
    (package / "templates/acme").mkdir(parents=True)
    (package / "__init__.py").write_text("", "utf-8")
    (package / "driver.py").write_text("DRIVER = None\n", "utf-8")
    (package / "templates/acme/meter.yaml").write_text(METER.replace("driver: fake", "driver: acme"), "utf-8")
    about = tmp_path / "acme_bus-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-bus\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text("[edgeflow.drivers]\nacme = acme_bus.driver:DRIVER\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    library = Library()
    assert library.names("acme") == ["acme/meter"]
    assert library.find("acme", "acme/meter").template.title == "A meter of Acme"
