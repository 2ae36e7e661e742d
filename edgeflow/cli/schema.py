"""JSON Schemas of `gateway.yaml` and `flow.yaml`, for editors: made of the models that read them.

A schema lets pass whatever the models let pass. What no schema can say (that a tag exists, that units fit) is
`edgeflow validate`'s to say. A setting of a node may be a parameter, `{name}`, wherever a value may stand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edgeflow import driver as drivers
from edgeflow.agent.config import Root
from edgeflow.devices.binding import OutputOptions
from edgeflow.devices.config import Forms
from edgeflow.flow.document import FlowDocument, NodeEntry
from edgeflow.node import Kinds, installed

Schema = dict[str, Any]
NAMES = ("gateway", "flow")
_SCALARS: Mapping[str, str] = {"integer": r"^\s*[-+]?[0-9.]+\s*$", "number": r"^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*$"}
_PARAMETER: Schema = {"type": "string", "pattern": r"\{[a-z][a-z0-9_-]*\}"}


def schema(name: str) -> Schema:
    """The schema of one kind of document."""
    return gateway_schema(drivers.names()) if name == "gateway" else flow_schema(installed())


def gateway_schema(names: Iterable[str]) -> Schema:
    """Of a configuration, with the part of every installed driver."""
    found = _of(Root, "root")
    properties, defs = found["properties"], found["$defs"]
    links, devices = [], []
    for name in sorted(names):
        try:
            forms = Forms(drivers.find(name))
        except ImportError:
            continue
        link, device = _of(forms.link, f"{name}-link"), _of(forms.device, f"{name}-device")
        for part in (link, device):
            defs.update(part.pop("$defs", {}))
        link["properties"]["driver"] = {"const": name, "description": f"The protocol: {name}."}
        links.append(link)
        devices.append({"anyOf": [device, _with_template(device)]})
    any_link = {"properties": {"driver": {"type": "string"}}, "required": ["driver"]}
    choices = [
        {"if": {"properties": {"driver": {"const": each["properties"]["driver"]["const"]}}}, "then": each}
        for each in links
    ]
    properties["links"] = _mapping(properties["links"], {**any_link, "allOf": choices})
    properties["devices"] = _mapping(properties["devices"], {"anyOf": devices})
    outputs = _of(OutputOptions, "output")
    defs.update(outputs.pop("$defs", {}))
    defs["output.ElementOptions"] = {"anyOf": [defs["output.ElementOptions"], {"type": "string"}]}  # `red: io1/red`
    properties["outputs"] = _mapping(properties["outputs"], outputs)
    return {"title": "gateway.yaml of EdgeFlow", **found}


def flow_schema(kinds: Kinds) -> Schema:
    """Of a flow, with the settings of every installed kind of node."""
    found = _of(FlowDocument, "flow")
    entry = _of(NodeEntry, "node")
    own = entry["properties"]
    choices = []
    for name, kind in sorted(kinds.items()):
        settings = _of(kind.config, f"{name}-node")
        found["$defs"].update({key: _filled(each) for key, each in settings.pop("$defs", {}).items()})
        settings = _filled(settings)
        settings["properties"] = {
            **settings.get("properties", {}),
            **own,
            "kind": {"const": name, "description": kind.about},
        }
        choices.append({"if": {"properties": {"kind": {"const": name}}}, "then": settings})
    node = {"type": "object", "properties": {"kind": {"enum": sorted(kinds)}}, "required": ["kind"], "allOf": choices}
    nodes = found["properties"]["nodes"]
    found["properties"]["nodes"] = {**nodes, "additionalProperties": node}
    return {"title": "flow.yaml of EdgeFlow", **found}


def _of(model: type[BaseModel], prefix: str) -> Schema:
    """The schema of a model as it is written, its definitions named so that those of several models fit into one."""
    found = model.model_json_schema(by_alias=True, ref_template=f"#/$defs/{prefix}.{{model}}")
    found["$defs"] = {f"{prefix}.{name}": _lax(each) for name, each in found.get("$defs", {}).items()}
    return {key: value if key == "$defs" else _lax(value) for key, value in found.items()}


def _lax(schema_: Any) -> Any:
    """As the models read it: a number or a truth may be written in quotes; a key without a value is as good as none."""
    if isinstance(schema_, list):
        return [_lax(each) for each in schema_]
    if not isinstance(schema_, dict):
        return schema_
    found = {
        key: value if key in ("default", "examples", "const", "enum") else _lax(value) for key, value in schema_.items()
    }
    kind = schema_.get("type")
    if isinstance(kind, str) and kind in _SCALARS:
        about = {key: found.pop(key) for key in ("description", "title", "default") if key in found}
        return {**about, "anyOf": [found, {"type": "string", "pattern": _SCALARS[kind]}, {"type": "boolean"}]}
    if kind == "boolean":
        return {**found, "type": ["boolean", "string", "number"]}
    return found


def _filled(schema_: Any) -> Any:
    """The settings of a node, each of which may be a parameter."""
    if not isinstance(schema_, dict):
        return schema_
    found = dict(schema_)
    if isinstance(found.get("properties"), dict):
        found["properties"] = {key: _or_parameter(each) for key, each in found["properties"].items()}
    for key in ("additionalProperties", "items"):
        if isinstance(found.get(key), dict):
            found[key] = _or_parameter(found[key])
    return found


def _or_parameter(schema_: Any) -> Schema:
    about = {key: schema_[key] for key in ("description", "default") if key in schema_}
    return {**about, "anyOf": [_filled(schema_), _PARAMETER]}


def _with_template(device: Schema) -> Schema:
    """A device with a template gives only what differs; its tags may lack anything, or be taken away."""
    properties = {**device["properties"], "tags": {"type": "object", "description": "What differs from the template."}}
    return {"type": "object", "properties": properties, "required": ["link", "template"], "additionalProperties": False}


def _mapping(section: Schema, each: Schema) -> Schema:
    about = {"description": section["description"]} if "description" in section else {}
    return {**about, "anyOf": [{"type": "object", "additionalProperties": each}, {"type": "null"}]}


def text(name: str) -> str:
    """The schema as it is shipped."""
    return json.dumps(schema(name), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Writes the schemas that are shipped, and says which were not up to date."""
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        path, found = folder / f"{name}.json", text(name)
        if not path.is_file() or path.read_text("utf-8") != found:
            path.write_text(found, "utf-8")
            print(f"{path} is new", file=sys.stderr)


if __name__ == "__main__":
    main(Path.cwd() / "schemas")
