"""Writes lists of tags (CSV) in EMQX Neuron's and Kepware's columns, or plain."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from edgeflow.devices import address
from edgeflow.devices.address import NotTaken
from edgeflow.devices.plan import DevicePlan, TagPlan
from edgeflow.devices.taglist import Form, short
from edgeflow.errors import Rejected
from edgeflow.units import NS_PER_S, duration_text

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
        if form == "plain" and (keys := address.keys_of(device.config)):
            said = ", ".join(f"`{key}: {value}`" for key, value in keys.items())
            left.append(f"{device.name}: the list does not say {said}; give it again with --device")
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
    _told(tag, (*untold, *_without(tag, "range")), left)
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


def _plain_row(device: DevicePlan, tag: TagPlan, left: list[str]) -> dict[str, Any]:
    point = address.keys_of(tag.point)
    row: dict[str, Any] = {"name": _own_name(tag), "device": device.name, **point}
    _told(tag, _without(tag, "range"), left)
    options: dict[str, Any] = {
        "unit": tag.tag.unit,
        "scale": short(tag.scale) if tag.scale != 1 else None,
        "offset": short(tag.offset) if tag.offset else None,
        "writable": "true" if tag.tag.writable else None,
        "every": duration_text(tag.every_ns) if tag.every_ns else None,
        "about": tag.tag.about or None,
    }
    return row | {key: value for key, value in options.items() if value is not None}


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
