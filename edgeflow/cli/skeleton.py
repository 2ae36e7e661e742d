"""`edgeflow template new`: a template to fill in, with a comment at everything, or from a list of tags."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeflow.cli.extra import driver_of, pairs, wrong
from edgeflow.devices.paste import one_line, tags_block
from edgeflow.devices.taglist import read_list
from edgeflow.devices.template import FOLDER
from edgeflow.errors import EdgeFlowError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)+")
_EXAMPLES: dict[str, dict[str, dict[str, Any]]] = {
    "modbus": {
        "state": {"register": 0, "about": "State of the machine"},
        "good": {"register": 4, "type": "uint32", "unit": "pcs", "about": "Good parts"},
        "power": {"input": 52, "type": "float32", "unit": "kW", "scale": 0.001, "range": [0, 100]},
    },
    "opcua": {
        "state": {"node": "nsu=urn:maker:machine;s=Machine.State", "type": "integer"},
        "speed": {"node": "nsu=urn:maker:machine;s=Machine.Speed", "type": "number", "unit": "1/min"},
    },
    "mqtt": {"temperature": {"topic": "state", "path": "temperature", "time": "ts", "unit": "°C"}},
}
_HEAD = """\
# A kind of device. Fill in what is after the colons, take away what you do not need, and try it:
#   edgeflow device check --template {name}   (and where the device is, for example --host 10.0.0.6 --unit 7)
# Then a device of it is one line in a configuration:
#   meter1: {{link: bus1, template: {name}}}
template: {name}
title: {title}
fits: [{model}]                # the maker's models that it is for
driver: {driver}
source: {source}               # where these addresses are known from: the maker's document and its edition

# What has to be set at the device before it answers; leave it out where nothing has to be.
first:
  - Set the unit number and the baud rate in the menu of the device.

# What differs from one such device to the next: it stands as {{ratio}} below and is given by `with`. Leave it out
# where nothing differs.
# parameters:
#   ratio: {{type: number, default: 1, description: Ratio of the current transformers}}

# Keys of the device, as in a configuration (`edgeflow driver show {driver}` lists them).
device:
"""
_TAIL = """
# By what the device is told from others: a point, and the raw value that it must hold (`expect`) or lies between.
# probe:
#   - {{{point}, expect: 1234, means: The model number}}

# What physics asks of its values; `edgeflow template show eastron/sdm630` has examples of every kind.
# checks:
#   - {{check: frequency, tags: [frequency]}}

# notes:
#   - What else is good to know.
"""


def new_template(name: str, driver: str, given: Path | None, settings: Sequence[str], folder: Path) -> None:
    """Writes the file below the folder's `templates` and says what to do with it."""
    if not _NAME.fullmatch(name):
        wrong("template new", f"{name!r} is not like maker/model; write lower-case letters, digits, `-` and `_`")
    found = driver_of(driver)
    path = folder / FOLDER / f"{name}.yaml"
    if path.exists():
        raise EdgeFlowError(f"{path} is there already; name another one, or take it away first")
    keys = pairs("template new", "--device", settings)
    device: dict[str, object] = {"every": "1 s"} | keys
    tags = dict(_EXAMPLES.get(driver, {}))
    source = "Maker, document, edition, pages"
    if given is not None:
        taken = read_list(given, found, "device", keys)
        for left in taken.remarks:
            print(left, file=sys.stderr)
        if not taken.count:
            raise EdgeFlowError(f"{given} holds no tag that could be taken over")
        if len(taken.devices) > 1:
            print(
                f"The list has {len(taken.devices)} devices; the template has the tags of the first.", file=sys.stderr
            )
        draft = next(iter(taken.devices.values()))
        device = {key: value for key, value in draft.keys.items() if key != "unit"} | device
        tags, source = draft.tags, f"from the list {given.name}"
    if not tags:
        tags = {"value": {"about": f"`edgeflow driver show {driver}` says what to write for a tag"}}
    model = name.rpartition("/")[2].upper()
    lines = [f"  {key}: {one_line(value)}" for key, value in device.items()]
    first = next(iter(tags.values()))
    point = ", ".join(f"{key}: {one_line(value)}" for key, value in list(first.items())[:1])
    text = _HEAD.format(
        name=name, title=f"{name.partition('/')[0].title()} {model}", model=model, driver=driver, source=source
    )
    text += "\n".join([*lines, "", tags_block(tags)]) + _TAIL.format(point=point)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise EdgeFlowError(f"{path} cannot be written: {error.strerror}") from None
    print(f"{path} is made with {len(tags)} tags. Fill it in, then: edgeflow device check --template {name}")
