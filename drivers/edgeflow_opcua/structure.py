"""What one server says of its data types: how its structures are laid out, and how its enumerations are named.

The library keeps such types for the whole process, by a number that means something else at the next server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from edgeflow_opcua.address import below, written
from edgeflow_opcua.binary import BUILT_IN, MOST_DIMENSIONS, Datum, Decoder, Malformed, shaped
from edgeflow_opcua.service import browse
from edgeflow_opcua.standard import known as standard
from edgeflow_opcua.standard import structure
from edgeflow_opcua.wire import GARBLED, Wire

Read = Callable[[Decoder], Any]
Names = dict[int, str]

_HAS_ENCODING, _HAS_SUBTYPE = ua.NodeId(ua.Int32(38)), ua.NodeId(ua.Int32(45))
_INT32, _EXTENSION = BUILT_IN[6], BUILT_IN[22]
_ABSTRACT: dict[int, int] = {
    ObjectIds.Number: 24, ObjectIds.Integer: 24, ObjectIds.UInteger: 24, ObjectIds.Enumeration: 6,
    ObjectIds.Structure: 0,
}  # fmt: skip
_UNDESCRIBED = "the server does not describe it (no DataTypeDefinition)"
_DEEPEST = 24
_ENUM_PATHS = ("/EnumStrings", "/EnumValues")


class Unknown(ValueError):
    """A structure whose layout is not known."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: ua.NodeId
    rank: int
    optional: bool
    any_kind: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """A structure as its DataTypeDefinition describes it (OPC 10000-3, clause 8.48)."""

    fields: tuple[_Field, ...]
    union: bool


class Types:
    """The structures of one server: learned when they are met. `unfold` notes in `wanted` what it does not know."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.wanted: set[ua.NodeId] = set()
        self._encodings: dict[ua.NodeId, ua.NodeId] = {}
        self._kinds: dict[ua.NodeId, Read | _Layout | str] = {}
        self._plains: dict[ua.NodeId, int] = {}

    # --- values ---------------------------------------------------------------------------------------

    def unfold(self, value: Any) -> Any:
        """A value with its structures as dicts; raises Unknown, a ValueError, where one is not described."""
        if isinstance(value, ua.ExtensionObject):
            return self._structure(value)
        if isinstance(value, list):
            return [self.unfold(one) for one in value]
        if is_dataclass(value) and not isinstance(value, _LEAVES):
            return {
                part.name: self.unfold(getattr(value, part.name)) for part in fields(value) if part.name != "Encoding"
            }
        return value

    def _structure(self, value: ua.ExtensionObject) -> Any:
        encoding = value.TypeId
        if value.Body is None:
            if encoding.Identifier in (0, None):
                raise Unknown("the server gives an empty structure")
            raise Unknown(f"the server gives a structure of type {encoding.to_string()} without content")
        kind = self._encodings.get(encoding)
        if kind is None:
            if (own := standard(encoding)) is not None:
                return self._standard(encoding, own, value.Body)
            self.wanted.add(encoding)
            raise Unknown(f"the structure of type {encoding.to_string()} is not known yet")
        try:
            return self._read(kind, Decoder(value.Body))
        except (Malformed, RecursionError) as error:
            raise Unknown(f"the structure does not fit its own description: {error}") from None

    def _standard(self, encoding: ua.NodeId, kind: type[Any], body: bytes) -> Any:
        """One of the standard's own structures, whose fields the library knows."""
        try:
            return self.unfold(structure(kind, Decoder(body)))
        except Unknown:
            raise
        except GARBLED as error:
            raise Unknown(f"the structure of type {encoding.to_string()} is garbled: {error}") from None

    def _read(self, kind: ua.NodeId, source: Decoder) -> Any:
        known = self._kinds.get(kind, "the server does not describe it")
        if isinstance(known, str):
            raise Unknown(f"a structure of type {written(self._wire, kind)} cannot be read: {known}")
        if not isinstance(known, _Layout):
            return self._plain(known(source))
        if known.union:
            chosen = source.uint32()
            if not 0 < chosen <= len(known.fields):
                return {}
            part = known.fields[chosen - 1]
            return {part.name: self._field(part, source)}
        present = source.uint32() if any(part.optional for part in known.fields) else 0
        content: dict[str, Any] = {}
        bit = 1
        for part in known.fields:
            if part.optional:
                there, bit = present & bit, bit << 1
                if not there:
                    content[part.name] = None
                    continue
            content[part.name] = self._field(part, source)
        return content

    def _field(self, part: _Field, source: Decoder) -> Any:
        def one(source: Decoder) -> Any:
            return self._plain(_EXTENSION(source)) if part.any_kind else self._read(part.kind, source)

        if part.rank < 1:
            return one(source)
        if part.rank == 1:
            return source.many(one)
        dimensions, count = source.numbers(6), 1
        for size in dimensions[:MOST_DIMENSIONS]:
            count *= max(0, size)
        if len(dimensions) > MOST_DIMENSIONS or count > len(source.data):
            raise Malformed("its dimensions are larger than it is")
        return shaped(source.some(count, one), dimensions)

    def _plain(self, value: Any) -> Any:
        return self.unfold(value) if isinstance(value, ua.ExtensionObject | list) else value

    # --- learning -------------------------------------------------------------------------------------

    async def learn(self, deadline: float) -> None:
        """Asks the server for what is in `wanted`; raises LinkDown. What it does not describe is remembered too."""
        encodings, self.wanted = sorted(self.wanted, key=str), set()
        parents = await self._inverse(encodings, _HAS_ENCODING, deadline)
        # Some servers send the data type itself in place of its encoding.
        self._encodings |= {encoding: parents.get(encoding, encoding) for encoding in encodings}
        open_kinds = {self._encodings[encoding] for encoding in encodings} - self._kinds.keys()
        for _ in range(_DEEPEST):
            if not open_kinds:
                return
            await self._define(sorted(open_kinds, key=str), deadline)
            met = {part.kind for known in self._kinds.values() if isinstance(known, _Layout) for part in known.fields}
            open_kinds = met - self._kinds.keys()

    async def _define(self, kinds: Sequence[ua.NodeId], deadline: float) -> None:
        bases = {kind: number for kind in kinds if (number := built_in(kind))}
        self._kinds |= {kind: BUILT_IN[number] for kind, number in bases.items()}
        asked = [kind for kind in kinds if kind not in bases]
        definitions = await definitions_of(self._wire, asked, deadline)
        others = []
        for kind, definition in zip(asked, definitions, strict=True):
            if isinstance(definition, ua.StructureDefinition):
                self._kinds[kind] = _layout(definition)
            elif isinstance(definition, ua.EnumDefinition):
                self._kinds[kind] = _INT32
            else:
                others.append(kind)
        for kind, number in (await self.plain(others, deadline)).items():
            self._kinds[kind] = BUILT_IN.get(number, _UNDESCRIBED) if number else _UNDESCRIBED

    async def plain(self, kinds: Sequence[ua.NodeId], deadline: float) -> dict[ua.NodeId, int]:
        """The built-in type in which values of a data type travel, by its number; 0 for a structure."""
        open_kinds = {kind: kind for kind in kinds if kind not in self._plains}
        for _ in range(_DEEPEST):
            parents = await self._inverse(
                [kind for kind in open_kinds.values() if built_in(kind) is None], _HAS_SUBTYPE, deadline
            )
            for kind, last in list(open_kinds.items()):
                found = built_in(last)
                if found is None and last in parents:
                    open_kinds[kind] = parents[last]
                else:
                    self._plains[kind] = found or 0
                    del open_kinds[kind]
            if not open_kinds:
                break
        return {kind: self._plains.get(kind, 0) for kind in kinds}

    async def _inverse(
        self, nodes: Sequence[ua.NodeId], reference: ua.NodeId, deadline: float
    ) -> dict[ua.NodeId, ua.NodeId]:
        inverse, every = ua.BrowseDirection.Inverse, ua.NodeClass.Unspecified
        wanted = [
            ua.BrowseDescription(node, inverse, reference, True, every, ua.BrowseResultMask.None_) for node in nodes
        ]
        found: dict[ua.NodeId, ua.NodeId] = {}
        for node, references in zip(
            nodes, await browse(self._wire, wanted, deadline, first_only=True) if wanted else (), strict=True
        ):
            if references and not isinstance(references, str):
                target = references[0].NodeId
                found[node] = ua.NodeId(target.Identifier, target.NamespaceIndex)
        return found


_LEAVES = (ua.NodeId, ua.QualifiedName, ua.LocalizedText, ua.StatusCode, ua.Variant)


def built_in(kind: ua.NodeId) -> int | None:
    """The number of a built-in type, 0 for a structure; None for a type derived of one."""
    if kind.NamespaceIndex != 0 or not isinstance(kind.Identifier, int):
        return None
    return kind.Identifier if 0 < kind.Identifier <= 25 and kind.Identifier != 22 else _ABSTRACT.get(kind.Identifier)


def _layout(definition: ua.StructureDefinition) -> _Layout:
    form = int(definition.StructureType)
    union = form in (ua.StructureType.Union, ua.StructureType.UnionWithSubtypedValues)
    parts = tuple(
        _Field(
            part.Name or f"field{number}",
            ua.NodeId(part.DataType.Identifier, part.DataType.NamespaceIndex),
            part.ValueRank,
            bool(part.IsOptional) and form == ua.StructureType.StructureWithOptionalFields,
            bool(part.IsOptional) and form >= ua.StructureType.StructureWithSubtypedValues,
        )
        for number, part in enumerate(definition.Fields or ())
    )
    return _Layout(parts, union)


async def definitions_of(wire: Wire, kinds: Sequence[ua.NodeId], deadline: float) -> list[Any]:
    """The DataTypeDefinition of each data type; None where the server gives none."""
    return [held(datum) for datum in await wire.read(kinds, deadline, AttributeIds.DataTypeDefinition)]


def held(datum: Datum) -> Any:
    """A good value, with the standard's own structures in it as the library's classes; None for a bad one."""
    value, code, *_ = datum
    if code >> 30 >= 2:
        return None
    return [_standard_value(one) for one in value] if isinstance(value, list) else _standard_value(value)


def _standard_value(value: Any) -> Any:
    kind = standard(value.TypeId) if isinstance(value, ua.ExtensionObject) else None
    if kind is None:
        return value
    try:
        return structure(kind, Decoder(value.Body or b""))
    except GARBLED:
        return None


async def names_of(wire: Wire, nodes: Sequence[ua.NodeId], deadline: float) -> list[Names]:
    """The names of the numbers of each variable: of its own, else of its data type; empty where there are none.

    EnumStrings, EnumValues (OPC 10000-3, clauses 5.6.4 and 8.39) and EnumDefinition.
    """
    kinds = [_enumeration(datum[0]) for datum in await wire.read(nodes, deadline, AttributeIds.DataType)]
    found: list[Names] = [{} for _ in nodes]
    asked = [(at, node, kind) for at, (node, kind) in enumerate(zip(nodes, kinds, strict=True)) if kind is not None]
    if not asked:
        return found
    starts = [(start, path) for _, node, kind in asked for start in (node, kind) for path in _ENUM_PATHS]
    targets = await below(wire, starts, deadline)
    there = [target for target in targets if target is not None]
    values = iter(await wire.read(there, deadline))
    tables = [_table(next(values)) if target is not None else {} for target in targets]
    definitions = await definitions_of(wire, [kind for _, _, kind in asked], deadline)
    for (at, _, _), first, definition in zip(asked, range(0, len(tables), 4), definitions, strict=True):
        own = (
            {part.Value: part.Name or part.DisplayName.Text or "" for part in getattr(definition, "Fields", None) or ()}
            if isinstance(definition, ua.EnumDefinition)
            else {}
        )
        found[at] = next((table for table in (*tables[first : first + 4], own) if table), {})
    return found


def _enumeration(kind: Any) -> ua.NodeId | None:
    """A data type that may have names: not one of the plain ones but the integers."""
    if not isinstance(kind, ua.NodeId):
        return None
    plain = kind.NamespaceIndex == 0 and isinstance(kind.Identifier, int) and kind.Identifier <= 25
    return None if plain and kind.Identifier not in range(2, 10) else kind


def _table(datum: Datum) -> Names:
    values = held(datum)
    table: Names = {}
    for number, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, ua.EnumValueType):
            table[value.Value] = value.DisplayName.Text or ""
        elif isinstance(value, ua.LocalizedText):
            table[number] = value.Text or ""
    return table
