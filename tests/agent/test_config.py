"""The gateway's configuration: one line per mistake with its place and what to write instead, and the environment."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeflow.agent.config import Config, load
from edgeflow.driver import Driver
from edgeflow.errors import ConfigError
from edgeflow.node import installed
from edgeflow.testing.session import Wire

GOOD = """\
gateway: {name: line1, time_zone: Europe/Berlin}
links:
  plc: {driver: fake}
devices:
  press1:
    link: plc
    tags:
      state: {address: 1, type: integer}
      power: {address: 2, unit: kW}
      red-lamp: {address: 3, type: boolean, writable: true}
      limit: {address: 4, writable: true}
patterns:
  unknown: {red: flash}
outputs:
  line1/lamp: {elements: {red: press1/red-lamp}, unguarded: [press1]}
flows:
  scaled: {flow: test/scaled, with: {machine: press1}}
flow_path: [flows]
"""
FLOW = """\
flow: test/scaled
parameters:
  machine: {type: device, description: The machine.}
nodes:
  power: {kind: tag, tag: "{machine}/power"}
  kw: {kind: convert, from: kW, to: W}
  high: {kind: threshold, limit: 10}
wires:
  - power -> kw
  - kw -> high
"""


class Site:
    """A configuration in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.drivers: dict[str, Driver[Any, Any, Any]] = {"fake": Wire().driver(), "other": Wire().driver("other")}
        self.write(GOOD, FLOW)

    def write(self, text: str | None = None, flow: str | None = None) -> None:
        (self.folder / "flows/test/scaled").mkdir(parents=True, exist_ok=True)
        if text is not None:
            (self.folder / "gateway.yaml").write_text(text)
        if flow is not None:
            (self.folder / "flows/test/scaled/flow.yaml").write_text(flow)

    def load(self, environment: Mapping[str, str] | None = None) -> Config:
        return load(self.folder / "gateway.yaml", installed(), environment or {}, drivers=self.drivers)

    def wrong(self, environment: Mapping[str, str] | None = None) -> list[str]:
        """The lines that a person is told, without the folder."""
        with pytest.raises(ConfigError) as error:
            self.load(environment)
        return [str(problem).removeprefix(f"{self.folder}/") for problem in error.value.problems]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_good_configuration_is_read_down_to_the_wires(site: Site) -> None:
    config = site.load()
    assert config.root.gateway.name == "line1"
    assert set(config.plant.tags) == {"press1/state", "press1/power", "press1/red-lamp", "press1/limit"}
    assert set(config.outputs) == {"line1/lamp", "press1/limit"}, "a writable tag is an output even if no light has it"
    plan = config.flows["scaled"]
    assert [node.name for node in plan.nodes] == ["power", "kw", "high"]
    assert plan.listens == {"press1/power"}


MISTAKES = {
    "an unknown key": (
        GOOD.replace("{name: line1,", "{nmae: line1, name: line1,"),
        FLOW,
        ["gateway.yaml:1:11 gateway.nmae: unknown key 'nmae'; did you mean 'name'?"],
    ),
    "a wrong type": (
        GOOD + "http: {port: eighty}\n",
        FLOW,
        ["gateway.yaml:19:8 http.port: 'eighty' is not a whole number; write a whole number"],
    ),
    "an unknown driver": (
        GOOD.replace("driver: fake", "driver: fakee"),
        FLOW,
        ["gateway.yaml:3:9 links.plc.driver: no driver 'fakee' is installed; did you mean 'fake'?"],
    ),
    "a tag written twice": (
        GOOD.replace("      power:", "      state:"),
        FLOW,
        ["gateway.yaml:9:7 devices.press1.tags: the key 'state' is written twice; remove one"],
    ),
    "a tag that a flow misses": (
        GOOD.replace("      power:", "      powr:"),
        FLOW,
        [
            "flows/test/scaled/flow.yaml:5:22 nodes.power.tag: there is no tag 'press1/power'; did you mean 'press1/powr'?"
        ],
    ),
    "units that clash on a wire": (
        GOOD,
        FLOW.replace("from: kW, to: W", "from: MW, to: W"),
        [
            "flows/test/scaled/flow.yaml:9:5 wires.1: power.out is in kW, but kw.in takes MW; put a `convert` node "
            "{kind: convert, from: kW, to: MW} between them (1 kW = 0.001 MW)"
        ],
    ),
    "wires in a circle": (
        GOOD,
        FLOW.replace("  - power -> kw\n", "  - high -> kw\n"),
        ["flows/test/scaled/flow.yaml:9:5 wires.1: closes a cycle: kw -> high -> kw; remove one of these wires"],
    ),
    "no YAML": (
        GOOD.replace("  plc: {driver: fake}", "  plc: {driver: fake"),
        FLOW,
        [
            "gateway.yaml:4:8 is not valid YAML: did not find expected ',' or '}'; "
            "check the indentation and the brackets and quotes before this place"
        ],
    ),
    "a tab": (
        GOOD.replace("  plc:", "\tplc:"),
        FLOW,
        [
            "gateway.yaml:3:1 is not valid YAML: found character that cannot start any token; indent with spaces, not tabs"
        ],
    ),
    "a flow that does not exist": (
        GOOD.replace("test/scaled", "test/scalde"),
        FLOW,
        ["gateway.yaml:17:12 flows.scaled.flow: there is no flow 'test/scalde'; did you mean 'test/scaled'?"],
    ),
    "a parameter that is missing": (
        GOOD.replace(", with: {machine: press1}", ""),
        FLOW,
        ["gateway.yaml:17:3 flows.scaled.with.machine: the parameter 'machine' is required: The machine."],
    ),
    "a device that does not exist": (
        GOOD.replace("machine: press1", "machine: press2"),
        FLOW,
        ["gateway.yaml:17:38 flows.scaled.with.machine: there is no device 'press2'; did you mean 'press1'?"],
    ),
    "a light that nobody would turn off": (
        GOOD.replace(", unguarded: [press1]", ""),
        FLOW,
        [
            "gateway.yaml:15:3 outputs.line1/lamp: press1 has no watchdog, so when this gateway dies the light goes on "
            "showing what it showed last; say `watchdog: 3 s` at press1 where it has one, or accept it: "
            "`unguarded: [press1]`"
        ],
    ),
    "a watchdog that would fire all the time": (
        GOOD.replace("    link: plc\n", "    link: plc\n    watchdog: 1500 ms\n").replace(
            "unguarded: [press1]", "refresh: 1 s"
        ),
        FLOW,
        [
            "gateway.yaml:16:50 outputs.line1/lamp.refresh: 1 s is too slow for the watchdog of press1, 1.5 s; "
            "write 500 ms or less"
        ],
    ),
    "a device that keeps the light's link busy until its watchdog fires": (
        GOOD.replace(
            "  press1:\n    link: plc\n",
            "  meter: {link: plc, timeout: 5 s, tags: {power: {address: 1}}}\n"
            "  press1:\n    link: plc\n    watchdog: 3 s\n",
        ).replace(", unguarded: [press1]", ""),
        FLOW,
        [
            "gateway.yaml:5:22 devices.meter.timeout: 5 s is too long behind the link of press1: while meter is silent "
            "the light cannot be refreshed, and the watchdog of press1, 3 s, turns it off; write less than 2 s"
        ],
    ),
    "a device without a watchdog that is no device of the light": (
        GOOD.replace("unguarded: [press1]", "unguarded: [press1, press2]"),
        FLOW,
        [
            "gateway.yaml:15:50 outputs.line1/lamp.unguarded: 'press2' is no device of this output; "
            "did you mean 'press1'?"
        ],
    ),
    "a flow's name with a slash": (
        GOOD.replace("  scaled:", "  line/scaled:"),
        FLOW,
        [
            "gateway.yaml:17:3 flows.line/scaled: 'line/scaled' cannot name a flow; use letters, digits, `_`, `.` and `-`"
        ],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_its_place_and_what_to_write_instead(site: Site, name: str) -> None:
    text, flow, lines = MISTAKES[name]
    site.write(text, flow)
    assert site.wrong() == lines


def test_what_a_flow_of_ours_misses_is_told_where_it_is_used(site: Site) -> None:
    site.write(
        GOOD.replace(
            "flow: test/scaled, with: {machine: press1}", "flow: energy/meter, with: {meter: press1, machine: press1}"
        )
    )
    lines = site.wrong()
    assert all(
        line.startswith("gateway.yaml:17:3 flows.scaled: energy/meter does not fit what is here: ") for line in lines
    )
    assert any("there is no tag 'press1/energy'" in line for line in lines)


def test_every_mistake_is_told_at_once(site: Site) -> None:
    site.write(GOOD.replace("address: 1,", "adress: 1,").replace("unit: kW", "unit: kWatt"))
    lines = site.wrong()
    assert any(line.startswith("gateway.yaml:8:15 devices.press1.tags.state.adress: unknown key") for line in lines)
    assert any("devices.press1.tags.power.unit: unknown unit 'kWatt'" in line for line in lines)


def test_a_doubled_key_a_wrong_section_and_a_wrong_flow_are_told_together(site: Site) -> None:
    site.write(
        GOOD.replace("{name: line1,", "{name: line1, name: line2,").replace("driver: fake}", "driver: fake, prot: 1}")
        + "http: {port: eighty}\nstore: {outbox_mb: -1}\nextra: 1\ncalendars: {plant: {shifts: []}}\n",
        FLOW.replace("limit: 10", "limit: ten").replace("  - kw -> high", "  - kw -> hihg"),
    )
    told = "\n".join(site.wrong())
    for path in (
        "the key 'name' is written twice", "links.plc.prot: unknown key", "http.port: 'eighty'", "store.outbox_mb: -1",
        " extra: unknown key", "calendars.plant.shifts: write at least one", "nodes.high.limit: 'ten'",
        "wires.2: there is no node 'hihg'",
    ):  # fmt: skip
        assert path in told
    assert "there is no" not in told.replace("there is no node 'hihg'", ""), "nothing is told that follows from it"


def test_what_refers_to_something_that_is_wrong_is_not_called_missing(site: Site) -> None:
    site.write(GOOD.replace("address: 1,", "adress: 1,"))
    assert all("devices.press1.tags.state" in line for line in site.wrong())


def test_of_very_many_problems_the_first_hundred_are_told_and_how_many_more(site: Site) -> None:
    more = "".join(f"extra{i}: 1\n" for i in range(60)) + "calendars:\n" + "".join(f"  c{i}: 1\n" for i in range(80))
    site.write(GOOD + more)
    lines = site.wrong()
    assert len(lines) <= 101


# what is right but hardly meant


def test_what_is_used_by_nothing_is_a_warning(site: Site) -> None:
    site.write(
        GOOD.replace("  plc: {driver: fake}", "  plc: {driver: fake}\n  spare: {driver: fake}"),
        FLOW + "  - power -> high2\n".replace("high2", "two.a"),
    )
    site.write(flow=FLOW.replace("wires:", "  two: {kind: threshold, limit: 1}\nwires:"))
    lines = [str(warning).removeprefix(f"{site.folder}/") for warning in site.load().warnings]
    assert any(
        "links.spare: no device is behind it; remove it, or write `link: spare` at a device" in line for line in lines
    )
    assert any("flow.yaml:8:3 nodes.two: is wired to nothing" in line for line in lines)


@pytest.mark.parametrize(
    ("patterns", "line"),
    [
        ("exceute: {red: flash}", "patterns.exceute: no light shows it: it is no state, no category and no call; did you mean 'execute'?"),
        ("unknown: {rde: flash}", "patterns.unknown.rde: no light has an element 'rde'; did you mean 'red'?"),
        ("unknown: {red: flahs}", "patterns.unknown.red: 'flahs' is not one of 'off', 'on', 'flash' or 'flash_fast'; did you mean 'flash'?"),
        ("rised: {red: on}", "patterns.rised: no light shows it: it is no state, no category and no call; did you mean 'raised'?"),
    ],
)  # fmt: skip
def test_a_pattern_that_never_comes_is_refused(site: Site, patterns: str, line: str) -> None:
    site.write(GOOD.replace("  unknown: {red: flash}\n", f"  {patterns}\n"))
    assert [each.split(" ", 1)[1] for each in site.wrong()] == [line]


@pytest.mark.parametrize("patterns", ["execute: {red: on}", "changeover: {red: on, white: on}", "escalated: {red: on}"])
def test_a_pattern_of_a_state_a_category_or_a_call_is_the_sites(site: Site, patterns: str) -> None:
    site.write(GOOD.replace("  unknown: {red: flash}\n", f"  {patterns}\n"))
    assert site.load().outputs["line1/lamp"].plan.patterns


def test_a_port_that_only_root_may_open_is_told(site: Site) -> None:
    site.write(GOOD + "http: {port: 80}\n")

    def without_the_right() -> None:  # CAP_NET_BIND_SERVICE leaves the bounding set; a new program never has it
        ctypes.CDLL(None).prctl(24, 10, 0, 0, 0)

    validate = [sys.executable, "-c", "from edgeflow.cli.main import main; main()", "validate", "gateway.yaml"]
    (site.folder / "gateway.yaml").write_text("gateway: {name: a}\nhttp: {port: 80}\n")
    done = subprocess.run(
        validate, cwd=site.folder, capture_output=True, text=True, preexec_fn=without_the_right, check=False
    )
    assert done.returncode == 78
    assert (
        "gateway.yaml:2:8 http.port: cannot listen on 127.0.0.1:80: this user may not use this port; choose"
        in done.stderr
    )
    (site.folder / "gateway.yaml").write_text("gateway: {name: a}\nhttp: {port: 8080}\n")
    done = subprocess.run(
        validate, cwd=site.folder, capture_output=True, text=True, preexec_fn=without_the_right, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_counter_and_the_map_of_a_tag_are_known_to_its_flows(site: Site) -> None:
    site.write(
        GOOD.replace("power: {", "power: {counter: {modulus: 2^16, max_rate: 1 /s}, scale: 0.5, "),
        FLOW.replace("high: {kind: threshold, limit: 10}", "n: {kind: count}").replace(
            "  - kw -> high", "  - power -> n"
        ),
    )
    config = site.load()
    assert config.site.counters["press1/power"].modulus == 65536 * 0.5
    assert next(node for node in config.flows["scaled"].nodes if node.name == "n").plan.modulus == 32768


def test_a_secret_is_not_told_by_a_mistake_beside_it(site: Site) -> None:
    site.write(GOOD + "central: {url: 'https://me:hunter2@central.example', token: hunter2, tokn: hunter2}\n")
    lines = "\n".join(site.wrong({"EDGEFLOW__CENTRAL__TOKEN": "hunter2: hunter2: hunter2"}))
    assert "central" in lines.lower()
    assert "hunter2" not in lines
    assert "hunter2" not in "\n".join(site.wrong())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.yaml cannot be read: No such file or directory"):
        load(tmp_path / "gateway.yaml", installed(), {})


def test_a_node_that_cannot_be_prepared_is_a_problem_with_a_place(site: Site) -> None:
    site.write(flow=FLOW.replace("from: kW, to: W", "from: kW, to: bar"))
    (line,) = site.wrong()
    assert line.startswith("flows/test/scaled/flow.yaml:6:")


# the environment


def test_the_environment_replaces_what_the_file_says(site: Site) -> None:
    config = site.load({"EDGEFLOW__GATEWAY__NAME": "line2", "EDGEFLOW__HTTP__PORT": "9090", "PATH": "/bin"})
    assert (config.root.gateway.name, config.root.http.port) == ("line2", 9090)
    assert config.root.gateway.time_zone == "Europe/Berlin", "its neighbours stay"
    assert site.load().root.gateway.name == "line1"


def test_names_that_no_variable_can_have_are_found(site: Site) -> None:
    config = site.load(
        {
            "EDGEFLOW__DEVICES__PRESS1__TAGS__RED_LAMP__ABOUT": "the lamp",
            "EDGEFLOW__OUTPUTS__LINE1_LAMP__REFRESH": "3 s",
        }
    )
    assert config.plant.tags["press1/red-lamp"].about == "the lamp"
    assert config.outputs["line1/lamp"].refresh_ns == 3_000_000_000


def test_a_value_may_be_a_whole_section(site: Site) -> None:
    config = site.load({"EDGEFLOW__HTTP": "{host: 0.0.0.0, hosts: [gw1]}", "EDGEFLOW__HTTP__PORT": "1"})
    assert (config.root.http.host, config.root.http.port, config.root.http.hosts) == ("0.0.0.0", 1, ("gw1",))


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HTTP__PORT", "eighty", "http.port: 'eighty' is not a whole number; write a whole number"),
        ("HTPP__PORT", "80", "htpp: unknown key 'htpp'; did you mean 'http'?"),
        ("HTTP", "{prot: 80}", "http.prot: unknown key 'prot'; did you mean 'port'?"),
        ("HTTP", "none", "http: 'none' is not a mapping (key: value); write a mapping (key: value)"),
        ("LINKS__PLC__DRIVER", "fakee", "links.plc.driver: no driver 'fakee' is installed; did you mean 'fake'?"),
        ("FLOWS__SCALED__WITH__MACHINE", "p", "flows.scaled.with.machine: there is no device 'p'; known are press1"),
        ("GATEWAY__NAME__MORE", "x", "does not lead to a setting of the configuration"),
        ("GATEWAY____NAME", "x", "does not lead to a setting of the configuration"),
        ("GATEWAY__NAME", "a: b: c", "'a: b: c' is not a value; put text in quotes"),
    ],
)
def test_what_is_wrong_in_the_environment_names_the_variable(
    site: Site, variable: str, value: str, message: str
) -> None:
    assert site.wrong({f"EDGEFLOW__{variable}": value}) == [f"environment EDGEFLOW__{variable} {message}"]


def test_a_mistake_of_the_file_keeps_its_place_beside_the_environment(site: Site) -> None:
    site.write(GOOD.replace("address: 1,", "adress: 1,"))
    assert any(line.startswith("gateway.yaml:8:15 ") for line in site.wrong({"EDGEFLOW__HTTP__PORT": "80"}))


def test_an_empty_file_may_be_filled_by_the_environment(site: Site) -> None:
    site.write("")
    assert site.load({"EDGEFLOW__GATEWAY": "{name: bare}"}).root.gateway.name == "bare"


LIMITED = FLOW.replace("high: {kind: threshold, limit: 10}", "high: {kind: write, output: press1/limit}")
POLICY = """\
rules:
  - {output: press1/limit, flows: [scal*], range: [0, 50], every: 10 s}
"""


def test_a_flow_that_the_output_policy_names_may_drive_the_output(site: Site) -> None:
    site.write(GOOD + "output_policy: policy.yaml\n", LIMITED)
    (site.folder / "policy.yaml").write_text(POLICY)
    config = site.load()
    assert config.policy.refuses("press1/limit", "scaled") == ""
    assert config.policy.every_ns("press1/limit", "scaled") == 10_000_000_000


def test_a_flow_that_the_output_policy_does_not_name_is_refused_where_it_drives_the_output(site: Site) -> None:
    site.write(GOOD + "output_policy: policy.yaml\n", LIMITED)
    (site.folder / "policy.yaml").write_text("rules: [{output: line1/lamp, flows: [scaled]}]\n")
    assert site.wrong() == [
        "flows/test/scaled/flow.yaml:7:3 nodes.high: "
        "the output policy of this gateway does not let the flow scaled drive press1/limit"
    ]


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        (
            "rules: [{output: press1/limt, flows: [scaled]}]",
            "policy.yaml:1:10 rules.1.output: there is no output 'press1/limt'; did you mean 'press1/limit'?",
        ),
        (
            "rules: [{output: '*', flows: [scald]}]",
            "policy.yaml:1:31 rules.1.flows.1: there is no flow 'scald'; did you mean 'scaled'?",
        ),
        (
            "rules: [{output: '*', flows: [scaled], range: [5, 1]}]",
            "policy.yaml:1:40 rules.1.range: [5, 1] is not a range; write [lowest, highest], for example [0, 100]",
        ),
        (
            "rules: [{output: '*', flows: []}]",
            "policy.yaml:1:23 rules.1.flows: "
            "name the flows that may drive it, for example [press-andon]; `*` stands for any part",
        ),
    ],
)
def test_a_mistake_in_the_output_policy_is_told_at_its_place(site: Site, policy: str, line: str) -> None:
    site.write(GOOD + "output_policy: policy.yaml\n", LIMITED)
    (site.folder / "policy.yaml").write_text(policy)
    assert site.wrong() == [line]


def test_an_output_policy_that_is_not_there_lets_nothing_start(site: Site) -> None:
    site.write(GOOD + "output_policy: policy.yaml\n", LIMITED)
    (line,) = site.wrong()
    assert line.startswith("policy.yaml")
