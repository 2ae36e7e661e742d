"""The OpenAPI 3.1 document of a table of routes, from the pydantic models behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

if TYPE_CHECKING:
    from edgeflow.web.routes import Route

_FORMS: dict[str, dict[str, Any]] = {"version": {"pattern": "^[0-9a-f]{64}$"}}
"""What is known of the parts of an address, by name."""
_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")


class Place(BaseModel):
    """One thing wrong in a document: where it is and what to write instead."""

    file: str = Field(description="The file, as whoever sent the document named it.")
    line: int = Field(description="The line, from 1; 0 where it is not known.")
    column: int = Field(description="The column, from 1; 0 where it is not known.")
    path: str = Field(description="The path of keys, dotted.")
    message: str = Field(description="What is wrong, and what to write instead.")


class ProblemDocument(BaseModel):
    """An answer other than success (RFC 9457)."""

    title: str = Field(description="The kind of problem.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened and what to do next, for a person.")
    problems: list[str] = Field(description="The single problems, where there are several.")
    places: list[Place] = Field(
        default_factory=list, description="The same in their parts, where a document is what is wrong."
    )


def document(routes: Sequence[Route[Any, Any]], *, title: str, version: str) -> dict[str, Any]:
    """The document; every operation is named after its handler."""
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The administrator's token."},
                "device": {"type": "http", "scheme": "bearer", "description": "The token of an enrolled gateway."},
            },
        },
    }


def _schemas(routes: Iterable[Route[Any, Any]]) -> tuple[dict[tuple[Any, str], dict[str, Any]], dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemDocument, "serialization"): None}
    for route in routes:
        for model, mode in ((route.body, "validation"), (route.query, "validation"), (route.answer, "serialization")):
            if isinstance(model, type) and issubclass(model, BaseModel):
                wanted[model, "validation" if mode == "validation" else "serialization"] = None
    found, definitions = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
    return {(model, mode): schema for (model, mode), schema in found.items()}, definitions.get("$defs", {})


def _operation(route: Route[Any, Any], schemas: dict[tuple[Any, str], dict[str, Any]]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done." if route.answer is None else _about(route.answer)}
    if route.answer is not None:
        success["content"] = {route.media: {"schema": schemas[route.answer, "serialization"]}}
    elif route.media != "application/json":
        success["content"] = {route.media: {"schema": {"type": "string"}}}
    operation: dict[str, Any] = {
        "operationId": getattr(route.handler, "__name__", "operation").strip("_"),
        "summary": route.about,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_upgrade(route)],
        "responses": {
            str(route.status): success,
            "default": {
                "description": "It was not done; the answer says why.",
                "content": {"application/problem+json": {"schema": schemas[ProblemDocument, "serialization"]}},
            },
        },
    }
    if route.body is not None:
        content = {"application/json": {"schema": schemas[route.body, "validation"]}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.needs != "nobody":
        operation["security"] = [{route.needs: []}]
    return operation


def _about(model: type[BaseModel]) -> str:
    return (model.__doc__ or model.__name__).strip().partition("\n")[0]


def _path_parameters(route: Route[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", **_FORMS.get(name, {})}}
        for name in _PARAMETER.findall(route.path)
    ]


def _upgrade(route: Route[Any, Any]) -> list[dict[str, Any]]:
    """What opens a WebSocket; without it there is nothing to answer."""
    if route.status != 101:
        return []
    needed = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"type": "string", "pattern": "^[A-Za-z0-9+/]{22}==$"}
    schemas: dict[str, dict[str, Any]] = {name: {"type": "string", "const": word} for name, word in needed.items()}
    schemas["Sec-WebSocket-Key"] = key
    return [{"name": name, "in": "header", "required": True, "schema": schema} for name, schema in schemas.items()]


def _query_parameters(route: Route[Any, Any]) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(ref_template="#/components/schemas/{model}")
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": part.get("description", ""),
            "schema": {key: value for key, value in part.items() if key not in ("description", "title")},
        }
        for name, part in schema.get("properties", {}).items()
    ]
