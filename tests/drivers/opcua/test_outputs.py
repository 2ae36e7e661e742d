"""What methods give, as tags: called when it is written, on each connection, or every so often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from edgeflow.model import BAD
from edgeflow.testing.relay import until
from edgeflow_opcua.settings import writable
from tests.drivers.opcua.pushed import PRESS, Pushed, opened, point, read, watching
from tests.drivers.opcua.test_writing import write

OBJECT = {"object": f"{PRESS}Press"}
WEIGH = {**OBJECT, "method": f"{PRESS}Press.Weigh"}
ADD = {**OBJECT, "method": f"{PRESS}Press.Add"}


async def test_one_call_on_each_connection_tells_all_outputs(press: Any) -> None:
    press.tell("took")
    own = {**WEIGH, "call": "connect", "arguments": [1.5]}
    points = [
        point(**own, output="weight"), point(**own, output="parts", type="text"),
        point(**own, output=1, index=0), point(**own, output="unit", type="text"),
        point(**own, output="at", epoch="ms", type="integer"),
    ]  # fmt: skip
    pushed = Pushed()
    for _ in range(2):
        async with opened(press) as session, watching(session, points, pushed):
            await until(lambda: 4 in pushed.values, "it was called")
            await asyncio.sleep(0.3)
            assert (await read(session, points)).values == list(pushed.values.values())
    assert list(pushed.values.values()) == [2.0, "[1.5,2.5]", 1.5, "kg", 1_795_156_200_000]
    assert press.tell("took")[0] == [["Weigh", 1.5]] * 2


async def test_it_is_called_as_often_as_the_most_urgent_tag_says(press: Any) -> None:
    press.tell("took")
    own = {**WEIGH, "arguments": [0.5], "output": "weight"}
    points = [point(**own, call="1 min"), point(**own, call="50 ms")]
    pushed = Pushed()
    async with opened(press) as session, watching(session, points, pushed):
        await until(lambda: len(set(pushed.of(0))) >= 4, "it is called again and again")
    assert pushed.of(0) == pushed.of(1) == sorted(set(pushed.of(0)))
    assert not any(pushed.faults.values())


async def test_what_is_written_gives_what_the_tags_beside_it_show(press: Any) -> None:
    call, total = point(**ADD, type="text"), point(**ADD, output=0)
    pushed = Pushed()
    async with opened(press) as session, watching(session, [call, total], pushed):
        await until(lambda: 1 in pushed.values, "something is said from the beginning")
        assert pushed.faults[1] == (BAD, "the method has not been called yet")
        for arguments, result in (("[1.5, 2]", 3.5), ("[2.5, 2]", 4.5)):
            await write(session, (call, arguments))
            await until(lambda result=result: pushed.values[1] == result, "the sum is shown")
        assert (await read(session, [total])).values == [4.5]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({**WEIGH, "output": "wait", "arguments": [1.5]},
         "the method gives 4 outputs, and none is 'wait' (they count from 0); they are weight, parts, unit, at"),
        ({**WEIGH, "output": 4, "arguments": [1.5]}, "the method gives 4 outputs, and none is 4 (they count from 0)"),
        ({**WEIGH, "output": "parts", "arguments": [1.5]}, "the server gives an array of 2, not one number"),
        ({**WEIGH, "output": 0}, "it takes 1 arguments (tare), not 0"),
        ({**WEIGH, "output": 0, "arguments": ["x"]}, "argument tare: 'x' cannot be written"),
        ({**OBJECT, "method": f"{PRESS}Press.Fail", "output": 0, "arguments": [1]}, "the server answered BadOutOfRange"),
        ({**WEIGH, "output": 0, "epoch": "s", "arguments": [1.5]}, "which is no time; leave `epoch` out"),
    ],
)  # fmt: skip
async def test_an_output_that_does_not_come_is_bad_with_the_reason(press: Any, more: Any, reason: str) -> None:
    one, good = point(**more, call="connect"), point("Double")
    pushed = Pushed()
    async with opened(press) as session, watching(session, [one, good], pushed):
        await until(lambda: pushed.values.keys() == {0, 1}, "both are told")
    quality, told = pushed.faults[0]
    assert (quality, reason in told, pushed.faults[1]) == (BAD, True, None), told


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({**ADD, "call": "connect"}, "`call` of a method needs an `output`"),
        ({**ADD, "index": 1}, "`index` of a method needs an `output`"),
        ({**ADD, "output": 0, "arguments": [1, 2]}, "`arguments` need `call: connect` or `call: 5 s`"),
        ({"node": "i=2258", "output": 0}, "`output` belongs to method"),
        ({**ADD, "output": 0, "call": "often"}, "or how often it is called, for example `5 s`, not 'often'"),
        ({"node": "i=2258", "epoch": "ns"}, "`epoch: ns` needs `type: integer`"),
        ({"node": "i=2258", "epoch": "s", "type": "text"}, "`epoch: s` needs `type: integer` or number"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_says_what_to_write(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        point(**more)


def test_an_output_is_not_written() -> None:
    assert writable(point(**ADD))
    assert not writable(point(**ADD, output=0))


@pytest.mark.parametrize(("unit", "kind", "value"), [
    ("s", "number", 1_795_156_200.0), ("s", "integer", 1_795_156_200), ("ms", "number", 1_795_156_200_000.0),
    ("us", "integer", 1_795_156_200_000_000), ("ns", "integer", 1_795_156_200_000_000_000),
])  # fmt: skip
async def test_a_time_is_a_number_of_the_unit_that_is_asked_for(press: Any, unit: str, kind: str, value: Any) -> None:
    one, text = point("DateTime", type=kind, epoch=unit), point("DateTime", type="text")
    async with opened(press) as session:
        assert (await read(session, [one])).values == [value]
        await write(session, (one, value + 1))
        assert (await read(session, [one])).values == [value + 1 - (1 if unit == "ns" else 0)]
        await write(session, (text, "2026-11-20T06:30:00+00:00"))
