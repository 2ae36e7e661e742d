"""The structures of the standard, out of bytes: the library has their fields, and we read them.

The library's own reading takes a server at its word where it says how many values an array has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum, IntFlag
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from asyncua import ua

from edgeflow_opcua.binary import BUILT_IN, Decoder, Malformed

Read = Callable[[Decoder], Any]
_NUMBERS = {kind.name: int(kind.value) for kind in ua.VariantType}
_HEAD = ("TypeId", "ResponseHeader")


def structure(kind: type[Any], source: Decoder) -> Any:
    """One structure of the standard, as the library's class for it; raises Malformed.

    A Variant in it is its plain value, and a structure of no declared type stays bytes.
    """
    key: Any = kind
    return _reader(key)(source)


def answer(kind: Any, source: Decoder) -> Any:
    """What follows the header of a response."""
    response = kind()
    for name, read in _fields(kind):
        if name not in _HEAD:
            setattr(response, name, read(source))
    return response


@cache
def _reader(kind: Any) -> Read:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _reader(next(one for one in get_args(kind) if one is not NoneType))
    if origin is type:  # the library's sign for "or one derived of it"
        return Decoder.extension
    if origin is list:
        return _array(get_args(kind)[0])
    if kind is ua.DiagnosticInfo:
        return Decoder.diagnostic_info
    if kind.__name__ in _NUMBERS:
        return BUILT_IN[_NUMBERS[kind.__name__]]
    if issubclass(kind, IntFlag):
        return BUILT_IN[_NUMBERS[kind.datatype() if hasattr(kind, "datatype") else "UInt32"]]
    if issubclass(kind, Enum):
        return _enumeration(kind)
    if not is_dataclass(kind):
        raise Malformed(f"a structure {kind.__name__}, which nobody knows")
    return lambda source: _made(kind, source)


def _array(kind: Any) -> Read:
    return lambda source: source.many(_reader(kind))  # looked up late: a structure may hold its own kind


def _enumeration(kind: type[Enum]) -> Read:
    known = {member.value: member for member in kind}

    def read(source: Decoder) -> Any:
        number = source.int32()
        return known.get(number, number)

    return read


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hidden = {name: value for name, value in vars(kind).items() if not isinstance(value, property)}
    try:
        return get_type_hints(kind, None, {**hidden, "ua": ua})
    except (AttributeError, NameError) as error:  # the library names a type that it does not have
        raise Malformed(f"a structure {kind.__name__}, which nobody knows") from error


@cache
def _fields(kind: Any) -> tuple[tuple[str, Read], ...]:
    return tuple((field.name, _reader(_hints(kind)[field.name])) for field in fields(kind))


@cache
def _optional(kind: Any) -> dict[str, int]:
    """The bit of each field that may be left out."""
    names = [field.name for field in fields(kind) if NoneType in get_args(_hints(kind)[field.name])]
    return {name: 1 << at for at, name in enumerate(names)}


def _made(kind: Any, source: Decoder) -> Any:
    optional, wanted, present = _optional(kind), _fields(kind), 0
    made = kind()
    for name, read in wanted:
        if name == "Encoding":
            present = read(source)
        elif name not in optional or present & optional[name]:
            setattr(made, name, read(source))
    return made


def known(encoding: ua.NodeId) -> type[Any] | None:
    """The class of one of the standard's own structures by the id of its encoding."""
    if encoding.NamespaceIndex != 0:
        return None
    found: type[Any] | None = ua.extension_objects_by_typeid.get(encoding)
    return found
