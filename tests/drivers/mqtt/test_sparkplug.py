"""Sparkplug B without a broker: payloads byte by byte, and a host application from birth to death."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgeflow.driver import Column
from edgeflow.errors import Rejected
from edgeflow.model import BAD, UNCERTAIN
from edgeflow_mqtt import DRIVER, Point
from edgeflow_mqtt.host import Node, NodeFeed, command_for
from edgeflow_mqtt.protobuf import Broken, varint, write
from edgeflow_mqtt.settings import Sparkplug
from edgeflow_mqtt.sparkplug import decode, scalar

AT_MS = 1_795_154_400_000  # 2026-11-20T06:00:00Z
AT_NS = AT_MS * 1_000_000
DEVICE = Sparkplug(group="plant", node="line1", device="press")


def payload(*metrics: bytes, seq: int | None = None, at_ms: int = AT_MS) -> bytes:
    return b"".join(
        [write(1, "uint", at_ms), *(write(2, "message", metric) for metric in metrics)]
        + ([write(3, "uint", seq)] if seq is not None else [])
    )


def metric(name: str | None = None, alias: int | None = None, datatype: int | None = None, stored: bytes = b"",
           at_ms: int | None = None, historical: bool = False, null: bool = False) -> bytes:  # fmt: skip
    parts = [write(1, "text", name)] if name is not None else []
    parts += [write(2, "uint", alias)] if alias is not None else []
    parts += [write(3, "uint", at_ms)] if at_ms is not None else []
    parts += [write(4, "uint", datatype)] if datatype is not None else []
    parts += [write(5, "bool", True)] if historical else []
    parts += [write(7, "bool", True)] if null else []
    return b"".join([*parts, stored])


def integer(value: int) -> bytes:
    return write(10, "uint", value & 0xFFFFFFFF)


# --- payloads -------------------------------------------------------------------------------------------


def test_the_example_of_the_encoding_guide_is_a_varint() -> None:
    assert varint(150) == bytes.fromhex("9601")  # "150" in the public guide of Protocol Buffers
    assert write(1, "uint", 150) == bytes.fromhex("089601")
    assert write(2, "text", "testing") == bytes.fromhex("120774657374696e67")


# Sparkplug 3.0.0, 6.4.16: how each data type is stored; the numbers are independent of our own writing.
@pytest.mark.parametrize(
    ("datatype", "stored", "kind", "value"),
    [
        (1, integer(-1), "integer", -1), (1, integer(0x80), "integer", -128), (2, integer(-300), "integer", -300),
        (3, integer(-(2**31)), "integer", -(2**31)), (4, write(11, "uint", 2**64 - 5), "integer", -5),
        (5, integer(255), "integer", 255), (6, integer(65535), "number", 65535), (7, integer(2**32 - 1), "number", 2**32 - 1),
        (7, write(11, "uint", 2**32 - 1), "number", 2**32 - 1), (8, write(11, "uint", 2**64 - 1), "integer", 2**64 - 1),
        (9, b"\x65" + struct.pack("<f", 1.5), "number", 1.5), (10, b"\x69" + struct.pack("<d", -0.1), "number", -0.1),
        (11, b"\x70\x01", "boolean", True), (12, write(15, "text", "füller"), "text", "füller"),
        (13, write(11, "uint", AT_MS + 250), "text", "2026-11-20T06:00:00.250Z"),
        (13, write(11, "uint", AT_MS), "integer", AT_MS), (14, write(15, "text", "x"), "text", "x"),
        (15, write(15, "text", "0-1"), "text", "0-1"), (17, write(16, "bytes", b"\x00\xff"), "bytes", b"\x00\xff"),
        (18, write(16, "bytes", b"file"), "bytes", b"file"),
        # arrays: little-endian, booleans packed from the most significant bit after a count, texts ended by 0
        (23, write(16, "bytes", bytes.fromhex("2c01d4fe")), "text", "[300,-300]"),
        (30, write(16, "bytes", struct.pack("<2f", 0.5, -2)), "text", "[0.5,-2.0]"),
        (32, write(16, "bytes", bytes.fromhex("0300000020")), "text", "[false,false,true]"),
        (33, write(16, "bytes", b"ABC\0hello\0"), "text", '["ABC","hello"]'),
    ],
)  # fmt: skip
def test_every_data_type_becomes_a_value(datatype: int, stored: bytes, kind: Any, value: Any) -> None:
    (found,) = decode(payload(metric("m", datatype=datatype, stored=stored))).metrics
    assert (scalar(found.stored, found.datatype, kind), found.at_ns) == (value, AT_NS)


def test_a_data_set_is_json_text() -> None:
    rows = [
        write(1, "message", write(1, "uint", 7)) + write(1, "message", write(6, "text", "a")),
        write(1, "message", write(1, "uint", 0xFFFFFFFF)) + write(1, "message", write(6, "text", "b")),
    ]
    data_set = b"".join(
        [write(1, "uint", 2), write(2, "text", "n"), write(2, "text", "t"), write(3, "bytes", bytes([3, 12]))]
        + [write(4, "message", row) for row in rows]
    )
    (found,) = decode(payload(metric("m", datatype=16, stored=write(17, "message", data_set)))).metrics
    text = '{"columns":["n","t"],"types":["Int32","String"],"rows":[[7,"a"],[-1,"b"]]}'
    assert scalar(found.stored, 16, "text") == text
    with pytest.raises(ValueError, match="a DataSet is not a number; write `type: text`"):
        scalar(found.stored, 16, "number")


def test_a_template_is_json_text() -> None:
    inner = metric("speed", datatype=9, stored=b"\x65" + struct.pack("<f", 2.5))
    parameter = write(1, "text", "size") + write(2, "uint", 3) + write(3, "uint", 4)
    template = write(2, "message", inner) + write(3, "message", parameter) + write(4, "text", "motor")
    (found,) = decode(payload(metric("m", datatype=19, stored=write(18, "message", template)))).metrics
    text = '{"template":"motor","version":null,"metrics":{"speed":2.5},"parameters":{"size":4}}'
    assert scalar(found.stored, 19, "text") == text


def test_a_compressed_payload_is_unpacked_within_bounds() -> None:
    inner = payload(metric("m", datatype=3, stored=integer(7)), seq=4)
    found = decode(write(4, "text", "SPBV1.0_COMPRESSED") + write(5, "bytes", zlib.compress(inner)))
    assert (found.seq, found.metrics[0].stored) == (4, 7)
    bomb = write(4, "text", "SPBV1.0_COMPRESSED") + write(5, "bytes", zlib.compress(bytes(50_000_000)))
    with pytest.raises(Broken, match="too large"):
        decode(bomb)


@given(some.binary())
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    _try(data)


@given(some.data())
def test_no_damaged_payload_breaks_the_decoder(data: some.DataObject) -> None:
    whole = bytearray(payload(metric("name", 3, 16, write(17, "message", write(3, "bytes", b"\x01\x02"))), seq=1))
    for _ in range(data.draw(some.integers(1, 4))):
        whole[data.draw(some.integers(0, len(whole) - 1))] = data.draw(some.integers(0, 255))
    _try(bytes(whole[: data.draw(some.integers(0, len(whole)))]))


def _try(data: bytes) -> None:
    try:
        found = decode(data)
    except Broken:
        return
    for one in found.metrics:
        for datatype in {one.datatype, *range(35)}:
            for kind in ("number", "text", "boolean", "bytes"):
                try:
                    scalar(one.stored, datatype, kind)  # type: ignore[arg-type]  # they are types of tags
                except ValueError:
                    continue


def test_a_payload_that_claims_to_be_nested_without_end_is_refused() -> None:
    template = b""
    for _ in range(100):
        template = write(2, "message", write(18, "message", template))
    with pytest.raises(Broken, match="too deeply"):
        decode(payload(metric("m", datatype=19, stored=write(18, "message", template))))


def test_a_payload_of_very_many_unknown_fields_is_refused_too() -> None:
    with pytest.raises(Broken, match="too many fields"):
        decode(write(99, "uint", 1) * 200_000)


@pytest.mark.parametrize(
    ("datatype", "stored"),
    [(32, struct.pack("<I", 10_000_000) + b"\xff" * 1_250_000), (22, b"\x01" * 100_000), (33, b"\x00" * 100_000)],
)
def test_an_array_of_very_many_elements_is_not_written_out(datatype: int, stored: bytes) -> None:
    with pytest.raises(ValueError, match="elements is too long"):
        scalar(stored, datatype, "text")


def test_a_payload_of_very_many_fields_is_refused_before_it_costs_much() -> None:
    with pytest.raises(Broken, match="too many fields"):
        decode(b"\x12\x00" * 200_000)


# --- a host ---------------------------------------------------------------------------------------------


class Plant:
    """A node with one feed, and what was sent and pushed."""

    def __init__(self, *points: Point, device: Sparkplug = DEVICE) -> None:
        self.now_s = 1000.0
        self.sent: list[tuple[str, bytes]] = []
        self.pushed: list[Column] = []
        self.node = Node("plant", "line1", lambda *what: self.sent.append(what), lambda: AT_NS, lambda: self.now_s)
        self.feed = NodeFeed(
            self.node, device, points or (Point(metric="Good"), Point(metric="Speed")), self.pushed.append
        )
        self.device = device

    def hear(self, kind: str, *metrics: bytes, seq: int | None = None, device: str = "", at_ms: int = AT_MS) -> None:
        topic = f"spBv1.0/plant/{kind}/line1" + (f"/{device}" if device else "")
        self.node.take(topic, payload(*metrics, seq=seq, at_ms=at_ms))

    def born(self, bd_seq: int = 0) -> Plant:
        self.hear("NBIRTH", metric("bdSeq", datatype=8, stored=write(11, "uint", bd_seq)), seq=0)
        self.hear(
            "DBIRTH",
            metric("Good", 1, 7, integer(100)),
            metric("Speed", 2, 9, b"\x65" + struct.pack("<f", 1.5)),
            seq=1,
            device="press",
        )
        return self

    def latest(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for column in self.pushed:
            if column.late:
                continue
            indices = range(len(column.values)) if column.points is None else column.points
            for at, (index, value) in enumerate(zip(indices, column.values, strict=True)):
                found[index] = (value, (column.faults or {}).get(at, (None, "")))
        return found

    def rebirths(self) -> int:
        return sum(topic == "spBv1.0/plant/NCMD/line1" for topic, _ in self.sent)


def test_a_birth_brings_everything_and_data_come_by_name_or_alias_with_their_times() -> None:
    plant = Plant().born()
    assert plant.latest() == {0: (100, (None, "")), 1: (1.5, (None, ""))}
    plant.hear("DDATA", metric(alias=1, stored=integer(101), at_ms=AT_MS + 5), seq=2, device="press")
    plant.hear("DDATA", metric("Speed", stored=b"\x65" + struct.pack("<f", 2.5)), seq=3, device="press")
    assert plant.pushed[-2:] == [Column([101], AT_NS + 5_000_000, None, (0,)), Column([2.5], AT_NS, None, (1,))]
    assert plant.sent == []


def test_an_alias_that_two_metrics_have_is_nobodys() -> None:
    plant = Plant()
    plant.hear("NBIRTH", metric("bdSeq", datatype=8, stored=write(11, "uint", 0)), seq=0)
    plant.hear("DBIRTH", metric("Good", 1, 3, integer(5)), metric("Speed", 1, 3, integer(6)), seq=1, device="press")
    plant.hear("DDATA", metric(alias=1, stored=integer(99)), seq=2, device="press")
    assert [value for value, _ in plant.latest().values()] == [5, 6]
    assert plant.rebirths() == 1


def test_a_value_of_another_data_type_than_its_birth_is_uncertain() -> None:
    plant = Plant().born()
    plant.hear("DDATA", metric(alias=1, datatype=1, stored=integer(300)), seq=2, device="press")
    value, (quality, reason) = plant.latest()[0]
    assert (value, quality) == (44, UNCERTAIN)
    assert "not that of its birth" in reason
    assert plant.rebirths() == 1


def test_a_birth_that_lacks_a_metric_says_so_and_names_one_that_is_written_alike() -> None:
    plant = Plant(Point(metric="good"), Point(metric="Speed")).born()
    value, (quality, reason) = plant.latest()[0]
    assert (value, quality, reason) == (None, BAD, "the birth names no metric 'good', but 'Good'")


def test_null_is_bad_and_history_does_not_change_what_holds_now() -> None:
    plant = Plant().born()
    plant.hear("DDATA", metric(alias=1, null=True), metric(alias=2, stored=b"\x65" + struct.pack("<f", 9), historical=True,
               at_ms=AT_MS - 1000), seq=2, device="press")  # fmt: skip
    assert plant.latest()[0][1] == (BAD, "the device says: no value (null)")
    assert plant.pushed[-1] == Column([9.0], AT_NS - 1_000_000_000, None, (1,), late=True)
    assert plant.latest()[1][0] == 1.5


@pytest.mark.parametrize(("kind", "device"), [("NDEATH", ""), ("DDEATH", "press")])
def test_a_death_makes_everything_bad_at_once_until_a_birth(kind: str, device: str) -> None:
    plant = Plant().born()
    bd_seq = [metric("bdSeq", datatype=8, stored=write(11, "uint", 0))] if kind == "NDEATH" else []
    plant.hear(kind, *bd_seq, seq=2 if device else None, device=device)
    assert plant.pushed[-1].values == [None, None]
    assert {reason for _, (_, reason) in plant.latest().values()} == {
        "the edge node line1 has lost the broker (NDEATH)"
        if kind == "NDEATH"
        else "the edge node line1 has lost the device press (DDEATH)"
    }
    plant.feed.beat()
    assert plant.pushed[-1].values == [None, None], "the dead give no sign of life"
    plant.now_s += 2
    plant.born(bd_seq=1)
    assert plant.latest()[0] == (100, (None, ""))


def test_the_death_of_an_earlier_connection_is_not_believed() -> None:
    plant = Plant().born(bd_seq=5)
    plant.hear("NDEATH", metric("bdSeq", datatype=8, stored=write(11, "uint", 4)))
    assert plant.latest()[0] == (100, (None, ""))
    plant.hear("NDEATH", metric("bdSeq", datatype=8, stored=write(11, "uint", 5)))
    assert plant.latest()[0][1][0] is BAD


def test_a_death_whose_number_is_wrong_is_believed_when_nothing_is_heard_any_more() -> None:
    plant = Plant().born(bd_seq=5)
    wrong = metric("bdSeq", datatype=8, stored=write(11, "uint", 7))
    plant.hear("NDEATH", wrong)
    assert plant.rebirths() == 1, "who lives can say so"
    plant.hear("DDATA", metric(alias=1, stored=integer(101)), seq=2, device="press")
    plant.now_s += 20
    plant.feed.beat()
    assert plant.latest()[0] == (101, (None, "")), "it has spoken"
    plant.hear("NDEATH", wrong)
    plant.now_s += 20
    plant.feed.beat()
    assert plant.latest()[0][1][0] is BAD
    assert "it has said nothing since" in plant.latest()[0][1][1]
    plant.born(bd_seq=5)
    assert plant.latest()[0] == (100, (None, ""))


def test_a_birth_that_its_own_death_has_overtaken_is_asked_for_once_more() -> None:
    plant = Plant().born()
    plant.hear("NDEATH", metric("bdSeq", datatype=8, stored=write(11, "uint", 0)))
    plant.born()
    assert plant.latest()[0][1][0] is BAD
    assert plant.rebirths() == 1
    plant.born()
    assert plant.latest()[0] == (100, (None, ""))


def test_a_gap_makes_what_is_known_uncertain_until_the_birth_that_is_asked_for() -> None:
    plant = Plant().born()
    plant.hear("DDATA", metric(alias=1, stored=integer(105)), seq=4, device="press")
    assert plant.latest()[0] == (105, (None, ""))
    assert plant.latest()[1][0] == 1.5
    assert plant.latest()[1][1][0] is UNCERTAIN
    assert plant.rebirths() == 1
    plant.born()
    assert plant.latest()[1] == (1.5, (None, ""))


def test_the_numbers_run_over_all_messages_of_a_node_and_begin_again_after_255() -> None:
    plant = Plant().born()
    for seq in [*range(2, 256), 0, 1]:
        plant.hear("NDATA" if seq % 2 else "DDATA", seq=seq, device="" if seq % 2 else "other")
    assert plant.rebirths() == 0


def test_births_are_asked_for_at_growing_intervals() -> None:
    plant = Plant()
    plant.feed.begin()
    asked = []
    for _ in range(2000):
        before = plant.rebirths()
        plant.hear("DDATA", metric(alias=1, stored=integer(1)), seq=3, device="press")
        plant.feed.beat()
        if plant.rebirths() > before:
            asked.append(plant.now_s)
        plant.now_s += 1
    assert plant.pushed == []
    assert [b - a for a, b in pairwise(asked)][:5] == [4, 8, 16, 32, 64]
    assert plant.rebirths() < 16


def test_a_living_node_holds_what_it_said_last() -> None:
    plant = Plant().born()
    plant.feed.beat()
    assert plant.pushed[-1] == Column((), holds=True)


def test_a_node_that_is_born_once_more_keeps_its_devices_for_a_while() -> None:
    plant = Plant().born()
    before = len(plant.pushed)
    plant.hear("NBIRTH", metric("bdSeq", datatype=8, stored=write(11, "uint", 0)), seq=0)
    plant.hear("DDATA", metric(alias=1, stored=integer(7)), seq=1, device="press")
    assert len(plant.pushed) == before, "aliases may have changed: nothing of the device counts before its birth"
    plant.now_s += 6
    plant.feed.beat()
    assert plant.latest()[0] == (None, (BAD, "the edge node is born again, but the device is not"))


def test_another_birth_without_a_death_ends_what_was_known_of_the_devices() -> None:
    plant = Plant().born(bd_seq=1)
    plant.hear("NBIRTH", metric("bdSeq", datatype=8, stored=write(11, "uint", 2)), seq=0)
    assert plant.latest()[0] == (None, (BAD, "the edge node is born again, the device is not yet"))


def test_what_cannot_be_read_makes_what_is_known_uncertain() -> None:
    plant = Plant().born()
    plant.node.take("spBv1.0/plant/DDATA/line1/press", b"\xff\xff\xff")
    value, (quality, reason) = plant.latest()[0]
    assert (value, quality) == (100, UNCERTAIN)
    assert "a DDATA of the edge node cannot be read" in reason
    assert plant.rebirths() == 1


def test_a_write_has_the_data_type_of_the_birth() -> None:
    plant = Plant().born()
    topic, data = command_for(plant.node, DEVICE, Point(metric="Good"), 7, AT_NS)
    (found,) = decode(data).metrics
    assert (topic, found.name, found.datatype, found.stored) == ("spBv1.0/plant/DCMD/line1/press", "Good", 7, 7)
    for value, message in ((-1, "is no UInt32"), (2**32, "is no UInt32"), (1.5, "is no UInt32"), ("7", "not a number")):
        with pytest.raises(Rejected, match=message):
            command_for(plant.node, DEVICE, Point(metric="Good"), value, AT_NS)
    with pytest.raises(Rejected, match="names no such metric"):
        command_for(plant.node, DEVICE, Point(metric="Bad"), 1, AT_NS)
    node = Sparkplug(group="plant", node="line1")
    with pytest.raises(Rejected, match="names no such metric"):
        command_for(plant.node, node, Point(metric="Good"), 1, AT_NS)
    with pytest.raises(Rejected, match="no birth has been heard"):
        command_for(Plant().node, DEVICE, Point(metric="Good"), 1, AT_NS)


# --- what cannot be placed, and what the device says of its values ---------------------------------------


def properties(**named: bytes) -> bytes:
    """A metric's property set: names, and values with their type."""
    return write(9, "message", b"".join([*(write(1, "text", name) for name in named),
                                         *(write(2, "message", value) for value in named.values())]))  # fmt: skip


def code(value: int, field: int = 3) -> bytes:
    return write(1, "uint", 3 if field == 3 else 4) + write(field, "uint", value)


def test_a_birth_without_a_number_is_number_0() -> None:
    plant = Plant(Point(metric="Good"), device=Sparkplug(group="plant", node="line1"))
    plant.hear("NBIRTH", metric("Good", 5, 7, integer(1)))
    for seq in (1, 2):
        plant.hear("NDATA", metric(alias=5, stored=integer(seq)), seq=seq)
        assert plant.latest() == {0: (seq, (None, ""))}
    assert plant.rebirths() == 0


def test_an_empty_name_beside_an_alias_is_none() -> None:
    plant = Plant().born()
    plant.hear("DDATA", metric("", 1, stored=integer(101)), seq=2, device="press")
    assert plant.latest()[0] == (101, (None, ""))
    assert plant.rebirths() == 0


def test_a_value_under_an_alias_that_no_birth_has_named_makes_the_others_uncertain_until_a_birth() -> None:
    plant = Plant().born()
    plant.hear("DDATA", metric(alias=77, stored=integer(5)), metric(alias=2, stored=b"\x65" + struct.pack("<f", 3)),
               seq=2, device="press")  # fmt: skip
    value, (quality, reason) = plant.latest()[0]
    assert (value, quality) == (100, UNCERTAIN)
    assert "an alias that no birth has named" in reason
    assert plant.latest()[1] == (3.0, (None, "")), "what came just now is known"
    assert plant.rebirths() == 1
    assert plant.born().latest() == {0: (100, (None, "")), 1: (1.5, (None, ""))}


@pytest.mark.parametrize(
    ("quality", "value", "grade"),
    [(code(192), 7, None), (code(0), None, BAD), (code(500), 7, UNCERTAIN), (code(64), 7, UNCERTAIN), (code(216), 7, None),
     (code(0, field=4), None, BAD), (code(516), None, BAD), (code(24), None, BAD), (code(0xFFFFFFFF), None, BAD)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["Quality", "quality"])
def test_the_quality_of_a_metric_is_that_of_its_tag(quality: bytes, value: Any, grade: Any, name: str) -> None:
    plant = Plant().born()
    plant.hear("DDATA", metric(alias=1, stored=integer(7) + properties(**{name: quality})), seq=2, device="press")
    found, (said, reason) = plant.latest()[0]
    assert (found, said) == (value, grade)
    assert grade is None or "the device says:" in reason
    plant.hear("DDATA", metric(alias=1, stored=integer(8)), seq=3, device="press")
    assert plant.latest()[0] == (8, (None, ""))


def test_quality_in_a_birth_counts_too() -> None:
    plant = Plant(Point(metric="Good"))
    plant.hear("NBIRTH", seq=0)
    plant.hear("DBIRTH", metric("Good", 1, 7, integer(1) + properties(Quality=code(0))), seq=1, device="press")
    assert plant.latest()[0] == (None, (BAD, "the device says: Quality 0"))


def test_members_of_a_template_are_tags_also_where_only_some_of_them_come() -> None:
    def motor(*members: bytes) -> bytes:
        parameter = write(3, "message", write(1, "text", "Kind") + write(2, "uint", 12) + write(8, "text", "pump"))
        return write(
            18, "message", write(4, "text", "Motor") + b"".join(write(2, "message", m) for m in members) + parameter
        )

    inner = metric("Bearing", datatype=19, stored=motor(metric("Temp", datatype=3, stored=integer(60))))
    plant = Plant(
        Point(metric="M1", path="metrics.Speed"), Point(metric="M1", path="metrics.Bearing.metrics.Temp"),
        Point(metric="M1", path="parameters.Kind", type="text"), Point(metric="M1", path="metrics.Missing"),
    )  # fmt: skip
    plant.hear("NBIRTH", seq=0)
    plant.hear(
        "DBIRTH",
        metric("M1", 1, 19, motor(metric("Speed", datatype=3, stored=integer(5)), inner)),
        seq=1,
        device="press",
    )
    assert [plant.latest()[i][0] for i in range(4)] == [5, 60, "pump", None]
    assert plant.latest()[3][1] == (BAD, "the payload has no `metrics.Missing`")
    plant.hear(
        "DDATA", metric(alias=1, stored=motor(metric("Speed", datatype=3, stored=integer(6)))), seq=2, device="press"
    )
    assert [plant.latest()[i][0] for i in range(3)] == [6, 60, "pump"]


def test_elements_of_arrays_and_data_sets_and_json_in_a_text_are_tags() -> None:
    row = write(4, "message", write(1, "message", write(1, "uint", 7)) + write(1, "message", write(6, "text", "a")))
    table = write(17, "message", write(1, "uint", 2) + write(2, "text", "n") + write(2, "text", "t") + write(3, "uint", 7)
                  + write(3, "uint", 12) + row)  # fmt: skip
    plant = Plant(
        Point(metric="A", path="[1]", type="integer"), Point(metric="D", path="rows[0][1]", type="text"),
        Point(metric="J", path="a.b"), Point(metric="A", type="number"),
    )  # fmt: skip
    plant.hear("NBIRTH", seq=0)
    plant.hear(
        "DBIRTH", metric("A", datatype=23, stored=write(16, "bytes", bytes.fromhex("2c01d4fe"))),
        metric("D", datatype=16, stored=table), metric("J", datatype=12, stored=write(15, "text", '{"a":{"b":2.5}}')),
        seq=1, device="press",
    )  # fmt: skip
    assert [plant.latest()[i][0] for i in range(4)] == [-300, "a", 2.5, None]
    assert "or the `path` of a part" in plant.latest()[3][1][1]
    assert not DRIVER.writable(Point(metric="A", path="[1]"))
    assert DRIVER.writable(Point(metric="A"))
