from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from edgeflow.devices import binding, config
from edgeflow.devices.binding import implicit_outputs, read_outputs
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.plan import OutputBinding, Plant
from edgeflow.document import parse
from edgeflow.errors import ConfigError
from edgeflow.production.counter import CounterSettings
from edgeflow.testing.session import Wire

LINKS = "links: {l: {driver: fake}}\n"
LAMP = """
links: {l: {driver: fake}}
devices:
  io1:
    link: l
    tags:
      red: {address: 0, type: boolean, writable: true}
      green: {address: 2, type: boolean, writable: true}
      blue: {address: 3, type: boolean, writable: true}
      seen: {address: 4, type: boolean}
      tier: {address: 5, type: integer, writable: true}
      setpoint: {address: 6, writable: true}
  io2: {link: l, tags: {seen: {address: 4, type: boolean}}}
"""


def plant_of(text: str) -> Plant:
    drivers = {"fake": Wire().driver(), "modbus": Wire().driver("modbus")}
    return read_links_and_devices(parse(text, "gateway.yaml"), drivers.__getitem__, lambda: drivers)


def outputs_of(text: str) -> Mapping[str, OutputBinding]:
    document = parse(LAMP + text, "gateway.yaml")
    return read_outputs(document, plant_of(LAMP).tags)


def problems(text: str, read: Any = plant_of) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_links_devices_and_tags_become_plans() -> None:
    plant = plant_of(
        LINKS
        + """
devices:
  meter:
    link: l
    unit: 7
    every: 500 ms
    about: Main meter
    on_connect: [{address: 90, value: 0xAA55}]
    tags:
      energy: {address: 1, type: integer, scale: 0.1, unit: kWh, counter: {modulus: 2^32, max_rate: 4 /s}}
      state/now: {address: 2, type: integer, map: packml, range: [0, 17]}
"""
    )
    meter = plant.devices["meter"]
    assert (meter.every_ns, meter.timeout_ns, meter.silence_ns) == (500_000_000, 1_000_000_000, 4_000_000_000)
    assert meter.config.unit == 7  # type: ignore[attr-defined]
    assert [(point.address, value) for point, value in meter.on_connect] == [(90, 43605)]  # type: ignore[attr-defined]
    energy, state = meter.tags
    assert (energy.tag.name, energy.tag.type, energy.tag.unit, energy.raw) == (
        "meter/energy",
        "number",
        "kWh",
        "integer",
    )
    assert energy.counter == CounterSettings(modulus=4294967296, max_rate="4 /s")
    assert (state.tag.type, state.map, state.low, state.high) == ("integer", "packml", 0, 17)
    assert list(plant.tags) == ["meter/energy", "meter/state/now"]


@pytest.mark.parametrize(("every", "silence_s"), [("100 ms", 4), ("1 s", 4), ("10 s", 21), ("1 min", 121)])
def test_silence_follows_the_pace(every: str, silence_s: int) -> None:
    plant = plant_of(LINKS + f"devices: {{d: {{link: l, every: {every}, tags: {{a: {{address: 1}}}}}}}}")
    assert plant.devices["d"].silence_ns == silence_s * 1_000_000_000


@pytest.mark.parametrize("never", ["never", "0 s"])
def test_silence_can_mean_nothing(never: str) -> None:
    plant = plant_of(LINKS + f"devices: {{d: {{link: l, silence: {never}, tags: {{a: {{address: 1}}}}}}}}")
    assert plant.devices["d"].silence_ns is None


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("silence: 5", "silence: write a duration with its unit, for example `5 s` or `500 ms`"),
        ("every: 1 ms", "every: is too fast; write 5 ms or more"),
        (
            "on_connect: [{address: 1, value: [1]}]",
            "on_connect.1.value: [1] is not a value; write a number, a text, true or false",
        ),
    ],
)
def test_a_wrong_setting_of_a_device_is_one_problem(setting: str, problem: str) -> None:
    (found,) = problems(LINKS + f"devices: {{d: {{link: l, {setting}, tags: {{a: {{address: 1}}}}}}}}")
    assert found.partition(" ")[2] == f"devices.d.{problem}"


def test_a_driver_is_looked_up_only_where_a_link_uses_it() -> None:
    asked: list[str] = []

    def find(name: str) -> Any:
        asked.append(name)
        return Wire().driver()

    read_links_and_devices(
        parse(LINKS + "devices: {d: {link: l, tags: {a: {address: 1}}}}"), find, lambda: ["fake", "x"]
    )
    assert asked == ["fake"]


def test_a_driver_that_cannot_be_loaded_is_a_problem_of_the_configuration() -> None:
    def find(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'asyncua'")

    with pytest.raises(ConfigError, match=r"1:13 links.l.driver: the driver 'fake' cannot be loaded: No module named"):
        read_links_and_devices(parse(LINKS), find, list)


def test_every_problem_is_told_at_its_place_with_what_to_write_instead() -> None:
    assert problems(
        """links:
  a: {driver: fake}
  b: {driver: modbuss}
  c: {driver: fake, hst: x}
devices:
  d1:
    link: a
    every: 500
    tags:
      Good: {address: 1}
      bad: {adress: 1, scale: 0}
      rate: {address: 1, counter: {modulus: many}}
  d2: {link: aa, tags: {a: {address: 1}}}
  d3: {link: b, tags: {a: {address: 1}}}
  D4: {link: a, tags: {}}
  d5: {tags: {a: {address: 1}}}
  d6:
"""
    ) == [
        "gateway.yaml:3:7 links.b.driver: no driver 'modbuss' is installed; did you mean 'modbus'?",
        "gateway.yaml:4:21 links.c.hst: unknown key 'hst'; did you mean 'host'?",
        "gateway.yaml:8:5 devices.d1.every: write a duration with its unit, for example `500 s` or `500 ms`",
        "gateway.yaml:10:7 devices.d1.tags.Good: 'Good' is not a name; "
        "write lower-case letters, digits, `_` and `-`, for example `press_1`",
        "gateway.yaml:11:7 devices.d1.tags.bad.address: is required",
        "gateway.yaml:11:13 devices.d1.tags.bad.adress: unknown key 'adress'; did you mean 'address'?",
        "gateway.yaml:11:24 devices.d1.tags.bad.scale: a scale of 0 would lose the value; "
        "write what the raw value is multiplied by",
        "gateway.yaml:12:36 devices.d1.tags.rate.counter.modulus: 'many' is not a modulus; "
        "write a whole number like 65536, or `2^32`",
        "gateway.yaml:13:8 devices.d2.link: there is no link 'aa'; did you mean 'a'?",
        "gateway.yaml:15:3 devices.D4: 'D4' is not a name; "
        "write lower-case letters, digits, `_` and `-`, for example `press_1`",
        "gateway.yaml:15:17 devices.D4.tags: write at least one tag, for example `state: {...}`",
        "gateway.yaml:16:3 devices.d5.link: is required",
        "gateway.yaml:17:3 devices.d6: None is not a mapping (key: value); write a mapping (key: value)",
    ]


@pytest.mark.parametrize(
    ("tag", "problem"),
    [
        ("{address: 1, type: boolean, scale: 2}", "scale: a boolean tag cannot have `scale`; only numbers can"),
        ("{address: 1, type: text, unit: kWh}", "unit: a text tag cannot have `unit`; only numbers can"),
        (
            "{address: 1, fixed: true, writable: true}",
            "writable: the driver fake cannot write this point; remove `writable`",
        ),
        (
            "{address: 1, read: false}",
            "read: a tag that is neither read nor writable is of no use; say `writable: true`",
        ),
        ("{address: 1, range: [5, 5]}", "range: [5, 5] is not a range; write [lowest, highest], for example [0, 100]"),
    ],
)
def test_what_does_not_go_together_at_a_tag_is_told(tag: str, problem: str) -> None:
    (found,) = problems(LINKS + f"devices: {{d: {{link: l, tags: {{a: {tag}}}}}}}")
    assert found.endswith(f"devices.d.tags.a.{problem}")


def test_sections_that_are_no_mappings_are_told() -> None:
    assert problems("links: [a]\ndevices: 5") == [
        "gateway.yaml:1:1 links: ['a'] is not a mapping; write entries `name: {...}`",
        "gateway.yaml:2:1 devices: 5 is not a mapping; write entries `name: {...}`",
    ]


def test_an_empty_configuration_is_an_empty_plant() -> None:
    assert plant_of("gateway: {name: x}").tags == {}


def test_outputs_become_bindings_with_the_sites_patterns() -> None:
    lamp = outputs_of(
        """
patterns:
  unknown: {blue: flash_fast, white: on}
  running: {green: on}
outputs:
  line1/lamp:
    elements:
      red: io1/red
      green: io1/green
      blue: {tag: io1/tier, off: 256, on: 257, flash: 258, read_back: io1/seen}
    on_exit: {red: on}
    refresh: 500 ms
"""
    )["line1/lamp"]
    assert lamp.plan.elements == ("red", "green", "blue")
    assert (lamp.plan.when_stale, lamp.plan.when_stopped, lamp.plan.on_exit) == (
        {"blue": "flash_fast"},
        {},
        {"red": "on"},
    )
    assert lamp.plan.patterns == {"off": {}, "unknown": {"blue": "flash_fast"}, "running": {"green": "on"}}
    assert lamp.refresh_ns == 500_000_000
    assert lamp.elements["red"].levels == {"off": False, "on": True}
    assert lamp.elements["blue"].levels == {"off": 256, "on": 257, "flash": 258}
    assert (lamp.elements["red"].read_back, lamp.elements["blue"].read_back) == ("io1/red", "io1/seen")


def test_without_a_site_policy_unknown_is_flashing_blue_or_nothing() -> None:
    found = outputs_of("outputs: {a: {elements: {blue: io1/blue}}, b: {elements: {red: io1/red}, on_exit: unknown}}")
    assert (found["a"].plan.when_stale, found["a"].plan.on_exit) == ({"blue": "flash"}, {})
    assert (found["b"].plan.when_stale, found["b"].plan.on_exit) == ({}, {})


def test_a_value_output_is_one_element_and_stays_as_it_is_by_default() -> None:
    oven = outputs_of("outputs: {oven: {tag: io1/setpoint, on_exit: 20.5, read_back: false}}")["oven"]
    assert oven.plan.elements == ("value",)
    assert (oven.plan.when_stale, oven.plan.on_exit) == ({}, {"value": 20.5})
    assert (oven.elements["value"].levels, oven.elements["value"].read_back, oven.refresh_ns) == (None, None, None)


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("{elements: {red: io1/rde}}", "elements.red: there is no tag 'io1/rde'; did you mean 'io1/red'?"),
        (
            "{elements: {red: io1/seen}}",
            "elements.red: io1/seen is not writable; say `writable: true` at the tag if it may be written",
        ),
        (
            "{elements: {red: io1/tier}}",
            "elements.red: io1/tier is not boolean; say what to write: {tag: io1/tier, off: 0, on: 1}",
        ),
        (
            "{elements: {red: {tag: io1/tier, off: 0, on: yes}}}",
            "elements.red.on: 'yes' does not fit io1/tier, which is of type integer",
        ),
        (
            "{elements: {red: {tag: io1/red, read_back: io2/seen}}}",
            "elements.red.read_back: io2/seen is on another device; write a tag of io1",
        ),
        (
            "{elements: {green: io1/green}, when_stale: {green: on}}",
            "when_stale: must not show green: nobody knows then that all is well; use off, or blue: flash",
        ),
        (
            "{elements: {red: io1/red}, on_exit: {rde: on}}",
            "on_exit.rde: there is no element 'rde'; did you mean 'red'?",
        ),
        (
            "{elements: {red: io1/red}, on_exit: unknwon}",
            "on_exit: there is no pattern 'unknwon'; did you mean 'unknown'?",
        ),
        (
            "{elements: {red: io1/red}, on_exit: {red: blink}}",
            "on_exit.red: 'blink' is not one of 'off', 'on', 'flash' or 'flash_fast'",
        ),
        ("{tag: io1/setpoint, on_exit: high}", "on_exit: 'high' does not fit io1/setpoint, which is of type number"),
    ],
)
def test_what_is_wrong_with_an_output_is_told(output: str, problem: str) -> None:
    found = problems(f"outputs: {{lamp: {output}}}", outputs_of)
    assert [line.partition(" ")[2] for line in found] == [f"outputs.lamp.{problem}"]


def test_an_output_is_either_a_light_or_a_value() -> None:
    (found,) = problems("outputs: {lamp: {refresh: 5 s}}", outputs_of)
    assert found.endswith("outputs.lamp: write either `elements` (a light) or `tag` (one value)")


def test_one_tag_belongs_to_one_output() -> None:
    (found,) = problems("outputs:\n  a: {elements: {red: io1/red}}\n  b: {tag: io1/red}", outputs_of)
    assert found.endswith("outputs.b.tag: io1/red is already driven by the output 'a'; one tag belongs to one output")


def test_writable_tags_without_an_output_get_one_of_their_own() -> None:
    tags = plant_of(LAMP).tags
    configured = outputs_of("outputs: {lamp: {elements: {red: io1/red}}}")
    assert sorted(implicit_outputs(tags, configured)) == ["io1/blue", "io1/green", "io1/setpoint", "io1/tier"]


def test_every_setting_is_described() -> None:
    models = [
        model
        for module in (config, binding)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
    ]
    assert len(models) > 5
    for model in models:
        assert [name for name, field in model.model_fields.items() if name != "root" and not field.description] == []
