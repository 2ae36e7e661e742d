"""Which settings of a model, and of the models in it, nobody has described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel


def undescribed(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """The paths of the fields without a description, each with the name of its model before it."""
    for name, setting in model.model_fields.items():
        here = f"{path or model.__name__}.{name}"
        if not setting.description:
            yield here
        for inner in _models_in(setting.annotation):
            yield from undescribed(inner, here)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
