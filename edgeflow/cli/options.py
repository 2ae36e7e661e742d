"""Options of the command line from the fields of a model, and the settings that they give."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from typer.core import TyperCommand

from edgeflow.document import explain, parse, scalar
from edgeflow.errors import ConfigError, Problem
from edgeflow.units import duration_text

M = TypeVar("M", bound=BaseModel)

_KEY = re.compile(r"`([a-z_]+): ([\w./-]+)`")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model, as a person is told of it. `key` is what is written; `default` in words, "" for none."""

    key: str
    about: str
    kind: str
    default: str
    required: bool
    schema: Mapping[str, Any]

    @property
    def option(self) -> str:
        return f"--{self.key.replace('_', '-')}"


def fields_of(model: type[BaseModel]) -> list[Field]:
    """The fields of a model in their order."""
    schema = model.model_json_schema(by_alias=True)
    definitions, required = schema.get("$defs", {}), set(schema.get("required", ()))
    found = []
    for key, own in schema.get("properties", {}).items():
        own_schema = _resolved(own, definitions)
        about = " ".join(str(own.get("description", "")).split())
        default = "" if key in required else _default(own.get("default"), own_schema)
        found.append(Field(key, about, _kind(own_schema, definitions), default, key in required, own_schema))
    return found


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with what its references stand for in their place, those of its branches too."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found = {**definitions[name], **schema} if name in definitions else dict(schema)
    for way in ("anyOf", "oneOf", "allOf"):
        if way in found:
            found[way] = [_resolved(each, definitions) for each in found[way]]
    return found


def _branches(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
    """The ways in which a value can be written, but for not at all."""
    some = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or [schema]
    return [_resolved(each, definitions or {}) for each in some if each.get("type") != "null"]


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What can be written, in a few words."""
    words: list[str] = []
    for each in _branches(schema, definitions):
        if "enum" in each:
            words.append(" | ".join(map(str, each["enum"])))
        elif "const" in each:
            words.append(str(each["const"]))
        elif str(each.get("format", "")).startswith("edgeflow-"):
            words.append(str(each["format"]).removeprefix("edgeflow-"))
        else:
            kind = each.get("type", "value")
            kinds = kind if isinstance(kind, list) else [kind]
            plain = {
                "string": "text",
                "array": "list",
                "object": "mapping",
                "boolean": "true | false",
                "integer": "number",
            }
            words += [plain.get(one, str(one)) for one in kinds]
    return " | ".join(dict.fromkeys(words)) or "value"


def _default(default: Any, schema: Mapping[str, Any]) -> str:
    if default is None or default in ([], {}, ""):
        return ""
    formats = {each.get("format") for each in _branches(schema)}
    if isinstance(default, int) and not isinstance(default, bool):
        if "edgeflow-duration" in formats:
            return duration_text(default)
        return f"{default} /s" if "edgeflow-rate" in formats else str(default)
    if isinstance(default, bool):
        return str(default).lower()
    return ", ".join(map(str, default)) if isinstance(default, list) else str(default)


# --- options ------------------------------------------------------------------------------------------


class Grouped(TyperCommand):
    """A command whose help has the options under the headings that they were given."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options, one section for each heading, in the order in which they came."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = getattr(parameter, "rich_help_panel", None) or "Options"
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def options_of(
    model: type[BaseModel], heading: str, *, positional: bool = False, without: Iterable[str] = ()
) -> list[Parameter]:
    """An option for each field; with `positional` those that are required are named by their place."""
    found = []
    for each in fields_of(model):
        if each.key in without:
            continue
        default = f" Default: {each.default}." if each.default and "Default:" not in each.about else ""
        about = each.about + default
        annotation: Any
        if positional and each.required:
            place = typer.Argument(metavar=each.key.upper(), help=about, rich_help_panel=heading)
            found.append(_parameter(each.key, Annotated[str, place], Parameter.empty))
            continue
        if _is_flag(each):
            switch = f"{each.option}/--no-{each.option[2:]}"
            annotation = Annotated[bool | None, typer.Option(switch, help=about, rich_help_panel=heading)]
        else:
            metavar = (each.kind if len(each.kind) < 40 else "VALUE").upper().replace(" ", "")
            option = typer.Option(each.option, metavar=metavar, help=about, rich_help_panel=heading)
            annotation = Annotated[str | None, option]
        found.append(_parameter(each.key, annotation, None))
    return found


def option(key: str, kind: Any, default: Any, about: str, heading: str, metavar: str | None = None) -> Parameter:
    """One option that belongs to no model."""
    told = typer.Option(f"--{key}", help=about, metavar=metavar, rich_help_panel=heading)
    return _parameter(key, Annotated[kind, told], default)


def _parameter(key: str, annotation: Any, default: Any) -> Parameter:
    name = f"{key}_" if keyword.iskeyword(key) else key
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def signed(take: Callable[[dict[str, Any]], None], parameters: Iterable[Parameter]) -> Callable[..., None]:
    """A function with just these parameters, which hands on what it was given.

    Raises ValueError where two have the same name.
    """

    def command(**given: Any) -> None:
        take(given)

    command.__signature__ = Signature(list(parameters))  # type: ignore[attr-defined] # read by inspect.signature
    return command


def _is_flag(each: Field) -> bool:
    branches = _branches(each.schema)
    return len(branches) == 1 and branches[0].get("type") == "boolean"


def settings(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given for the fields of a model, as a document would hold it."""
    return {
        each.key: value if isinstance(value, bool) else value_of(value, each.schema)
        for each in fields_of(model)
        if (value := given.get(f"{each.key}_" if keyword.iskeyword(each.key) else each.key)) is not None
    }


def value_of(text: str, schema: Mapping[str, Any]) -> Any:
    """A text of the command line as the value of a field: `1-10,17` for a list, `{a: 1}` for a mapping."""
    kinds = {kind for each in _branches(schema) for kind in _types(each)}
    if text[:1] in "[{" and text and kinds & {"array", "object"}:
        return parse(text, "the command line").data
    if "array" in kinds and "string" not in kinds:
        return [scalar(part.strip()) for part in text.split(",") if part.strip()]
    return text if kinds == {"string"} else scalar(text)


def _types(schema: Mapping[str, Any]) -> Sequence[str]:
    kind = schema.get("type", "")
    if not kind and "enum" in schema:
        return ["string"] if all(isinstance(each, str) for each in schema["enum"]) else ["integer"]
    return kind if isinstance(kind, list) else [kind]


def chosen(model: type[M], given: Mapping[str, Any]) -> M:
    """The model of what was given; raises ConfigError whose problems name the options."""
    try:
        return model.model_validate(settings(model, given))
    except ValidationError as error:
        raise ConfigError(
            Problem("", 0, 0, option_at(detail["loc"]), explain(detail, model)) for detail in error.errors()
        ) from None


def option_at(place: Sequence[str | int]) -> str:
    """`--host` for a place in a model; "" for the model itself."""
    return f"--{str(place[0]).replace('_', '-')}" if place else ""


def words(problem: Problem) -> str:
    """A problem of an option, without a file."""
    message = as_options(problem.message)
    return f"{problem.path}: {message}" if problem.path else message


def as_options(text: str) -> str:
    """What is said of keys in a configuration, said of options: `--host 10.0.0.5` for `host: 10.0.0.5`."""
    return _KEY.sub(lambda key: f"`--{key[1].replace('_', '-')} {key[2]}`", text)
