"""Parameters of a document that others fill in, a flow or a template: what they are, and how they are put in.

`{name}` stands for a parameter wherever a value stands:

    "{first}"             the value itself, whatever its type
    "{first} + 4"         numbers with + - * / and spaces around them are worked out
    "{hall}/{line}"       in any other text the value is written
    "{{name}}"            is `{name}` itself
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from edgeflow.document import At, shown
from edgeflow.model import Strict, Value
from edgeflow.units import UnitName, quantity

ParameterType = Literal[
    "device", "tag", "output", "calendar", "duration", "rate", "number", "integer", "text", "boolean", "place"
]
NAME = r"[a-z][a-z0-9_-]*"
"""How a parameter may be called."""

_HOLE = re.compile(rf"(?<!\{{)\{{({NAME})\}}(?!\}})")
_ESCAPED = re.compile(rf"\{{(\{{{NAME}\}})\}}")
_ARITHMETIC = re.compile(r"[-+*/().0-9eE\s]*")
_SPACED = re.compile(r"\s[-+*/]\s|^\s*-")
_UNSPACED = re.compile(r"[0-9.)][-+*/]")
_OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "number": ((int, float), "a number"),
    "integer": ((int,), "a whole number"),
    "text": ((str,), "text"),
    "boolean": ((bool,), "true or false"),
    "place": ((str,), "text"),
    "device": ((str,), "text"),
    "tag": ((str,), "text"),
    "output": ((str,), "text"),
    "calendar": ((str,), "text"),
}


class Parameter(Strict):
    """What differs from one use of the document to the next: what the person who uses it fills in."""

    type: ParameterType = Field(description="What kind of value it takes.")
    description: str = Field(description="What to fill in, in words for the person who does.")
    default: Value = Field(default=None, description="Used where nothing is given; without one it is required.")
    unit: UnitName | None = Field(default=None, description="The unit of a number.")
    one_of: tuple[Value, ...] = Field(default=(), description="The only values it can have; empty: any of its type.")

    def unfit(self, value: Value, name: str = "") -> str:
        """Why a value cannot be given for it; "" where it can. `name`: what it is called; a secret is not shown."""
        if self.one_of:
            fits = value in self.one_of
            return "" if fits else f"write one of {', '.join(map(str, self.one_of))}, not {shown(value, name)}"
        if self.type in ("duration", "rate"):
            try:
                quantity(str(value), "time" if self.type == "duration" else "rate")
            except ValueError as error:
                return str(error)
            return ""
        types, wanted = _KINDS[self.type]
        if isinstance(value, types) and isinstance(value, bool) == (self.type == "boolean"):
            return ""
        unit = f" in {self.unit}" if self.unit else ""
        quotes = ", in quotes" if wanted == "text" else ""
        return f"{shown(value, name)} is not {wanted}; write {wanted}{unit}{quotes}"


def parameters_in(value: Value, at: At) -> Iterator[tuple[At, str]]:
    """The parameters that stand in a value that is at `at`: where each stands, and its name."""
    if isinstance(value, str):
        yield from ((at, hole[1]) for hole in _HOLE.finditer(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from parameters_in(item, (*at, key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from parameters_in(item, (*at, i))


def without(value: Any, names: Collection[str]) -> Any:
    """The value with None in place of every text in which one of these parameters stands."""
    if isinstance(value, str):
        return None if any(hole[1] in names for hole in _HOLE.finditer(value)) else value
    if isinstance(value, Mapping):
        return {key: without(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without(item, names) for item in value]
    return value


def fill(value: Any, parameters: Mapping[str, Value]) -> Any:
    """The value with its parameters put in; raises KeyError with the name of one that there is not."""
    if isinstance(value, str):
        return _filled(value, parameters)
    if isinstance(value, Mapping):
        return {key: fill(item, parameters) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill(item, parameters) for item in value]
    return value


def _filled(text: str, parameters: Mapping[str, Value]) -> Value:
    whole = _HOLE.fullmatch(text)
    if whole:
        return parameters[whole[1]]
    holes = _HOLE.findall(text)
    written = _HOLE.sub(lambda hole: str(parameters[hole[1]]), text)
    if holes and _is_arithmetic(written) and all(_is_number(parameters[hole]) for hole in holes):
        return _worked_out(written)
    return _ESCAPED.sub(r"\1", written)


def _is_arithmetic(text: str) -> bool:
    """Whether it is to be worked out: `3/4` is a path and `2026-11` a month, `3 / 4` is three quarters."""
    return bool(_ARITHMETIC.fullmatch(text) and _SPACED.search(text) and not _UNSPACED.search(text))


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _worked_out(text: str) -> Value:
    try:
        number = _number(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ArithmeticError, TypeError):
        return text
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _number(node: ast.expr) -> int | float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=of):
            return -_number(of)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATIONS:
            result: int | float = _OPERATIONS[type(operation)](_number(left), _number(right))
            return result
    raise TypeError
