"""Writes lists of tags (CSV) in EMQX Neuron's and Kepware's columns, or plain."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgeflow.devices import address
from edgeflow.devices.address import NotTaken
from edgeflow.devices.plan import DevicePlan, TagPlan
from edgeflow.devices.taglist import Form, cell_value, duration, short
from edgeflow.errors import Rejected
from edgeflow.units import NS_PER_S

NEURON = ("group", "interval", "name", "address", "attribute", "type", "description", "decimal", "precision", "bias")
"""Columns of the batch import of Neuron: its handbook, chapter Batch Data Tag Configuration."""
KEPWARE = (
    "Tag Name", "Address", "Data Type", "Respect Data Type", "Client Access", "Scan Rate", "Scaling", "Raw Low",
    "Raw High", "Scaled Low", "Scaled High", "Scaled Data Type", "Clamp Low", "Clamp High", "Eng Units", "Description",
    "Negate Value",
)  # fmt: skip
"""Columns of the CSV export of KEPServerEX: its handbook, chapter Tag Management, CSV Import and Export."""


def write_list(devices: Iterable[DevicePlan], form: Form) -> tuple[str, list[str]]:
    """The tags of some devices as a list, and what could not be said in it, one line each.

    Raises Rejected where a form has no columns for several devices.
    """
    devices = list(devices)
    if form == "kepware" and len(devices) != 1:
        raise Rejected("Kepware has one list per device: name one of them")
    left: list[str] = []
    rows: list[Mapping[str, Any]] = []
    for device in devices:
        left += _of_device(device, form)
        for tag in device.tags:
            try:
                rows.append(
                    {"neuron": _neuron_row, "kepware": _kepware_row, "plain": _plain_row}[form](device, tag, left)
                )
            except NotTaken as error:
                left.append(f"{tag.tag.name}: {error}")
    columns = {"neuron": NEURON, "kepware": KEPWARE}.get(form) or tuple(
        dict.fromkeys(key for row in rows for key in row)
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue(), left


_SAID: Mapping[Form, frozenset[str]] = {
    "neuron": frozenset(("unit", "first_address", "word_order", "byte_order")),
    "kepware": frozenset(("first_address",)),
    "plain": frozenset(),
}
"""Keys of a device that the addresses of a form say."""
_WHERE: Mapping[Form, str] = {
    "neuron": "set it at the node in Neuron",
    "kepware": "set it at the device in Kepware",
    "plain": "give it again with --device",
}


def _of_device(device: DevicePlan, form: Form) -> Iterator[str]:
    """What a list does not say of the device itself, with where it has to be said instead."""
    keys = {key: value for key, value in address.keys_of(device.config).items() if key not in _SAID[form]}
    if form == "kepware" and any(address.is_long(address.keys_of(tag.point)) for tag in device.tags):
        keys["word_order"] = device.config.model_dump().get("word_order", "big")  # Kepware's own default is the other
    if form == "plain" and device.every_ns != NS_PER_S:
        keys["every"] = duration(device.every_ns)
    if device.timeout_ns != NS_PER_S:
        keys["timeout"] = duration(device.timeout_ns)
    if device.about and form == "plain":
        keys["about"] = device.about
    if keys:
        said = ", ".join(f"`{key}: {_cell(value)}`" for key, value in keys.items())
        yield f"{device.name}: the list does not say {said}; {_WHERE[form]}"
    parts = (("on_connect", bool(device.on_connect)), ("watchdog", device.watchdog_ns is not None))
    if lost := [f"`{key}`" for key, there in parts if there]:
        yield f"{device.name}: the list does not say {', '.join(lost)}, which no column and no --device can"


def _neuron_row(device: DevicePlan, tag: TagPlan, left: list[str]) -> dict[str, Any]:
    where, kind, untold = address.to_neuron(device, tag)
    _told(tag, (*untold, *_without(tag, "range", "unit")), left)
    attributes = [word for word, has in (("Read", tag.read), ("Write", tag.tag.writable)) if has]
    return {
        "group": device.name,
        "interval": (tag.every_ns or device.every_ns) * 1000 // NS_PER_S,
        "name": _own_name(tag),
        "address": where,
        "attribute": " ".join(attributes),
        "type": kind,
        "description": tag.tag.about,
        "decimal": short(tag.scale) if tag.scale != 1 else "",
        "bias": short(tag.offset) if tag.offset else "",
    }


def _kepware_row(device: DevicePlan, tag: TagPlan, left: list[str]) -> dict[str, Any]:
    where, kind, untold = address.to_kepware(device, tag)
    _told(tag, (*untold, *_own_orders(device, tag), *_without(tag, "range")), left)
    row = {
        "Tag Name": _own_name(tag),
        "Address": where,
        "Data Type": kind,
        "Respect Data Type": 1,
        "Client Access": "WO" if not tag.read else "R/W" if tag.tag.writable else "RO",
        "Scan Rate": (tag.every_ns or device.every_ns) * 1000 // NS_PER_S,
        "Eng Units": tag.tag.unit or "",
        "Description": tag.tag.about,
    }
    if tag.scale != 1 or tag.offset:
        scaled = {"Raw Low": 0, "Raw High": 1000, "Scaled Low": short(tag.offset)}
        top = short(1000 * tag.scale + tag.offset)
        row |= {"Scaling": "Linear", **scaled, "Scaled High": top, "Scaled Data Type": "Double"}
        row |= {"Clamp Low": 0, "Clamp High": 0, "Negate Value": 0}
    return row


def _own_orders(device: DevicePlan, tag: TagPlan) -> list[str]:
    """The orders that a point has and its device has not; Kepware knows only those of the device."""
    keys = address.keys_of(tag.point)
    matters = {"word_order": address.is_long(keys), "byte_order": keys.get("type") != "string"}
    return [
        key for key, does in matters.items() if does and keys.get(key) not in (None, getattr(device.config, key, None))
    ]


def _plain_row(device: DevicePlan, tag: TagPlan, _left: list[str]) -> dict[str, Any]:
    counter = tag.counter and {"modulus": tag.counter.modulus, "max_rate": _rate(tag.counter.max_rate)}
    options: dict[str, Any] = {
        "scale": tag.scale if tag.scale != 1 else None,
        "offset": tag.offset or None,
        "range": None if tag.low is None else [tag.low, tag.high],
        "map": tag.map,
        "counter": counter and {key: value for key, value in counter.items() if value is not None},
        "writable": True if tag.tag.writable else None,
        "read": None if tag.read else False,
        "every": duration(tag.every_ns) if tag.every_ns else None,
        "silence": None if tag.silence_ns is None else duration(tag.silence_ns),
    }
    keys = address.keys_of(tag.point) | {key: value for key, value in options.items() if value is not None}
    row = {"name": _own_name(tag), "device": device.name} | {key: _cell(value) for key, value in keys.items()}
    return row | {key: text for key, text in (("unit", tag.tag.unit), ("about", tag.tag.about)) if text}


def _rate(per_s: float | None) -> str | None:
    return None if per_s is None else f"{per_s:.17g} /s"


def _cell(value: Any) -> str:
    """A value so that a plain list gives it back: text as it is where it cannot be taken for something else."""
    if isinstance(value, str) and value and value == value.strip() and cell_value(value) == value:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def _own_name(tag: TagPlan) -> str:
    return tag.tag.name.partition("/")[2]


def _without(tag: TagPlan, *possible: str) -> list[str]:
    """What the tag has that a list of this form has no column for."""
    has = {
        "range": tag.low is not None,
        "unit": tag.tag.unit is not None,
        "map": tag.map is not None,
        "counter": tag.counter is not None,
        "silence": tag.silence_ns is not None,
    }
    return [key for key, there in has.items() if there and key in (*possible, "map", "counter", "silence")]


def _told(tag: TagPlan, untold: Iterable[str], left: list[str]) -> None:
    if keys := sorted(set(untold)):
        left.append(f"{tag.tag.name}: without {', '.join(f'`{key}`' for key in keys)}, for which there is no column")
