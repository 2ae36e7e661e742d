"""Method calls: values become the arguments, in the types that the method declares, and what it gives is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.uaprotocol_auto import Argument  # what is read; ua.Argument is another class

from edgeflow.errors import Rejected
from edgeflow.model import BAD, Scalar
from edgeflow_opcua import service
from edgeflow_opcua.address import Addresses, below
from edgeflow_opcua.item import Taker, steps_of
from edgeflow_opcua.limits import Refused
from edgeflow_opcua.refusal import denied
from edgeflow_opcua.settings import Point, placed
from edgeflow_opcua.structure import Types, held
from edgeflow_opcua.value import Fault, as_variant, from_json, status_name
from edgeflow_opcua.wire import Late, Wire

_INPUTS, _OUTPUTS = "/InputArguments", "/OutputArguments"
_NEVER_CALLED: Fault = (BAD, "the method has not been called yet")


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


Source = tuple[str | None, str | None, tuple[Any, ...] | None]
"""Whose outputs they are: an object, its method, and the arguments; None for those that somebody has written."""


def source_of(point: Point) -> Source:
    """Where the outputs of a point come from."""
    own = point.output is not None and point.call != "written"
    return point.object, point.method, point.arguments if own else None


class Methods:
    """The methods of one server; what they take and give is asked for once, and what each gave last is kept.

    `listeners` are told of each call of a method that somebody has written.
    """

    def __init__(self, wire: Wire, addresses: Addresses, types: Types) -> None:
        self._wire, self._addresses, self._types = wire, addresses, types
        self._known: dict[tuple[ua.NodeId, str], list[Argument]] = {}
        self._gave: dict[Source, list[Any] | str] = {}
        self.listeners: set[Callable[[], None]] = set()

    async def write(self, point: Point, value: Scalar, deadline: float) -> None:
        """Calls the method of the point; `false` is the rest position of a button and calls nothing.

        Raises Rejected and LinkDown.
        """
        if value is None:
            raise Rejected(f"{point}: there is no value to call it with")
        owner, method = await self._nodes(point, deadline)
        wanted = await self._declared(method, _INPUTS, deadline)
        if value is False and not wanted:
            return
        gave = await self._call(point, owner, method, _given(point, value, wanted), deadline)
        self._gave[source_of(point)] = gave
        for listener in tuple(self.listeners):
            listener()

    async def call(self, point: Point, deadline: float) -> bool:
        """Calls it with the arguments that the point says, and keeps what it gives, or why it gives nothing.

        False where it was refused; what was not answered may have been called. Raises LinkDown.
        """
        try:
            owner, method = await self._nodes(point, deadline)
            wanted = await self._declared(method, _INPUTS, deadline)
            if len(wanted) != len(point.arguments):
                names = ", ".join(str(argument.Name) for argument in wanted) or "none"
                raise Rejected(  # noqa: TRY301 - kept, as the others
                    f"{point}: it takes {len(wanted)} arguments ({names}), not {len(point.arguments)}"
                )
            given = [list(one) if isinstance(one, tuple) else one for one in point.arguments]
            self._gave[source_of(point)] = await self._call(point, owner, method, given, deadline)
        except Rejected as refusal:
            self._gave[source_of(point)] = str(refusal)
            return isinstance(refusal, Late)
        return True

    def known(self, point: Point) -> bool:
        """Whether what the point shows has been called."""
        return source_of(point) in self._gave

    async def shown(self, point: Point, deadline: float) -> tuple[Scalar, Fault | None]:
        """What the point shows of the last call. Raises LinkDown."""
        gave = self._gave.get(source_of(point))
        if gave is None:
            return None, _NEVER_CALLED
        if isinstance(gave, str):
            return None, (BAD, gave)
        try:
            at = await self._position(point, len(gave), deadline)
            return Taker(0, point.type, steps_of(point), {}, point.epoch).take(
                await self._plain(gave[at], deadline)
            ), None
        except (ValueError, Rejected) as error:
            return None, (BAD, str(error))

    async def _plain(self, value: Any, deadline: float) -> Any:
        try:
            return self._types.unfold(value)
        except ValueError:
            if not self._types.wanted:  # structures that were not met before
                raise
        await self._types.learn(deadline)
        return self._types.unfold(value)

    async def _position(self, point: Point, count: int, deadline: float) -> int:
        names: list[str] = []
        if isinstance(point.output, str):
            _, method = await self._nodes(point, deadline)
            names = [str(argument.Name) for argument in await self._declared(method, _OUTPUTS, deadline)]
            if point.output in names[:count]:
                return names.index(point.output)
        elif point.output is not None and point.output < count:
            return point.output
        told = f"; they are {', '.join(names)}" if names else ""
        raise ValueError(f"the method gives {count} outputs, and none is {point.output!r} (they count from 0){told}")

    async def _nodes(self, point: Point, deadline: float) -> tuple[ua.NodeId, ua.NodeId]:
        assert point.object is not None
        owner = await self._addresses.one(placed(point.object), deadline)
        return owner, await self._addresses.one(point.place, deadline)

    async def _call(
        self, point: Point, owner: ua.NodeId, method: ua.NodeId, given: Sequence[Any], deadline: float
    ) -> list[Any]:
        wanted = await self._declared(method, _INPUTS, deadline)
        kinds = await self._types.plain([argument.DataType for argument in wanted], deadline)
        inputs = []
        for argument, one in zip(wanted, given, strict=True):
            try:
                inputs.append(as_variant(one, kinds[argument.DataType], many=argument.ValueRank >= 1))
            except Rejected as refusal:
                raise Rejected(f"{point}, argument {argument.Name}: {refusal}") from None
        result = await call(self._wire, deadline, ua.CallMethodRequest(owner, method, inputs), str(point))
        return list(result.OutputArguments or ())

    async def _declared(self, method: ua.NodeId, which: str, deadline: float) -> list[Argument]:
        known = self._known.get((method, which))
        if known is None:
            (node,) = await below(self._wire, [(method, which)], deadline)
            known = []
            if node is not None:
                (datum,) = await self._wire.read([node], deadline)
                arguments = held(datum)
                known = [one for one in arguments or () if isinstance(one, Argument)]
            self._known[method, which] = known
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
