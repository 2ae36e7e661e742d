"""A template tried against a real server: what fits, what does not, and which other template knows the device."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeflow.devices.check import WRONG, Options, check, check_on
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.plan import Plant
from edgeflow.devices.template import Library, shipped_folders
from edgeflow.document import Document, load, parse
from edgeflow.driver import Finding, Home, Note, Progress, Row
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import Scalar
from edgeflow.testing.recording import Case
from edgeflow.testing.registers import Registers
from edgeflow.testing.session import Wire

QUICK = Options.model_validate({"reads": 2, "every": "10 ms"})


def float32(value: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def sdm120(voltage: float = 230.0) -> Registers:
    """An Eastron SDM120 with 1840 W: by its map, address and value."""
    values = {
        0: voltage,
        6: 10,
        12: 8 * voltage,
        18: 10 * voltage,
        24: 6 * voltage,
        30: 0.8,
        70: 50,
        72: 7,
        74: 0,
        76: 5,
        78: 0,
    }
    words = {address + i: word for address, value in values.items() for i, word in enumerate(float32(value))}
    return Registers({"input": words})


def plant_of(port: int, **device: Any) -> Plant:
    data = {
        "links": {"l": {"driver": "modbus", "host": "127.0.0.1", "port": port}},
        "devices": {"m": {"link": "l", "timeout": "500 ms", **device}},
    }
    return read_links_and_devices(Document("gateway.yaml", data, {}))


async def findings(registers: Registers, options: Options = QUICK, **device: Any) -> list[Finding]:
    async with registers.served() as port:
        plant = plant_of(port, **device)
        return [f async for f in check(plant.links["l"], plant.devices["m"], Library(), Home(), options)]


def rows(found: list[Finding], table: str) -> dict[Scalar, Mapping[str, Scalar]]:
    return {f.cells[table]: f.cells for f in found if isinstance(f, Row) and table in f.cells}


def notes(found: list[Finding]) -> list[str]:
    return [f.text for f in found if isinstance(f, Note)]


async def test_a_device_that_is_what_it_is_said_to_be_fits() -> None:
    found = await findings(sdm120(), template="eastron/sdm120")
    assert not [f for f in found if isinstance(f, Row) and f.cells["result"] in WRONG]
    assert rows(found, "tag")["power"] == {"tag": "power", "value": 1.84, "unit": "kW", "result": "read", "says": ""}
    assert rows(found, "probe")["input: 70, type: float32"]["result"] == "fits"
    assert rows(found, "check")["frequency"]["says"] == "frequency is 50 Hz, between 40 and 70"
    assert notes(found) == ["m: 11 of 11 tags were read. It fits eastron/sdm120."]
    assert any(isinstance(f, Progress) for f in found)


async def test_a_device_of_another_kind_is_told_with_the_kind_that_it_is() -> None:
    found = await findings(sdm120(), template="carlo-gavazzi/em340")
    assert rows(found, "probe")["input: 51, type: int16"]["result"] == "does not fit"
    assert any(note.startswith("This may be eastron/sdm120 (Eastron SDM120") for note in notes(found))
    assert "It is likely not a carlo-gavazzi/em340" in notes(found)[-1]


async def test_a_device_with_its_words_the_other_way_round_is_known_and_judged_with_them_turned() -> None:
    device = sdm120()
    turned = {address: device.tables["input"][address ^ 1] for address in device.tables["input"]}
    found = await findings(Registers({"input": turned}), template="eastron/sdm120")
    assert {row["result"] for row in rows(found, "probe").values()} == {"does not fit"}
    assert "With `word_order: little` at the device its probe fits. Write that; what follows is read so." in notes(
        found
    )
    assert rows(found, "tag")["power"]["value"] == 1.84
    assert notes(found)[-1] == "m: 11 of 11 tags were read. It fits eastron/sdm120 with `word_order: little`."
    found = await findings(Registers({"input": turned}), template="eastron/sdm120", word_order="little")
    assert notes(found) == ["m: 11 of 11 tags were read. It fits eastron/sdm120."]


async def test_values_that_point_to_the_word_order_together_are_summed_up_without_a_template() -> None:
    tags = {name: {"input": at, "type": "float32", "word_order": "little"} for name, at in (("u", 0), ("f", 70))}
    found = await findings(sdm120(12.4), tags=tags)
    assert notes(found)[-1].endswith("Several values point to the word order: set `word_order` at the device.")


async def test_a_device_that_refuses_all_that_a_template_asks_is_told_what_it_may_be() -> None:
    found = await findings(sdm120(), template="sunspec/meter")
    assert {row["result"] for row in rows(found, "tag").values()} == {"not readable"}
    assert "SunSpec" in str(rows(found, "tag")["power"]["says"])
    assert any(note.startswith("This may be eastron/sdm120 (") for note in notes(found))


async def test_a_device_that_says_who_it_is_is_told_for_certain() -> None:
    words = dict.fromkeys(range(80), 0) | {11: 1650, 0: 2300, 2: 2310, 4: 2290, 51: 500}
    found = await findings(Registers({"input": words}), template="eastron/sdm120")
    assert any(note.startswith("This is carlo-gavazzi/em24-ethernet (") for note in notes(found))


async def test_the_other_templates_are_left_alone_where_that_is_not_wanted() -> None:
    options = Options.model_validate({"reads": 1, "every": "10 ms", "others": False})
    found = await findings(sdm120(), options, template="carlo-gavazzi/em340")
    assert len(notes(found)) == 1


async def test_a_point_that_cannot_be_read_is_told_with_the_reason() -> None:
    found = await findings(sdm120(), template="eastron/sdm120", tags={"odd": {"input": 4000}, "out": {"coil": 1}})
    tags = rows(found, "tag")
    assert tags["odd"]["result"] == "not readable"
    assert "illegal data address" in str(tags["odd"]["says"])
    assert tags["out"]["result"] == "not readable"
    assert tags["power"]["result"] == "read"
    assert "not readable: odd, out" in notes(found)[-1]


async def test_a_value_out_of_its_range_is_shown_and_told() -> None:
    found = await findings(sdm120(), template="eastron/sdm120", tags={"voltage_l1": {"scale": 10}})
    row = rows(found, "tag")["voltage_l1"]
    assert (row["value"], row["result"]) == (2300, "does not fit")
    assert "10 times too large" in str(row["says"])


async def test_a_device_without_a_template_is_read_and_its_ranges_are_judged() -> None:
    found = await findings(
        sdm120(), tags={"f": {"input": 70, "type": "float32", "range": [40, 70]}, "raw": {"input": 70}}
    )
    assert {tag: row["result"] for tag, row in rows(found, "tag").items()} == {"f": "fits", "raw": "read"}
    assert not rows(found, "check")


async def test_tags_that_were_taken_away_are_not_judged() -> None:
    found = await findings(sdm120(), template="eastron/sdm120", only=["frequency", "power"])
    assert list(rows(found, "tag")) == ["power", "frequency"]
    assert list(rows(found, "check")) == ["frequency"]


async def test_without_load_it_is_said_that_nothing_can_be_judged() -> None:
    registers = sdm120()
    for address in (6, 7, 12, 13, 18, 19, 24, 25):
        registers.tables["input"][address] = 0
    found = await findings(registers, template="eastron/sdm120")
    assert "2 checks say nothing without load" in notes(found)[-1]


async def test_what_contradicts_itself_in_public_maps_is_told_where_the_device_is_not_what_it_should_be() -> None:
    options = Options.model_validate({"reads": 1, "others": False})
    found = await findings(sdm120(), options, template="siemens/pac2200")
    assert any(note.startswith("Frequency at 55 or at 46.") for note in notes(found))


async def test_a_device_that_does_not_answer_ends_it() -> None:
    plant = plant_of(1, template="eastron/sdm120")
    with pytest.raises(LinkDown):
        _ = [f async for f in check(plant.links["l"], plant.devices["m"], Library(), Home(), QUICK)]


async def test_it_can_be_tried_on_a_session_that_somebody_else_holds() -> None:
    wire = Wire({1: 50.0})
    text = "links: {l: {driver: fake}}\ndevices: {m: {link: l, tags: {f: {address: 1, range: [40, 70]}}}}"
    plant = read_links_and_devices(parse(text), lambda _: wire.driver(), lambda: ["fake"])
    link, asked = plant.links["l"], []

    async def ask(request: Any) -> Any:
        asked.append(request)
        return await request(float("inf"))

    async with link.driver.open(link.config, float("inf"), Home()) as session:
        found = [f async for f in check_on(session, ask, plant.devices["m"], Library(), QUICK)]
    assert rows(found, "tag")["f"]["result"] == "fits"
    assert len(asked) == 1 + QUICK.reads


async def test_a_device_that_can_only_be_written_cannot_be_judged_by_reading(tmp_path: Path) -> None:
    class Deaf:
        """A session that can neither read nor watch."""

    plant = plant_of(1, tags={"f": {"input": 1}})
    with pytest.raises(Rejected, match="can neither read nor watch"):
        _ = [f async for f in check_on(Deaf(), lambda _: None, plant.devices["m"], Library(), QUICK)]  # type: ignore[arg-type,return-value] # never asked


# --- what public maps do not agree on ---


def recorded(name: str, **changed: dict[int, list[int]]) -> Registers:
    """The registers of a template's recorded case, with some of them changed; an empty list takes one away."""
    folder = next(f for f in shipped_folders() if f.joinpath(f"{name}.yaml").is_file())
    case = load(folder / f"{name}.case.yaml").model(Case)
    tables: Any = {}
    for table in case.registers.keys() | changed.keys():
        blocks = {**case.registers.get(table, {}), **changed.get(table, {})}  # type: ignore[call-overload]
        tables[table] = {at + i: word for at, words in blocks.items() for i, word in enumerate(words)}
    return Registers({table: words for table, words in tables.items() if words}, case.most)


@pytest.mark.parametrize(("table", "words"), [("holding", []), ("holding", float32(0)), ("holding", float32(1))])
async def test_the_prefix_of_the_unit_of_an_sdm630_is_read(table: str, words: list[int]) -> None:
    found = await findings(recorded("eastron/sdm630", **{table: {30: words}}), template="eastron/sdm630")
    values = {name: row["value"] for name, row in rows(found, "tag").items()}
    factor = 1000 if words == float32(1) else 1
    assert (values["energy"], values["energy_l1"]) == (12345.5 * factor, 4112.5 * factor)
    assert values["reactive_export_energy"] == 1.5 * factor
    assert notes(found)[-1].endswith("It fits eastron/sdm630.")


async def test_an_sdm630_without_the_register_of_the_prefix_counts_in_kwh() -> None:
    found = await findings(recorded("eastron/sdm630", holding={30: [], 10: [0, 0]}), template="eastron/sdm630")
    assert rows(found, "tag")["energy"]["value"] == 12345.5


async def test_an_unknown_prefix_is_no_value() -> None:
    found = await findings(recorded("eastron/sdm630", holding={30: float32(2)}), template="eastron/sdm630")
    row = rows(found, "tag")["energy"]
    assert (row["result"], row["says"]) == (
        "not readable",
        "holding register 30 tells its unit by 2.0, which `scale_by` does not name",
    )


async def test_a_dtsu666_with_its_counters_elsewhere_is_told_what_to_give() -> None:
    moved = {0x101E: [], 0x1028: [], 0x401E: float32(321.5), 0x4028: float32(1.25)}
    found = await findings(recorded("chint/dtsu666", holding=moved), template="chint/dtsu666")
    assert "With `with: {energy_base: 16384}` at the device its probe fits. Write that, and check again." in notes(
        found
    )
    found = await findings(
        recorded("chint/dtsu666", holding=moved), template="chint/dtsu666", **{"with": {"energy_base": 0x4000}}
    )
    values = {name: row["value"] for name, row in rows(found, "tag").items()}
    assert (values["energy"], values["export_energy"]) == (321.5, 1.25)


async def test_a_partial_counter_in_place_of_the_total_is_found_by_the_phases() -> None:
    found = await findings(
        recorded("carlo-gavazzi/em24"), template="carlo-gavazzi/em24", tags={"energy": {"input": 0x42}}
    )
    row = rows(found, "check")["energy, energy_l1, energy_l2, energy_l3"]
    assert row["result"] == "does not fit"
    assert "look at energy: it may be a partial counter" in str(row["says"])


async def test_a_device_that_gives_nothing_is_not_said_to_be_another_one() -> None:
    async with Registers({"input": {}}, exception=11).served() as port:
        plant = plant_of(port, template="eastron/sdm120")
        try:
            found = [f async for f in check(plant.links["l"], plant.devices["m"], Library(), Home(), QUICK)]
            told = notes(found)[-1]
        except Silent as error:
            told = f"nobody knows whether it is eastron/sdm120: {error}"
    assert "nobody knows whether it is eastron/sdm120" in told
    assert "exception 11" in told
