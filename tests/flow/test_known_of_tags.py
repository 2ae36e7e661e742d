"""What a tag says of itself - its counter, the map of its states - reaches every node that reads it."""

from __future__ import annotations

from typing import Any

import pytest

from edgeflow import document
from edgeflow.clock import utc_ns
from edgeflow.engine.engine import Engine
from edgeflow.errors import ConfigError
from edgeflow.flow.compile import Plan, compile_flow
from edgeflow.flow.library import shipped
from edgeflow.model import Block, Tag
from edgeflow.node import Site, installed
from edgeflow.outputs.arbitration import OutputPlan
from edgeflow.production.counter import CounterSettings
from edgeflow.production.states import StateModel
from edgeflow.units import NS_PER_S

KINDS = installed()
START = utc_ns("2026-11-20T07:00:00Z")
NAMES = ("state", "good", "reject", "fault", "energy", "power", "call", "acknowledge")
LAMP = OutputPlan("lamp", ("red", "amber", "green", "blue", "buzzer"), when_stale={"blue": "flash"})


def site(maps: dict[str, StateModel] | None = None, **counters: dict[str, Any]) -> Site:
    units = {"energy": "kWh", "power": "kW"}
    kinds: dict[str, Any] = {"call": "boolean", "acknowledge": "boolean"}
    tags = {f"m/{name}": Tag(f"m/{name}", kinds.get(name, "number"), units.get(name)) for name in NAMES}
    return Site(
        tags=tags,
        outputs={"lamp": LAMP},
        counters={f"m/{name}": CounterSettings.model_validate(each) for name, each in counters.items()},
        maps={f"m/{name}": each for name, each in (maps or {}).items()},
    )


def compiled(flow: str, at: Site, **given: Any) -> Plan:
    path = shipped("flows") / flow / "flow.yaml"
    source = document.load(path) if path.is_file() else document.parse("flow: test\n" + flow)
    return compile_flow(source, given, at, KINDS, instance="case")


def configured(plan: Plan, node: str) -> Any:
    found = next(each for each in plan.nodes if each.name == node).plan
    return getattr(found, "config", found)


def counted(plan: Plan, name: str, readings: tuple[float, ...], every_s: int = 10, **others: Any) -> Engine:
    """Runs a flow on readings of one tag; the other tags stay."""
    engine = Engine({"lamp": LAMP})
    engine.deploy(plan, {}, START, "first")
    tags = (f"m/{name}", *(f"m/{other}" for other in others))
    for i, reading in enumerate(readings):
        at = START + i * every_s * NS_PER_S
        engine.block(Block("m", tags, [reading, *others.values()], at, at))
    return engine


def last(engine: Engine, node: str, port: str) -> Any:
    message = engine.flows["case"].by_name[node].outs[port].last
    assert message
    return message.value


@pytest.mark.parametrize("every_s", [5, 60])
def test_a_press_counts_over_the_wrap_of_its_tag_and_not_of_the_flows_default(every_s: int) -> None:
    plan = compiled("oee/press", site(good={"modulus": 65536}), machine="m", ideal_cycle="2 s")
    engine = counted(plan, "good", (65416, 65476, 20, 140), every_s, state=6, reject=0, fault=0)
    # 65416 -> 65536 is 120, of which 60 were seen; then 0 -> 140
    assert last(engine, "oee", "kpi")["data"]["counters"]["good"]["made"] == (65536 - 65416) + 140


def test_with_samples_a_second_apart_the_flows_highest_rate_still_counts() -> None:
    """100 /s is the default of the flow, and nobody says better: 120 in one second are not believed."""
    plan = compiled("oee/press", site(good={"modulus": 65536}), machine="m", ideal_cycle="2 s")
    engine = counted(plan, "good", (65416, 65476, 20, 140), 1, state=6, reject=0, fault=0)
    assert last(engine, "oee", "kpi")["data"]["counters"]["good"]["made"] == 60 + (60 + 20)


def test_the_highest_rate_of_the_tag_counts_before_the_flows_default() -> None:
    plan = compiled("oee/press", site(good={"max_rate": "5 /s"}), machine="m", ideal_cycle="2 s")
    assert configured(plan, "oee").good.max_rate == 5
    assert (configured(plan, "oee").good.modulus, configured(plan, "oee").reject.max_rate) == (2**32, 100)


def test_what_is_given_to_the_instance_counts_before_the_tag_and_is_told_where_they_differ() -> None:
    at = site(good={"modulus": 65536, "max_rate": "5 /s"})
    plan = compiled("oee/press", at, machine="m", ideal_cycle="2 s", modulus="10000")
    assert (configured(plan, "oee").good.modulus, configured(plan, "oee").good.max_rate) == (10_000, 5)
    assert [warning.message for warning in plan.warnings] == [
        "the tag m/good says 65536, and here it is 10000, which counts; write it in one place"
    ]
    same = compiled("oee/press", at, machine="m", ideal_cycle="2 s", modulus="2^16")
    assert same.warnings == (), "2^16 is 65536"


@pytest.mark.parametrize(
    "way",
    [
        "nodes: {t: {kind: tag, tag: m/good}, c: {kind: count}}\nwires: [t -> c]\n",
        "nodes: {t: {kind: tag, tag: m/good, on: change}, c: {kind: count}}\nwires: [t -> c]\n",
        "nodes: {t: {kind: tag, tag: m/good}, s: {kind: switch, cases: {low: {below: 1}}}, c: {kind: count}}\n"
        "wires: [t -> s, s.otherwise -> c]\n",
        "nodes: {c: {kind: count}, t: {kind: tag, tag: m/good}, d: {kind: debounce, on_delay: 0 s}}\n"
        "wires: [d -> c, t -> d]\n",
    ],
)
def test_it_goes_through_whatever_leaves_the_value_as_it_is(way: str) -> None:
    assert configured(compiled(way, site(good={"modulus": 1000})), "c").modulus == 1000


@pytest.mark.parametrize("between", ["kind: scale, factor: 10", "kind: average, over: 1 min"])
def test_what_changes_the_value_leaves_it_behind(between: str) -> None:
    text = f"nodes: {{t: {{kind: tag, tag: m/good}}, x: {{{between}}}, c: {{kind: count}}}}\nwires: [t -> x, x -> c]\n"
    assert configured(compiled(text, site(good={"modulus": 1000})), "c").modulus is None


def test_a_count_of_a_wrapping_tag_is_right() -> None:
    text = "nodes: {t: {kind: tag, tag: m/good}, c: {kind: count}}\nwires: [t -> c]\n"
    engine = counted(compiled(text, site(good={"modulus": 100})), "good", (90, 97, 4, 60))
    assert last(engine, "c", "total") == (100 - 90) + 60
    engine = counted(
        compiled(text.replace("count}", "count, modulus: 98}"), site(good={"modulus": 100})), "good", (90, 97, 4)
    )
    assert last(engine, "c", "total") == (98 - 90) + 4, "what the node says counts"


def test_a_meters_counter_wraps_where_its_register_does_whatever_the_scale() -> None:
    """A uint32 of Wh told in kWh begins again after 4,294,967.296 kWh."""
    settings = CounterSettings.model_validate({"modulus": "2^32", "max_rate": "100 /s"}).scaled(0.001)
    at = site(good={})
    at = Site(tags=at.tags, outputs=at.outputs, counters={"m/energy": settings})
    plan = compiled("energy/meter", at, meter="m", machine="m")
    engine = counted(plan, "energy", (4294967.0, 0.5, 1.5), power=3.0, good=1, state=6)
    assert last(engine, "demand", "out")["data"]["kwh"] == pytest.approx(4294967.296 - 4294967.0 + 1.5, abs=1e-6)


def test_a_counter_that_is_set_to_zero_needs_to_say_so_only_at_its_tag() -> None:
    text = "nodes: {t: {kind: tag, tag: m/good}, c: {kind: count}}\nwires: [t -> c]\n"
    engine = counted(compiled(text, site(good={"resets_to": 0, "jitter": 0})), "good", (10, 12, 3))
    assert last(engine, "c", "total") == 2 + 3


def test_what_the_tag_says_must_fit_what_the_node_says() -> None:
    text = "nodes: {t: {kind: tag, tag: m/good}, c: {kind: count, resets_to: 0}}\nwires: [t -> c]\n"
    with pytest.raises(ConfigError, match=r"max_rate is needed .*with what the tag m/good says of itself"):
        compiled(text, site(good={"modulus": 1000}))
    assert compiled(text, site(good={"modulus": 1000, "max_rate": "9 /s"}))


# states


def test_the_map_of_the_tag_says_what_its_numbers_mean() -> None:
    """6 is Execute by PackTags and Complete by OPC 30060, whose Execute is 4."""
    for numbers, state in (("packml", "complete"), ("packtags", "execute")):
        plan = compiled("oee/press", site({"state": numbers}), machine="m", ideal_cycle="2 s")  # type: ignore[dict-item]
        engine = counted(plan, "good", (0, 1), state=6, reject=0, fault=0)
        assert last(engine, "oee", "kpi")["data"]["state"] == state


def test_the_light_follows_the_map_too() -> None:
    at = site({"state": "packml"})
    engine = counted(
        compiled("andon/press", at, machine="m", lamp="lamp"), "state", (4,), call=False, acknowledge=False
    )
    assert last(engine, "lamp", "out")["data"]["pattern"] == {"green": "on"}
    engine = counted(
        compiled("andon/press", site(), machine="m", lamp="lamp"), "state", (4,), call=False, acknowledge=False
    )
    assert last(engine, "lamp", "out")["data"]["pattern"] == {"green": "flash"}, "without one the node's default"


def test_energy_is_split_by_the_map_of_the_state() -> None:
    plan = compiled("energy/meter", site({"state": "signal"}), meter="m", machine="m")
    assert configured(plan, "demand").states == "signal"
    assert (
        configured(
            compiled("energy/meter", site({"state": "signal"}), meter="m", machine="m", states="packml"), "demand"
        ).states
        == "packml"
    )
