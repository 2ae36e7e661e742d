"""`edgeflow tags import` and `export`: lists of tags from other products, in and out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from edgeflow.cli.extra import driver_of, pairs, wrong
from edgeflow.cli.source import read_source
from edgeflow.devices.config import DeviceOptions, read_links_and_devices
from edgeflow.devices.dialect import Form
from edgeflow.devices.export import write_list
from edgeflow.devices.part import part
from edgeflow.devices.paste import devices_block
from edgeflow.devices.taglist import read_list
from edgeflow.devices.tool import tag_name
from edgeflow.document import explain, suggestion
from edgeflow.errors import EXIT_FAILURE, EdgeFlowError


def import_tags(path: Path, driver: str, link: str, name: str, settings: Sequence[str], output: Path | None) -> int:
    """Writes the devices of a list, says what was left; returns the exit code."""
    found = driver_of(driver)
    keys = pairs("tags import", "--device", settings)
    known = {field.alias or key for key, field in found.device.model_fields.items()} | {"every", "timeout", "about"}
    for key in keys:
        if key not in known:
            wrong("tags import", f"--device: a device of {driver} has no key {key!r}{suggestion(key, known)}")
    try:
        found.device.model_validate({key: keys[key] for key in keys if key not in DeviceOptions.model_fields})
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(map(str, detail["loc"]))
        wrong("tags import", f"--device: {where}: {explain(detail, found.device)}")
    taken = read_list(path, found, tag_name(name), keys)
    told = {"neuron": "EMQX Neuron's columns", "kepware": "Kepware's columns", "plain": "a plain list"}[taken.form]
    if taken.count:
        text = f"# {_count(taken.count, 'tag')} of {path.name} ({told}); the link {link} stands under `links`\n"
        _write(text + devices_block(taken, link), output)
    for remark in taken.remarks:
        print(remark, file=sys.stderr)
    devices = f" in {len(taken.devices)} devices" if len(taken.devices) > 1 else ""
    print(f"{_taken(taken.count)} taken over{devices}; {_count(len(taken.remarks), 'remark')}.", file=sys.stderr)
    return 0 if taken.count else EXIT_FAILURE


def export_tags(names: Sequence[str], form: str, config: Path | None, output: Path | None) -> int:
    """Writes the tags of devices as a list, says what it has no column for; returns the exit code."""
    forms: tuple[Form, ...] = get_args(Form)
    chosen = next((each for each in forms if each == form), None)
    if chosen is None:
        wrong("tags export", f"--form: {form!r} is not one of {', '.join(forms)}")
    source = read_source(config)
    plant = part(source, devices=names) if names else read_links_and_devices(source)
    text, left = write_list(plant.devices.values(), chosen)
    _write(text, output)
    for line in left:
        print(line, file=sys.stderr)
    count = max(0, text.count("\n") - 1)
    print(f"{count} tags were written; {_count(len(left), 'remark')}.", file=sys.stderr)
    return 0 if count else EXIT_FAILURE


def _taken(count: int) -> str:
    return "1 tag was" if count == 1 else f"{count} tags were"


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number or 'no'} {what}s"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise EdgeFlowError(f"{output} cannot be written: {error.strerror}") from None
