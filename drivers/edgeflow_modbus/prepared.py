"""A read ready to be made, and how points are made of what it brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeflow.model import BAD, Quality, Scalar
from edgeflow_modbus.codec import Compose, Decode, NoValue
from edgeflow_modbus.space import Read
from edgeflow_modbus.wire import Ask as Send

Fault = tuple[Quality, str]
Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a point's value is made of several parts, or of one that needs more than unpacking.

    `optional`: the part that a device need not have; -1 where there is none.
    """

    point: int
    parts: tuple[int, ...]
    make: Compose
    optional: int = -1


@dataclass(frozen=True, slots=True)
class Prepared:
    """A read ready to be made, and what its answer tells.

    `points`: in their order; None: all points of the reader. `pick` takes the values that are points themselves,
    `recipes` make others of some parts, each for its place in the column, the first first. `kept`: positions of parts
    that make a value together with other answers. `lacking`: the points that are not known where it is lost.
    """

    read: Read
    spare: bool
    send: Send
    decode: Decode
    points: tuple[int, ...] | None
    pick: Pick | None
    floats: Pick | None
    recipes: tuple[tuple[Recipe, Pick, int], ...]
    kept: tuple[tuple[int, int], ...]
    lacking: tuple[int, ...]


def result(recipe: Recipe, raws: Sequence[Any]) -> tuple[Scalar, Fault | None]:
    """A point's value of its parts' raw values, or why there is none."""
    try:
        return recipe.make(raws), None
    except NoValue as reason:
        return None, (BAD, str(reason))
