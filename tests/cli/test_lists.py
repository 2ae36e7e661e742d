"""Lists of tags from other products, in and out: what was taken over comes back the same, the rest is told."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeflow import document
from edgeflow.devices.config import TagOptions, read_links_and_devices
from edgeflow.production.counter import CounterSettings
from edgeflow_modbus.config import Point
from tests.cli.shop import Done, here

NEURON = """\
group,interval,name,address,attribute,type,description,decimal,precision,bias
press,500,state,7!400001,Read,UINT16,State of the machine,,,
press,500,good,7!400005#BL,Read,UINT32,Good parts,,,
press,500,temperature,7!300003,Read Subscribe,INT16,Oil,0.1,,-5
press,500,setpoint,7!400021#BB,Read Write,FLOAT,,,2,
press,500,running,7!000001,Read Write,BIT,,,,
press,500,door,7!400013.3,Read,BIT,,,,
press,500,name,7!400031.20H,Read,STRING,,,,
press,500,label,7!400041.10L,Read,STRING,,,,
press,500,swapped,7!400051#B,Read,INT16,,,,
meter,1000,power,9!300053,Read,FLOAT,,,,
"""
KEPWARE = (
    "Tag Name,Address,Data Type,Respect Data Type,Client Access,Scan Rate,Scaling,Raw Low,Raw High,Scaled Low,"
    "Scaled High,Scaled Data Type,Clamp Low,Clamp High,Eng Units,Description,Negate Value\n"
)


def taken(folder: Path, text: str, *options: str, encoding: str = "utf-8") -> tuple[dict[str, Any], Done]:
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding))
    done = here("tags", "import", path, *options)
    assert "Traceback" not in done.stderr
    found = document.parse(done.stdout, "out").data if done.stdout else {}
    return found.get("devices", {}), done


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def configuration(folder: Path, done: Done) -> Path:
    path = folder / "gateway.yaml"
    link = "gateway: {name: line1}\nlinks: {plc: {driver: modbus, host: 127.0.0.1}}\n"
    path.write_text(link + done.stdout)
    return path


def test_neurons_columns_become_devices_by_group_and_unit(tmp_path: Path) -> None:
    devices, done = taken(tmp_path, NEURON)
    assert (done.returncode, done.stderr) == (0, "10 tags were taken over in 2 devices; no remarks.\n")
    assert list(devices) == ["press-7", "meter-9"]
    press = devices["press-7"]
    assert {key: value for key, value in press.items() if key != "tags"} == {
        "link": "plc", "unit": 7, "first_address": 1, "every": "500 ms",
    }  # fmt: skip
    assert press["tags"] == {
        "state": {"register": 1, "about": "State of the machine"},
        "good": {"register": 5, "type": "uint32", "word_order": "little", "about": "Good parts"},
        "temperature": {"input": 3, "type": "int16", "scale": 0.1, "offset": -5, "about": "Oil"},
        "setpoint": {
            "register": 21,
            "type": "float32",
            "word_order": "little",
            "byte_order": "little",
            "writable": True,
        },
        "running": {"coil": 1, "writable": True},
        "door": {"register": 13, "bit": 3},
        "name": {"register": 31, "type": "string", "length": 10},
        "label": {"register": 41, "type": "string", "length": 5, "byte_order": "little"},
        "swapped": {"register": 51, "type": "int16", "byte_order": "little"},
    }
    assert here("validate", configuration(tmp_path, done)).returncode == 0


def test_what_neuron_gave_comes_back_the_same(tmp_path: Path) -> None:
    _, done = taken(tmp_path, NEURON)
    back = here("tags", "export", "--form", "neuron", "--config", configuration(tmp_path, done))
    assert back.returncode == 0
    names = {"press": "press-7", "meter": "meter-9"}
    wanted = [
        row | {"group": names[row["group"]], "attribute": row["attribute"].replace(" Subscribe", ""), "precision": ""}
        for row in rows(NEURON)
    ]
    assert rows(back.stdout) == wanted


def test_kepwares_columns_become_one_device(tmp_path: Path) -> None:
    text = KEPWARE + (
        '"Press.State","400001",Word,1,RO,500,,,,,,,,,,"State",\n'
        '"Press.Good","40005",DWord,1,RO,500,,,,,,,,,,"",\n'
        '"Press.Oil","300003",Short,1,RO,500,Linear,0,1000,0,100,Float,0,0,"DegC","",0\n'
        '"Press.Level","400009",Word,1,R/W,500,Linear,4000,20000,0,100,Float,1,1,"%","",0\n'
        '"Press.Door","400013.03",Boolean,1,RO,500,,,,,,,,,,"",\n'
        '"Press.Lamp","000001",Boolean,1,R/W,500,,,,,,,,,,"",\n'
        '"Press.Name","400031.20H",String,1,RO,500,,,,,,,,,,"",\n'
        '"Press.Count","400041",LBCD,1,RO,500,,,,,,,,,,"",\n'
    )
    devices, done = taken(tmp_path, text, "--name", "press", "--device", "unit=7", "--device", "word_order=little")
    (name, press), *others = devices.items()
    assert (name, others, done.returncode) == ("press", [], 0)
    assert {key: value for key, value in press.items() if key != "tags"} == {
        "link": "plc", "first_address": 1, "unit": 7, "word_order": "little", "every": "500 ms",
    }  # fmt: skip
    assert press["tags"] == {
        "state": {"register": 1, "about": "State"},
        "good": {"register": 5, "type": "uint32"},
        "oil": {"input": 3, "type": "int16", "scale": 0.1, "unit": "°C"},
        "level": {"register": 9, "writable": True, "scale": 0.00625, "offset": -25, "unit": "%"},
        "door": {"register": 13, "bit": 3},
        "lamp": {"coil": 1, "writable": True},
        "name": {"register": 31, "type": "string", "length": 10},
        "count": {"register": 41, "type": "bcd32"},
    }
    assert "line 5: Press.Level: it is taken without clamping" in done.stderr


def test_what_kepware_gave_comes_back_with_the_same_meaning(tmp_path: Path) -> None:
    text = KEPWARE + (
        'State,400001,Word,1,RO,500,,,,,,,,,,"State",\n'
        'Oil,300003,Short,1,RO,500,Linear,0,1000,-5,95,Double,0,0,°C,"",0\n'
        'Door,400013.03,Boolean,1,RO,500,,,,,,,,,,"",\n'
        'Lamp,000001,Boolean,1,R/W,500,,,,,,,,,,"",\n'
        'Name,400031.20H,String,1,RO,500,,,,,,,,,,"",\n'
    )
    _, done = taken(tmp_path, text, "--name", "press", "--device", "unit=7")
    back = here("tags", "export", "press", "--form", "kepware", "--config", configuration(tmp_path, done))
    assert back.returncode == 0
    assert back.stderr.splitlines() == [
        "press: the list does not say `unit: 7`; set it at the device in Kepware",
        "5 tags were written; 1 remark.",
    ]
    wanted = [row | {"Tag Name": row["Tag Name"].lower()} for row in rows(text)]
    assert rows(back.stdout) == wanted


def test_what_kepware_keeps_elsewhere_is_asked_for_and_never_guessed(tmp_path: Path) -> None:
    _, done = taken(tmp_path, KEPWARE + "Good,400005,DWord,1,RO,100,,,,,,,,,,,\n")
    assert "`--device word_order=little`" in done.stderr
    assert "`--device unit=7`" in done.stderr


def test_a_plain_register_list_is_taken_as_people_write_it(tmp_path: Path) -> None:
    text = (
        "Name;Register;Type;Unit;Factor;Comment;Access\n"
        "Spannung L1;0x10;FLOAT;V;;;R\n"
        "Leistung;18;S32;kw;/1000;gesamt;R\n"
        "Sollwert;30;INT;degC;0,1;;RW\n"
        "Störung;31;U16;;;;R\n"
        "Druck;32;U16;Fuß;;;R\n"
        "# a comment;;;;;;\n"
    )
    devices, done = taken(tmp_path, text, "--name", "meter", encoding="cp1252")
    assert devices["meter"]["tags"] == {
        "spannung-l1": {"register": 16, "type": "float32", "unit": "V"},
        "leistung": {"register": 18, "type": "int32", "unit": "kW", "scale": 0.001, "about": "gesamt"},
        "sollwert": {"register": 30, "type": "int16", "unit": "°C", "scale": 0.1, "writable": True},
        "stoerung": {"register": 31, "type": "uint16"},
        "druck": {"register": 32, "type": "uint16"},
    }
    assert done.stderr.splitlines() == [
        "line 6: Druck: it is taken without its unit 'Fuß', which is not known here",
        "5 tags were taken over; 1 remark.",
    ]


def test_a_plain_list_goes_out_and_in_again(tmp_path: Path) -> None:
    devices, done = taken(
        tmp_path, "name,register,type,unit,scale\nspeed,10,int16,1/min,0.1\nstate,2,,,\n", "--name", "d"
    )
    back = here("tags", "export", "--config", configuration(tmp_path, done))
    again, _ = taken(tmp_path, back.stdout)
    assert again["d"]["tags"] == devices["d"]["tags"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("g,,a,1!400001,Static,UINT16,,,,", "static"),
        ("g,,a,400001,Read,UINT16,,,,", "is not like `1!400001`"),
        ("g,,a,1!200001,Read,UINT16,,,,", "begin with 0, 1, 3 or 4"),
        ("g,,a,1!400001.16,Read,BIT,,,,", "bits 0 to 15"),
        ("g,,a,1!400001,Read,STRING,,,,", "length in bytes"),
        ("g,,a,1!400001,Read,DATE,,,,", "type 'DATE' is not possible"),
        ("g,,a,1!000001,Read,INT32,,,,", "holds one bit"),
        ("g,,a,1!400001,Read,UINT16,,half,,", "is not a number"),
        ("g,,,1!400001,Read,UINT16,,,,", "it has no name"),
        ("g,,a,1!300001,Read Write,UINT16,,,,", ""),
    ],
)
def test_a_line_that_cannot_be_taken_over_is_told_with_its_number_and_the_reason(
    tmp_path: Path, row: str, words: str
) -> None:
    text = NEURON.splitlines()[0] + "\n" + row + "\ng,,b,1!400002,Read,UINT16,,,,\n"
    devices, done = taken(tmp_path, text)
    if words:
        assert done.stderr.startswith("line 2: "), done.stderr
        assert words in done.stderr
        assert list(devices["g"]["tags"]) == ["b"]


def test_arrays_and_square_roots_of_kepware_are_left_out_and_not_made_something_else(tmp_path: Path) -> None:
    text = KEPWARE + (
        "A,400001 [10],Word,1,RO,100,,,,,,,,,,,\n"
        "B,400020,Word,1,RO,100,Square Root,0,100,0,10,Float,0,0,,,0\n"
        "C,400021,Date,1,RO,100,,,,,,,,,,,\n"
    )
    _, done = taken(tmp_path, text)
    assert done.returncode == 1
    assert "line 2: A: its address '400001 [10]' is an array" in done.stderr
    assert "line 3: B: its scaling is 'Square Root'" in done.stderr
    assert "line 4: C: its type 'Date' is not possible here" in done.stderr
    assert "0 tags were taken over" in done.stderr


def test_what_a_list_has_no_column_for_is_told(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "gateway: {name: line1}\nlinks: {plc: {driver: modbus, host: 127.0.0.1}}\n"
        "devices: {d: {link: plc, tags: {a: {register: 1, bits: 4-7, range: [0, 9], unit: V}, b: {register: 2, type: bcd16}}}}\n"
    )
    done = here("tags", "export", "--form", "neuron", "--config", tmp_path / "gateway.yaml")
    assert "d/a: without `bits`, `range`, `unit`, for which there is no column" in done.stderr
    assert "d/b: Neuron has no type bcd16" in done.stderr


def test_addresses_of_opcua_are_taken_over_too(tmp_path: Path) -> None:
    text = NEURON.splitlines()[0] + "\ng,,speed,2!Device1.Speed,Read,FLOAT,,,,\ng,,time,0!2258,Read,UINT32,,,,\n"
    devices, _ = taken(tmp_path, text, "--driver", "opcua")
    assert devices["g"]["tags"] == {
        "speed": {"node": "ns=2;s=Device1.Speed", "type": "number"},
        "time": {"node": "ns=0;i=2258", "type": "integer"},
    }


def test_durations_of_a_point_go_out_and_come_back_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "gateway: {name: line1}\nlinks: {plc: {driver: opcua, url: 'opc.tcp://127.0.0.1:4840'}}\n"
        "devices: {d: {link: plc, tags: {speed: {node: ns=2;s=Speed, sampling_interval: 250 ms}}}}\n"
    )
    done = here("tags", "export", "--config", tmp_path / "gateway.yaml")
    assert "250 ms" in done.stdout, done
    devices, _ = taken(tmp_path, done.stdout, "--driver", "opcua")
    assert devices["d"]["tags"]["speed"]["sampling_interval"] == "250 ms"


def test_a_table_without_known_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("a,b\n1,2\n")
    done = here("tags", "import", path)
    assert (done.returncode, done.stdout) == (78, "")
    assert "must name the columns" in done.stderr
    assert here("tags", "import", tmp_path / "none.csv").returncode == 78


GERMAN = """\
Bezeichnung;Adresse;Typ;Einheit;Skalierung;Bemerkung;Seite
Spannung L1;30001;Float32;V;1,0;Außenleiter 1;12
Wirkleistung gesamt;30053;Float32;kW;0,001;;12
Schalter;40012;WORD;;;;13
"""


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252"])
def test_a_makers_list_from_a_spreadsheet_is_taken_with_its_tables_by_the_first_digit(
    tmp_path: Path, encoding: str
) -> None:
    options = ("--device", "unit=17", "--device", "first_address=40001")
    devices, done = taken(tmp_path, GERMAN.replace("\n", "\r\n"), *options, encoding=encoding)
    assert devices["device"]["tags"] == {
        "spannung-l1": {"input": 30001, "type": "float32", "unit": "V", "about": "Außenleiter 1"},
        "wirkleistung-gesamt": {"input": 30053, "type": "float32", "unit": "kW", "scale": 0.001},
        "schalter": {"register": 40012, "type": "uint16"},
    }
    assert done.stderr == "line 1: column 'seite': it is not known, and left out\n3 tags were taken over; 1 remark.\n"
    assert here("validate", configuration(tmp_path, done)).returncode == 0


def test_a_number_of_another_table_is_never_taken_for_a_holding_register(tmp_path: Path) -> None:
    devices, _ = taken(tmp_path, "name,register\na,30001\nb,40001\nc,50001\n", "--device", "first_address=40001")
    assert devices["device"]["tags"] == {"a": {"input": 30001}, "b": {"register": 40001}}


def test_addresses_without_a_table_are_asked_for_once(tmp_path: Path) -> None:
    _, done = taken(tmp_path, GERMAN)
    assert done.returncode == 78
    assert "list.csv:1:1 name the column of addresses by its table" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "told"), [("unit=seven", "unit: 'seven' is not a whole number"), ("unit=400", "unit: 400 is too large")]
)
def test_a_key_of_the_device_is_checked_before_anything_is_written(tmp_path: Path, given: str, told: str) -> None:
    _, done = taken(tmp_path, "name,register\na,1\n", "--device", given)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


EVERY_SETTING: dict[str, dict[str, Any]] = {
    "power": {"register": 12, "type": "int16", "factor": 13},
    "sum": {"register": 800, "type": "uint32", "plus": [802, 805], "word_order": "little"},
    "reset": {"register": 400, "writable": True, "read": False, "write_function": 16, "verify": "500 ms"},
    "state": {"register": 1, "names": {"0": "idle, off", "1": 'the "run"', "2": "true"}, "other": "12"},
    "mode": {"register": 2, "bits": "4-7", "map": "packml"},
    "door": {"register": 3, "bit": 0},
    "level": {"input": 4, "type": "int16", "missing": ["default", 32767], "range": [-0.5, 100]},
    "pressure": {"input": 5, "type": "int16", "missing": [0x7FFF], "scale": 0.1234567890123456, "offset": -1e-05},
    "name": {"register": 30, "type": "string", "length": 8, "byte": "low", "missing": ["", " - ", "0"]},
    "raw": {"register": 50, "type": "bytes", "length": 4},
    "half": {"register": 60, "type": "uint8", "byte": "high"},
    "fixed": {"register": 61, "type": "int32", "fraction": 16, "byte_order": "little"},
    "setpoint": {"register": 62, "writable": True, "write_with": {"63": "keep", "64": 1}},
    "energy": {"input": 72, "type": "float32", "scale_by": {"register": 30, "type": "float32", "values": {"0": 1, "1": 1000}, "absent": 1}},
    "lamp": {"coil": 0, "writable": True, "verify": "3 s"},
    "switch": {"discrete": 65535, "about": "[1] says: yes, \"it\" does"},
    "parts": {"register": 70, "counter": {"modulus": 65536, "max_rate": "90 /min", "resets_to": 0, "jitter": 2}, "every": "250 ms", "unit": "pcs", "writable": True, "reads_as": "power"},
    "axes/x/pos": {"register": 71, "type": "float64", "scale": 3, "offset": 2, "unit": "mm", "silence": "90 s"},
    "W": {"sunspec": ["meter/W", "103/W"]},
}  # fmt: skip


def plant(folder: Path, tags: dict[str, dict[str, Any]], **keys: Any) -> Path:
    path = folder / "rt.yaml"
    link = {"plc": {"driver": "modbus", "host": "127.0.0.1"}}
    devices = {"d_1": {"link": "plc", **keys, "tags": tags}}
    path.write_text(json.dumps({"gateway": {"name": "line1"}, "links": link, "devices": devices}))
    return path


def test_a_plain_list_gives_back_every_setting_of_a_point_and_a_tag(tmp_path: Path) -> None:
    tags = {name.lower(): tag for name, tag in EVERY_SETTING.items()}
    settings = {field.alias or name for form in (Point, TagOptions) for name, field in form.model_fields.items()}
    assert settings == {key for tag in tags.values() for key in tag}
    assert set(tags["parts"]["counter"]) == set(CounterSettings.model_fields)
    there = plant(tmp_path, tags)
    done = here("tags", "export", "d_1", "--config", there, "-o", tmp_path / "rt.csv")
    assert done.stderr == f"{len(tags)} tags were written; no remarks.\n"
    back = here("tags", "import", tmp_path / "rt.csv")
    assert back.stderr == f"{len(tags)} tags were taken over; no remarks.\n"
    again = configuration(tmp_path, back)
    was, became = (read_links_and_devices(document.load(path)).devices["d_1"] for path in (there, again))
    assert became.tags == was.tags


@pytest.mark.parametrize("name", [name for name in EVERY_SETTING if "every" not in EVERY_SETTING[name]])
def test_a_plain_list_of_one_tag_gives_it_back(tmp_path: Path, name: str) -> None:
    there = plant(tmp_path, {name.lower(): EVERY_SETTING[name]})
    here("tags", "export", "--config", there, "-o", tmp_path / "rt.csv")
    again = configuration(tmp_path, here("tags", "import", tmp_path / "rt.csv"))
    was, became = (read_links_and_devices(document.load(path)).devices["d_1"] for path in (there, again))
    assert became.tags == was.tags


@pytest.mark.parametrize(("ms", "every"), [(1250, "1250 ms"), (90_000, "90 s"), (120_000, "2 min")])
def test_a_rate_is_taken_over_exactly(tmp_path: Path, ms: int, every: str) -> None:
    devices, done = taken(tmp_path, f"group,interval,name,address,attribute,type\ng,{ms},a,1!400001,Read,UINT16\n")
    assert devices["g"]["every"] == every
    assert here("validate", configuration(tmp_path, done)).returncode == 0


def test_a_device_of_a_plain_list_keeps_its_name_where_it_is_one(tmp_path: Path) -> None:
    devices, _ = taken(tmp_path, "name,device,register\na,press--1,1\na,Hall 2/press,2\na,hall/press,3\n")
    assert list(devices) == ["press--1", "hall-2-press", "hall-press"]


def test_a_column_called_factor_is_the_register_of_that_name_only_where_all_of_it_can_be(tmp_path: Path) -> None:
    devices, done = taken(tmp_path, "name,register,type,factor\na,12,int16,13\nb,14,int16,\n")
    assert devices["device"]["tags"]["a"] == {"register": 12, "type": "int16", "factor": 13}
    assert "line 1: column 'factor': it is taken for the setting of that name, not for `scale`" in done.stderr
    devices, _ = taken(tmp_path, "name,register,type,factor\na,12,int16,13\nb,14,int16,0.1\n")
    assert devices["device"]["tags"]["a"] == {"register": 12, "type": "int16", "scale": 13}


def test_what_kepwares_list_does_not_say_of_a_device_and_its_points_is_told(tmp_path: Path) -> None:
    tags: dict[str, dict[str, Any]] = {
        "a": {"register": 1, "type": "uint32"},
        "b": {"register": 3, "type": "uint32", "word_order": "big"},
        "c": {"register": 5, "type": "int16", "byte_order": "little", "missing": 0x8000, "verify": "3 s"},
        "d": {"register": 6},
    }
    there = plant(
        tmp_path, tags, unit=7, first_address=1, word_order="little", max_registers=50, timeout="2 s", watchdog="10 s"
    )
    done = here("tags", "export", "d_1", "--form", "kepware", "--config", there)
    assert done.stderr.splitlines() == [
        "d_1: the list does not say `unit: 7`, `word_order: little`, `max_registers: 50`, `timeout: 2 s`; "
        "set it at the device in Kepware",
        "d_1: the list does not say `watchdog`, which no column and no --device can",
        "d_1/b: without `word_order`, for which there is no column",
        "d_1/c: without `byte_order`, `missing`, `verify`, for which there is no column",
        "4 tags were written; 4 remarks.",
    ]


def test_the_order_of_registers_is_told_to_kepware_even_where_it_is_the_usual_one(tmp_path: Path) -> None:
    there = plant(tmp_path, {"a": {"register": 1, "type": "float32"}})
    done = here("tags", "export", "d_1", "--form", "kepware", "--config", there)
    assert "d_1: the list does not say `word_order: big`; set it at the device in Kepware" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Tag Name,Address,Data Type\nwhole,400001,Word\nshort row,400322\n",
            "line 3: short row: the line is too short: it ends before 'data type'",
        ),
        (
            "group,name,address,attribute,type\ng,whole,1!400002,Read,UINT16\ng,a,1!400001\n",
            "line 3: a: the line is too short: it ends before 'attribute' and 'type'",
        ),
    ],
)
def test_a_short_line_is_told_and_the_others_are_taken(tmp_path: Path, text: str, told: str) -> None:
    devices, done = taken(tmp_path, text)
    assert told in done.stderr.splitlines()
    (device,) = devices.values()
    assert list(device["tags"]) == ["whole"]


def test_a_list_with_the_line_ends_of_an_old_macintosh_is_read(tmp_path: Path) -> None:
    devices, _ = taken(tmp_path, "name,register\ra,1\rb,2\r")
    assert devices["device"]["tags"] == {"a": {"register": 1}, "b": {"register": 2}}


def test_the_unicode_text_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    devices, _ = taken(tmp_path, "name\tregister\r\na\t1\r\n", encoding="utf-16")
    assert devices["device"]["tags"] == {"a": {"register": 1}}


def test_a_workbook_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "list.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    done = here("tags", "import", path)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.count("\n") == 1
    assert "list.xlsx is not a list as text; open it with the program it is from and save it as CSV" in done.stderr


def test_a_quote_that_swallows_the_rest_of_a_long_list_is_told(tmp_path: Path) -> None:
    _, done = taken(tmp_path, 'name,register\na,"' + 200_000 * "1")
    assert done.returncode == 78
    assert "look for a quote that is not closed" in done.stderr


def test_names_that_are_alike_all_get_what_tells_them_apart_and_it_is_told(tmp_path: Path) -> None:
    text = "Tag Name,Address,Data Type\n" + "".join(
        f"{name},40000{i},Word\n"
        for i, name in enumerate(("Line1.Temp", "Line2.Temp", "Line2.Speed", "a", "a", "A", "a-2"), 1)
    )
    devices, done = taken(tmp_path, text, "--device", "unit=1", "--name", "m")
    assert list(devices["m"]["tags"]) == ["line1-temp", "line2-temp", "speed", "a", "a-3", "a-4", "a-2"]
    assert done.stderr.splitlines() == [
        "line 2: Line1.Temp: it is named `line1-temp`, because there are several 'temp'",
        "line 3: Line2.Temp: it is named `line2-temp`, because there are several 'temp'",
        "line 4: Line2.Speed: it is named `speed`, which is unique here",
        "line 6: a: it is named `a-3`, because there is another 'a' before it",
        "line 7: A: it is named `a-4`, because there is another 'a' before it",
        "7 tags were taken over; 5 remarks.",
    ]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (
            "group,name,address,attribute,type\ng,a,300!400001,Read,UINT16\nh,ok,1!400001,Read,UINT16\n",
            (),
            "line 2: a: unit: 300 is too large",
        ),
        ("name,register\na,70000\nok,1\n", (), "line 2: a: there is no"),
        ("name,register\na,400001\nok,40001\n", ("--device", "first_address=40001"), "line 2: a: there is no"),
        (
            "Tag Name,Address,Data Type,Client Access\na,300313,Word,R/W\nok,400001,Word,RO\n",
            (),
            "line 2: a: writable: the driver modbus cannot write this point",
        ),
        (
            "group,name,address,attribute,type,decimal\ng,a,1!000001,Read,BIT,0.1\ng,ok,1!400001,Read,UINT16,\n",
            (),
            "line 2: a: scale: a boolean tag cannot have `scale`",
        ),
        (
            "group,name,address,attribute,type\n,ok,1!400001,Read,UINT16\n,a,2!400001,Read,UINT16\n",
            (),
            "line 3: a: it has unit 2, unlike the first of device",
        ),
    ],
)
def test_what_a_configuration_would_be_refused_for_is_told_with_its_line(
    tmp_path: Path, text: str, options: tuple[str, ...], told: str
) -> None:
    devices, done = taken(tmp_path, text, *options)
    assert told in done.stderr
    assert [name for device in devices.values() for name in device["tags"]] == ["ok"]
    assert here("validate", configuration(tmp_path, done)).returncode == 0
