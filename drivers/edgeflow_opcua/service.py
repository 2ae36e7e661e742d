"""The services of OPC UA that a session uses besides Read, each in pieces as large as the server takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edgeflow_opcua.limits import CHUNK, Refused, in_pieces
from edgeflow_opcua.value import status_name
from edgeflow_opcua.wire import Wire

_AGAIN = frozenset({"BadNoContinuationPoints", "BadTooManyOperations"})

References = list[ua.ReferenceDescription]


def code(name: str) -> ua.StatusCode:
    """The status of this name."""
    number: Any = getattr(StatusCodes, name, StatusCodes.Bad)
    return ua.StatusCode(number)


async def browse(
    wire: Wire, wanted: Sequence[ua.BrowseDescription], deadline: float, *, first_only: bool = False
) -> list[References | str]:
    """All references of each node, however many pages the server gives them in; the status where it gives none.

    `first_only`: whether there is one, and what it is.
    """
    most = 1 if first_only else CHUNK

    async def ask(some: Sequence[ua.BrowseDescription]) -> list[References | str]:
        question = ua.BrowseParameters(RequestedMaxReferencesPerNode=ua.UInt32(most), NodesToBrowse=list(some))
        answer = await wire.ask(deadline, ua.BrowseRequest(Parameters=question), ua.BrowseResponse)
        return await _pages(wire, _same(wire, some, answer.Results), deadline, go_on=not first_only)

    found = await in_pieces(wire, "browse", wanted, ask, lambda _, name: name)
    if len(wanted) > 1:
        for at, one in enumerate(found):
            if isinstance(one, str) and one in _AGAIN:  # too many pages at a time
                (found[at],) = await in_pieces(wire, "browse", [wanted[at]], ask, lambda _, name: name)
    return found


async def _pages(
    wire: Wire, results: Sequence[ua.BrowseResult], deadline: float, *, go_on: bool
) -> list[References | str]:
    found: list[Any] = [
        list(one.References or ()) if one.StatusCode.is_good() else status_name(one.StatusCode.value) for one in results
    ]
    open_ones = {at: one.ContinuationPoint for at, one in enumerate(results) if one.ContinuationPoint}
    while open_ones:
        those, points = list(open_ones), list(open_ones.values())
        question = ua.BrowseNextParameters(not go_on, points)
        answer = await wire.ask(deadline, ua.BrowseNextRequest(Parameters=question), ua.BrowseNextResponse)
        open_ones = {}
        if not go_on:
            break
        for at, one in zip(those, _same(wire, those, answer.Parameters.Results), strict=True):
            if not one.StatusCode.is_good():
                found[at] = status_name(one.StatusCode.value)
                continue
            found[at] += one.References or ()
            if one.ContinuationPoint:
                open_ones[at] = one.ContinuationPoint
    return found


async def translate(wire: Wire, paths: Sequence[ua.BrowsePath], deadline: float) -> list[ua.BrowsePathResult]:
    """Where each path leads."""

    async def ask(some: Sequence[ua.BrowsePath]) -> Sequence[ua.BrowsePathResult]:
        request = ua.TranslateBrowsePathsToNodeIdsRequest()
        request.Parameters.BrowsePaths = list(some)
        answer = await wire.ask(deadline, request, ua.TranslateBrowsePathsToNodeIdsResponse)
        return _same(wire, some, answer.Results)

    return await in_pieces(wire, "translate", paths, ask, lambda _, name: ua.BrowsePathResult(code(name)))


async def write(wire: Wire, values: Sequence[ua.WriteValue], deadline: float) -> list[ua.StatusCode]:
    """Writes in order; gives the status of each. After one that is refused nothing more is sent."""
    stopped = False

    async def ask(some: Sequence[ua.WriteValue]) -> Sequence[ua.StatusCode]:
        nonlocal stopped
        if stopped:
            return [code("BadNothingToDo")] * len(some)
        request = ua.WriteRequest(Parameters=ua.WriteParameters(list(some)))
        answer = await wire.ask(deadline, request, ua.WriteResponse)
        statuses = _same(wire, some, answer.Results)
        stopped = any(status.value >> 30 >= 2 for status in statuses)
        return statuses

    return await in_pieces(wire, "write", values, ask, lambda _, name: code(name))


async def call(wire: Wire, request: ua.CallMethodRequest, deadline: float) -> ua.CallMethodResult:
    """Calls one method; what it gives is in `OutputArguments`, as plain values. Raises Refused."""
    whole = ua.CallRequest()
    whole.Parameters.MethodsToCall = [request]
    answer = await wire.ask(deadline, whole, ua.CallResponse, slow=True)
    result: ua.CallMethodResult
    (result,) = _same(wire, [request], answer.Results)
    return result


async def history(wire: Wire, question: ua.HistoryReadParameters, deadline: float) -> list[ua.HistoryReadResult]:
    """One HistoryRead; raises Refused where the server refuses all of it."""
    answer = await wire.ask(deadline, ua.HistoryReadRequest(Parameters=question), ua.HistoryReadResponse)
    return _same(wire, question.NodesToRead, answer.Results)


async def create_items(
    wire: Wire,
    subscription: int,
    items: Sequence[ua.MonitoredItemCreateRequest],
    times: ua.TimestampsToReturn,
    deadline: float,
) -> list[ua.MonitoredItemCreateResult]:
    """Monitored items of a subscription; each has a status of its own."""

    async def ask(some: Sequence[ua.MonitoredItemCreateRequest]) -> Sequence[ua.MonitoredItemCreateResult]:
        wanted = ua.CreateMonitoredItemsParameters(ua.IntegerId(subscription), times, list(some))
        request = ua.CreateMonitoredItemsRequest(Parameters=wanted)
        answer = await wire.ask(deadline, request, ua.CreateMonitoredItemsResponse)
        return _same(wire, some, answer.Results)

    try:
        return await in_pieces(wire, "items", items, ask, lambda _, name: ua.MonitoredItemCreateResult(code(name)))
    except Refused as refusal:
        return [ua.MonitoredItemCreateResult(code(refusal.name)) for _ in items]


async def delete_items(wire: Wire, subscription: int, items: Sequence[int], deadline: float) -> None:
    """Ends monitored items; what the server does not have any more is no fault."""

    async def ask(some: Sequence[int]) -> Sequence[ua.StatusCode]:
        wanted = ua.DeleteMonitoredItemsParameters(ua.IntegerId(subscription), [ua.IntegerId(one) for one in some])
        request = ua.DeleteMonitoredItemsRequest(Parameters=wanted)
        answer = await wire.ask(deadline, request, ua.DeleteMonitoredItemsResponse)
        return _same(wire, some, answer.Results)

    await in_pieces(wire, "items", items, ask, lambda _, name: code(name))


async def delete_subscriptions(wire: Wire, subscriptions: Sequence[int], deadline: float) -> None:
    """Ends subscriptions with all that is in them."""
    request = ua.DeleteSubscriptionsRequest()
    request.Parameters.SubscriptionIds = [ua.IntegerId(one) for one in subscriptions]
    await wire.send(deadline, request)


def _same(wire: Wire, asked: Sequence[Any], results: Sequence[Any] | None) -> list[Any]:
    """As many results as were asked for."""
    if len(results or ()) != len(asked):
        raise wire.down(f"{len(asked)} answers were asked for and {len(results or ())} came")
    return list(results or ())
