"""Writes lists of tags (CSV) in EMQX Neuron's and Kepware's columns, or plain."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgeflow.devices.address import is_long, keys_of
from edgeflow.devices.dialect import Dialect, Form, NotTaken, duration
from edgeflow.devices.plainlist import written_cell
from edgeflow.devices.plan import DevicePlan
from edgeflow.devices.taglist import DIALECTS
from edgeflow.errors import Rejected
from edgeflow.units import NS_PER_S


def write_list(devices: Iterable[DevicePlan], form: Form) -> tuple[str, list[str]]:
    """The tags of some devices as a list, and what could not be said in it, one line each.

    Raises Rejected where a form has no columns for several devices.
    """
    devices, dialect = list(devices), DIALECTS[form]
    if form == "kepware" and len(devices) != 1:
        raise Rejected("Kepware has one list per device: name one of them")
    left: list[str] = []
    rows: list[Mapping[str, Any]] = []
    for device in devices:
        left += _unsaid_of_device(device, dialect)
        for tag in device.tags:
            try:
                written = dialect.write(device, tag)
            except NotTaken as error:
                left.append(f"{tag.tag.name}: {error}")
                continue
            rows.append(written.row)
            if unsaid := sorted(set(written.unsaid)):
                keys = ", ".join(f"`{key}`" for key in unsaid)
                left.append(f"{tag.tag.name}: without {keys}, for which there is no column")
    columns = dialect.columns or tuple(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue(), left


def _unsaid_of_device(device: DevicePlan, dialect: Dialect) -> Iterator[str]:
    """What a list does not say of the device itself, with where it has to be said instead."""
    keys = {key: value for key, value in keys_of(device.config).items() if key not in dialect.says}
    if dialect.form == "kepware" and any(is_long(keys_of(tag.point)) for tag in device.tags):
        keys["word_order"] = device.config.model_dump().get("word_order", "big")  # Kepware's own default is the other
    if dialect.form == "plain" and device.every_ns != NS_PER_S:
        keys["every"] = duration(device.every_ns)
    if device.timeout_ns != NS_PER_S:
        keys["timeout"] = duration(device.timeout_ns)
    if device.about and dialect.form == "plain":
        keys["about"] = device.about
    if keys:
        said = ", ".join(f"`{key}: {written_cell(value)}`" for key, value in keys.items())
        yield f"{device.name}: the list does not say {said}; {dialect.elsewhere}"
    parts = (("on_connect", bool(device.on_connect)), ("watchdog", device.watchdog_ns is not None))
    if lost := [f"`{key}`" for key, there in parts if there]:
        yield f"{device.name}: the list does not say {', '.join(lost)}, which no column and no --device can"
