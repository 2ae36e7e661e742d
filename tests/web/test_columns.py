"""Tags as columns: the newest sample of every tag, exact on the wire, rendered only where it changed."""

from __future__ import annotations

import orjson

from edgeflow.model import BAD, UNCERTAIN, Block, Record, Scalar, Tag
from edgeflow.web.columns import CHUNK, TagColumns
from edgeflow.web.latest import Latest

AT = 1_763_618_400_250_000_000  # 2025-11-20T06:00:00.250Z


async def columns_of(columns: TagColumns) -> dict[str, list[object]]:
    await columns.render()
    table: dict[str, list[object]] = orjson.loads(await columns.joined(columns.chunks))
    return table


async def test_a_tag_that_was_never_read_is_bad_and_says_so() -> None:
    table = await columns_of(TagColumns([Tag("a/x", "number", "kW", writable=True, about="Power")]))
    assert table == {
        "names": ["a/x"],
        "types": ["number"],
        "units": ["kW"],
        "writable": [True],
        "about": ["Power"],
        "values": [None],
        "qualities": ["bad"],
        "times": [None],
        "reasons": ["not read yet"],
    }


async def test_values_qualities_times_and_reasons_travel() -> None:
    columns = TagColumns([Tag("a/x"), Tag("a/y"), Tag("b/z", "text")])
    columns.take(Block("a", ("a/y", "a/x"), [2.5, None], AT, AT, {1: (BAD, "no answer")}))
    columns.take(Block("b", ("b/z",), ["on"], AT, AT, {0: (UNCERTAIN, "late")}))
    table = await columns_of(columns)
    assert table["names"] == ["a/x", "a/y", "b/z"]
    assert table["values"] == [None, 2.5, "on"]
    assert table["qualities"] == ["bad", "good", "uncertain"]
    assert table["reasons"] == ["no answer", "", "late"]
    assert table["times"] == ["2025-11-20T06:00:00.250Z"] * 3
    assert columns.value("a/y")[0] == 2.5


async def test_the_newest_block_wins_whatever_part_of_a_device_it_covers() -> None:
    columns = TagColumns([Tag("a/x"), Tag("a/y")])
    both, one = ("a/x", "a/y"), ("a/y",)
    columns.take(Block("a", both, [1, 1], AT, AT))
    columns.take(Block("a", one, [2], AT, AT))
    assert columns.value("a/y")[0] == 2
    columns.take(Block("a", one, [3], AT, AT))
    columns.take(Block("a", both, [4, 4], AT, AT))
    assert (await columns_of(columns))["values"] == [4, 4]


async def test_large_integers_and_bytes_stay_exact_and_broken_text_harms_nothing() -> None:
    names = ("a/a", "a/b", "a/c", "a/d", "a/e", "a/f")
    columns = TagColumns(Tag(name) for name in names)
    values: list[Scalar] = [2**53 - 1, 2**53 + 1, -(2**70), b"\x00\xff", float("nan"), "\ud800x"]
    columns.take(Block("a", names, values, AT, AT))
    table = await columns_of(columns)
    assert table["values"] == [9007199254740991, "9007199254740993", "-1180591620717411303424", "00ff", None, "?x"]


async def test_only_chunks_that_changed_are_rendered_again() -> None:
    names = [tuple(f"d{d}/t{i}" for i in range(CHUNK + 50)) for d in range(2)]
    columns = TagColumns(Tag(name) for device in names for name in device)
    assert [len(chunk.names) for chunk in await columns.render()] == [CHUNK, 50, CHUNK, 50]
    assert await columns.render() == []
    assert [chunk.key for chunk in columns.chunks] == ["d0/0", "d0/100", "d1/0", "d1/100"]
    columns.take(Block("d1", (names[1][0],), [7], AT, AT))
    (changed,) = await columns.render()
    assert (changed.device, changed.names[0]) == ("d1", "d1/t0")


async def test_a_block_with_a_tag_nobody_declared_is_taken_without_it() -> None:
    columns = TagColumns([Tag("a/x")])
    columns.take(Block("a", ("a/unknown", "a/x"), [1, 2], AT, AT))
    assert (await columns_of(columns))["values"] == [2]


async def test_many_short_lived_blocks_do_not_pile_up() -> None:
    columns = TagColumns([Tag("a/x")])
    for i in range(3000):
        columns.take(Block("a", tuple(["a/x"]), [i], AT, AT))  # noqa: C409 - a tuple of its own every time
    assert len(columns._fresh) <= 201
    assert columns.value("a/x")[0] == 2999


def record(key: str, version: int, stream: str = "stop") -> Record:
    return Record(stream, key, version, AT, {})


def test_the_newest_version_is_kept_and_a_stream_never_crowds_out_another() -> None:
    latest = Latest(most=3)
    latest.take(record("shift", 5, "oee"))
    latest.take(record("shift", 4, "oee"))
    for i in range(10):
        latest.take(record(f"stop{i}", 1))
    assert [(one.stream, one.key, one.version) for one in latest] == [
        ("oee", "shift", 5),
        ("stop", "stop7", 1),
        ("stop", "stop8", 1),
        ("stop", "stop9", 1),
    ]
