"""Method calls: a written value becomes the arguments, in the types that the method declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.uaprotocol_auto import Argument  # what is read; ua.Argument is another class

from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow_opcua import service
from edgeflow_opcua.address import Addresses, below
from edgeflow_opcua.limits import Refused
from edgeflow_opcua.refusal import denied
from edgeflow_opcua.settings import Point, placed
from edgeflow_opcua.structure import Types, held
from edgeflow_opcua.value import as_variant, from_json, status_name
from edgeflow_opcua.wire import Late, Wire

_ARGUMENTS = "/InputArguments"


async def call(wire: Wire, deadline: float, request: ua.CallMethodRequest, what: str) -> ua.CallMethodResult:
    """One call; raises Rejected with the status' name where the server or the method refuses."""
    try:
        result = await service.call(wire, request, deadline)
    except Refused as refusal:
        raise Rejected(f"{what}: {denied(refusal.name)}") from None
    except Late as late:
        raise Late(f"{what}: {late}; it may be done all the same") from None
    if not result.StatusCode.is_good():
        wrong = [
            f"argument {at} {status_name(status.value)}"
            for at, status in enumerate(result.InputArgumentResults or (), 1)
            if not status.is_good()
        ]
        raise Rejected(f"{what}: {', '.join((denied(status_name(result.StatusCode.value)), *wrong))}")
    return result


class Methods:
    """The methods of one server; what they take is asked for once."""

    def __init__(self, wire: Wire, addresses: Addresses, types: Types) -> None:
        self._wire, self._addresses, self._types = wire, addresses, types
        self._known: dict[ua.NodeId, list[Argument]] = {}

    async def call(self, point: Point, value: Scalar, deadline: float) -> None:
        """Calls the method of the point; `false` is the rest position of a button and calls nothing.

        Raises Rejected and LinkDown.
        """
        assert point.object is not None
        if value is None:
            raise Rejected(f"{point}: there is no value to call it with")
        owner = await self._addresses.one(placed(point.object), deadline)
        method = await self._addresses.one(point.place, deadline)
        wanted = await self._arguments(method, deadline)
        if value is False and not wanted:
            return
        kinds = await self._types.plain([argument.DataType for argument in wanted], deadline)
        inputs = []
        for argument, one in zip(wanted, _given(point, value, wanted), strict=True):
            try:
                inputs.append(as_variant(one, kinds[argument.DataType], many=argument.ValueRank >= 1))
            except Rejected as refusal:
                raise Rejected(f"{point}, argument {argument.Name}: {refusal}") from None
        await call(self._wire, deadline, ua.CallMethodRequest(owner, method, inputs), str(point))

    async def _arguments(self, method: ua.NodeId, deadline: float) -> list[Argument]:
        known = self._known.get(method)
        if known is None:
            (node,) = await below(self._wire, [(method, _ARGUMENTS)], deadline)
            known = []
            if node is not None:
                (datum,) = await self._wire.read([node], deadline)
                arguments = held(datum)
                known = [one for one in arguments or () if isinstance(one, Argument)]
            self._known[method] = known
        return known


def _given(point: Point, value: Scalar, wanted: Sequence[Argument]) -> list[Any]:
    """The arguments in a written value: itself, or the elements of a JSON array."""
    if not wanted:
        if value is not True:
            raise Rejected(f"{point} takes no arguments; write true to call it")
        return []
    if len(wanted) == 1 and wanted[0].ValueRank < 1:
        return [value]
    given = from_json(value) if isinstance(value, str) else None
    if len(wanted) == 1 and isinstance(given, list):
        return [given]
    if not isinstance(given, list) or len(given) != len(wanted):
        names = ", ".join(str(argument.Name) for argument in wanted)
        raise Rejected(f"{point} takes {len(wanted)} arguments ({names}); write a text with a JSON array of so many")
    return given
