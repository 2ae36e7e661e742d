"""Every installed kind of node keeps the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from edgeflow.node import installed
from edgeflow.testing.nodes import CHECKS, Subject, run

STATES = {"state": (6, 6, 2, 9, 6, 11)}

SUBJECTS: Mapping[str, Mapping[str, Any]] = {
    "andon_call": {
        "settings": {"machine": "m", "output": "lamp", "escalate": [{"after": "1 min", "to": "line lead"}]},
    },
    "average": {"settings": {"over": "1 min"}},
    "compare": {"settings": {"is": ">"}},
    "constant": {
        "settings": {"value": 1},
        "exempt": {"nothing_is_sent_before_an_input_came": "it has no inputs; its value is all it has to say"},
    },
    "convert": {"settings": {"from": "Wh", "to": "kWh"}},
    "count": {"settings": {"modulus": 100}},
    "debounce": {"settings": {"on_delay": "1 s"}},
    "demand": {"settings": {"meter": "m"}, "values": STATES},
    "device": {"settings": {"device": "machine"}},
    "http_request": {"settings": {"url": "http://127.0.0.1/"}},
    "lamp": {
        "settings": {"output": "lamp"},
        "values": {**STATES, "call": ({"key": "c", "status": "provisional", "data": {"state": "raised"}},)},
    },
    "merge": {},
    "minmax": {},
    "mqtt_publish": {"settings": {"topic": "a/b"}},
    "oee": {"settings": {"machine": "m", "ideal_cycle": "1 s"}, "values": {**STATES, "reason": (0, 0, 7, 8)}},
    "record": {"settings": {"stream": "s"}},
    "scale": {"settings": {"factor": 2}},
    "switch": {"settings": {"cases": {"low": {"below": 5}}}},
    "tag": {"settings": {"tag": "machine/value"}},
    "threshold": {"settings": {"limit": 5}},
    "write": {"settings": {"output": "value"}},
}

KINDS = sorted(installed())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_kind_keeps_the_contract(check: Callable[[Subject], None], kind: str) -> None:
    assert kind in SUBJECTS, f"write down the settings with which {kind} is tried"
    run(check, Subject(installed()[kind], **SUBJECTS[kind]))
