"""An OPC UA server with everything but plain numbers: structures, enumerations, methods, events, alarms, history."""

import asyncio
import json
import logging
import sys
import uuid
from datetime import UTC, datetime, timedelta

from asyncua import Server, ua, uamethod
from asyncua.common.callback import CallbackType
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field
from asyncua.common.utils import ServiceError
from asyncua.server.monitored_item_service import MonitoredItemService

URI = "urn:edgeflow:plant:press"
V = ua.VariantType
MOMENT = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)
PLAIN = {
    "SByte": (-5, V.SByte), "Byte": (250, V.Byte), "Int16": (-300, V.Int16), "UInt16": (60000, V.UInt16),
    "Int32": (-70000, V.Int32), "UInt32": (4000000000, V.UInt32), "Int64": (-(2**62), V.Int64),
    "UInt64": (2**63 + 1, V.UInt64), "Float": (0.5, V.Float), "Double": (0.1, V.Double), "Boolean": (True, V.Boolean),
    "String": ("Größe", V.String), "ByteString": (b"\x00\xff", V.ByteString), "DateTime": (MOMENT, V.DateTime),
    "Guid": (uuid.UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63"), V.Guid),
    "LocalizedText": (ua.LocalizedText("Presse", "de"), V.LocalizedText),
    "StatusCode": (ua.StatusCode(ua.StatusCodes.BadSensorFailure), V.StatusCode),
    "NodeId": (ua.NodeId("x", 2), V.NodeId), "QualifiedName": (ua.QualifiedName("q", 2), V.QualifiedName),
}  # fmt: skip


class Pages:
    """A history in pages of `size` values, with at most so many continuation points; one is forgotten where asked."""

    def __init__(self, manager, size: int, most: int, forget: bool) -> None:
        self.read, self.size, self.most, self.forget = type(manager).read_history.__get__(manager), size, most, forget
        self.held: dict[bytes, list] = {}
        self.released, self.given, self.stop_at, self.waiting = 0, 0, 0, False
        self.flows = asyncio.Event()
        self.flows.set()
        manager.read_history = self.answer

    async def answer(self, params) -> list:
        self.given += 1
        if self.given == self.stop_at:
            self.waiting = True
            await self.flows.wait()
        return [await self.page(params, node) for node in params.NodesToRead]

    async def page(self, params, node) -> ua.HistoryReadResult:
        if point := node.ContinuationPoint:
            values = self.held.pop(point, None)
            if values is None or self.forget:
                self.forget = False
                return ua.HistoryReadResult(ua.StatusCode(ua.StatusCodes.BadContinuationPointInvalid))
            if params.ReleaseContinuationPoints:
                self.released += 1
                return ua.HistoryReadResult()
        else:
            alone = ua.HistoryReadParameters(params.HistoryReadDetails, params.TimestampsToReturn, False, [node])
            values = (await self.read(alone))[0].HistoryData.DataValues
        if len(values) > self.size and len(self.held) >= self.most:
            return ua.HistoryReadResult(ua.StatusCode(ua.StatusCodes.BadNoContinuationPoints))
        result = ua.HistoryReadResult(HistoryData=ua.HistoryData(values[: self.size]))
        if len(values) > self.size:
            result.ContinuationPoint = point or uuid.uuid4().bytes
            self.held[result.ContinuationPoint] = values[self.size :]
        return result


class Press:
    """The server and what the tests do with it."""

    def __init__(self) -> None:
        self.server = Server()
        self.calls: list = []
        self.acknowledged: list = []
        self.nodes: dict = {}
        self.filters = True
        self.filter_items()

    async def build(self, port: int) -> None:
        server = self.server
        server.iserver.bind_condition_methods = 100
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
        self.space = await server.register_namespace(URI)
        self.press = await server.nodes.objects.add_object(
            ua.NodeId("Press", self.space), ua.QualifiedName("Press", self.space)
        )
        for name, (value, kind) in PLAIN.items():
            await self.add(name, ua.Variant(value, kind))
        await self.add("Table", ua.Variant([10, 20, 30], V.Int32))
        await self.add("Names", ua.Variant(["a", "ü"], V.String))
        await self.add("Matrix", ua.Variant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], V.Double))
        await self.add("Count", ua.Variant(0, V.UInt32))
        await self.add("Scrap", ua.Variant(0, V.UInt32))
        await self.add("Stubborn", ua.Variant(1.0, V.Double))
        await self.structures()
        await self.enumerations()
        await self.analog()
        await self.methods()
        await self.events()
        for name in ("Count", "Scrap"):
            await server.historize_node_data_change(self.nodes[name], period=None, count=0)

    async def add(self, name: str, value: ua.Variant, datatype: ua.NodeId | None = None):
        node = await self.press.add_variable(
            ua.NodeId(name, self.space), ua.QualifiedName(name, self.space), value, datatype=datatype
        )
        await node.set_writable()
        self.nodes[name] = node
        return node

    async def structures(self) -> None:
        space, server = self.space, self.server
        position, _ = await new_struct(
            server, space, "Position",
            [new_struct_field("X", V.Double), new_struct_field("Y", V.Float), new_struct_field("Unit", V.String)],
        )  # fmt: skip
        mode = await new_enum(server, space, "Mode", ["Off", "Manual", "Automatic"])
        job, _ = await new_struct(
            server, space, "Job",
            [
                new_struct_field("Id", V.UInt32), new_struct_field("Target", position),
                new_struct_field("Way", position, array=True), new_struct_field("Mode", mode),
                new_struct_field("Note", V.String, optional=True), new_struct_field("Codes", V.Int16, array=True),
                new_struct_field("Begun", V.DateTime),
            ],
        )  # fmt: skip
        choice, _ = await new_struct(
            server,
            space,
            "Choice",
            [new_struct_field("Number", V.Int64), new_struct_field("Text", V.String)],
            is_union=True,
        )
        await server.load_data_type_definitions()
        origin = ua.Position(X=1.5, Y=-0.25, Unit="mm")
        await self.add("Position", ua.Variant(origin, V.ExtensionObject), position.nodeid)
        way = [origin, ua.Position(X=2.5, Y=0.5, Unit="m")]
        self.job = ua.Job(Id=7, Target=origin, Way=way, Mode=ua.Mode.Manual, Codes=[1, -2], Begun=MOMENT)
        self.job.Encoding = 0
        await self.add("Job", ua.Variant(self.job, V.ExtensionObject), job.nodeid)
        await self.add("Way", ua.Variant(way, V.ExtensionObject), position.nodeid)
        chosen = ua.Choice()
        chosen.Text = "chosen"
        await self.add("Choice", ua.Variant(chosen, V.ExtensionObject), choice.nodeid)
        opaque = ua.ExtensionObject(ua.NodeId(987654, space), b"\x01\x02")
        await self.add("Opaque", ua.Variant(opaque, V.ExtensionObject), ua.NodeId(22))
        await self.add("Range", ua.Variant(ua.Range(-1.0, 9.0), V.ExtensionObject), ua.NodeId(ua.ObjectIds.Range))
        self.mode = mode

    async def enumerations(self) -> None:
        await self.add("Mode", ua.Variant(2, V.Int32), self.mode.nodeid)
        level = await self.add("Level", ua.Variant(10, V.Int32))
        names = [ua.EnumValueType(10, ua.LocalizedText("low")), ua.EnumValueType(90, ua.LocalizedText("high"))]
        await level.add_property(0, "EnumValues", ua.Variant(names, V.ExtensionObject))
        lamp = await self.add("Lamp", ua.Variant(1, V.UInt32))
        await lamp.add_property(0, "EnumStrings", [ua.LocalizedText("dark"), ua.LocalizedText("lit")])

    async def analog(self) -> None:
        item = ua.AddNodesItem(
            ParentNodeId=self.press.nodeid,
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent),
            RequestedNewNodeId=ua.NodeId("Pressure", self.space),
            BrowseName=ua.QualifiedName("Pressure", self.space),
            NodeClass=ua.NodeClass.Variable,
            TypeDefinition=ua.NodeId(ua.ObjectIds.AnalogItemType),
            NodeAttributes=ua.VariableAttributes(
                DisplayName=ua.LocalizedText("Pressure"), Value=ua.Variant(4.0, V.Double), DataType=ua.NodeId(11)
            ),
        )
        await self.server.iserver.isession.add_nodes([item])
        node = self.server.get_node(item.RequestedNewNodeId)
        unit = ua.EUInformation("http://www.opcfoundation.org/UA/units/un/cefact", 4342098, ua.LocalizedText("bar"))
        await node.add_property(0, "EngineeringUnits", ua.Variant(unit, V.ExtensionObject))
        await node.add_property(0, "EURange", ua.Variant(ua.Range(0.0, 10.0), V.ExtensionObject))
        self.nodes["Pressure"] = node

    async def methods(self) -> None:
        @uamethod
        async def reset(parent):
            self.calls.append(["Reset"])

        @uamethod
        async def add(parent, a, b):
            self.calls.append(["Add", a, b])
            return a + b

        @uamethod
        async def select(parent, number):
            self.calls.append(["Select", number])

        @uamethod
        async def weigh(parent, tare):
            self.calls.append(["Weigh", tare])
            return float(len(self.calls)), [tare, 2.5], "kg", MOMENT

        async def fail(parent, *arguments):
            return ua.StatusCode(ua.StatusCodes.BadOutOfRange)

        def name(text: str) -> tuple:
            return ua.NodeId(f"Press.{text}", self.space), ua.QualifiedName(text, self.space)

        def argument(text: str, kind: V) -> ua.Argument:
            return ua.Argument(Name=text, DataType=ua.NodeId(kind.value), ValueRank=-1)

        await self.press.add_method(*name("Reset"), reset)
        await self.press.add_method(*name("Add"), add, [argument("a", V.Double), argument("b", V.Int32)], [V.Double])
        await self.press.add_method(*name("Select"), select, [argument("number", V.UInt16)])
        gives = [argument("weight", V.Double), argument("parts", V.Double), argument("unit", V.String)]
        gives[1].ValueRank = 1
        gives.append(argument("at", V.DateTime))
        await self.press.add_method(*name("Weigh"), weigh, [argument("tare", V.Double)], gives)
        await self.press.add_method(*name("Fail"), fail, [argument("number", V.UInt16)])

    async def events(self) -> None:
        server = self.server
        # This library hands an event to its own node only; others hand it on to the notifiers above.
        self.generators = [
            await server.get_event_generator(ua.ObjectIds.BaseEventType, node)
            for node in (self.press, server.nodes.server)
        ]
        self.alarms = {}
        for name in ("Hot", "Empty"):
            generator = await server.get_event_generator(ua.ObjectIds.AlarmConditionType, server.nodes.server)
            event = generator.event
            event.NodeId = ua.NodeId(f"Press.{name}", self.space)
            await self.press.add_object(event.NodeId, ua.QualifiedName(name, self.space))
            event.add_property("NodeId", event.NodeId, V.NodeId)
            event.SourceNode, event.SourceName, event.ConditionName = self.press.nodeid, "Press", name
            self.alarms[name] = generator
        acknowledge = ua.ObjectIds.AcknowledgeableConditionType_Acknowledge

        async def acknowledged(condition, event_id, comment):
            name = next(name for name, one in self.alarms.items() if one.event.NodeId == condition)
            if event_id.Value != self.alarms[name].event.EventId.Value:
                return ua.StatusCode(ua.StatusCodes.BadEventIdUnknown)
            self.acknowledged.append([name, comment.Value.Text])
            await self.alarm({"node": name, "acked": True, "comment": comment.Value.Text})
            return ua.StatusCode()

        self.refreshing = dict(server.iserver.subscription_service.standard_events)
        self.refresh = server.iserver.aspace._nodes[ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)]
        server.link_method(server.get_node(ua.NodeId(acknowledge)), acknowledged)

    async def alarm(self, order: dict) -> None:
        generator = self.alarms[order["node"]]
        event = generator.event
        for key, name in (("active", "ActiveState/Id"), ("acked", "AckedState/Id")):
            if key in order:
                setattr(event, name, order[key])
        setattr(event, "EnabledState/Id", True)
        if "comment" in order:
            event.Comment = ua.LocalizedText(order["comment"])
        event.Severity = order.get("severity", event.Severity)
        event.Retain = bool(getattr(event, "ActiveState/Id")) or not getattr(event, "AckedState/Id")
        await generator.trigger(message=order.get("message"))

    async def refuse_history(self, params):
        refused = ua.StatusCode(ua.StatusCodes.BadHistoryOperationUnsupported)
        return [ua.HistoryReadResult(refused) for _ in params.NodesToRead]

    async def refuse_subscription(self, *_, **__):
        raise ua.UaStatusCodeError(ua.StatusCodes.BadServiceUnsupported)

    def filter_items(self) -> None:
        """Refuses filters while there are none, as a server without percent deadband does."""
        create = MonitoredItemService._create_data_change_monitored_item

        async def checked(service, params):
            if params.RequestedParameters.Filter is not None and not self.filters:
                return ua.MonitoredItemCreateResult(ua.StatusCode(ua.StatusCodes.BadMonitoredItemFilterUnsupported))
            return await create(service, params)

        MonitoredItemService._create_data_change_monitored_item = checked

    async def command(self, order: dict) -> object:
        return await getattr(self, f"do_{order['do']}")(order)

    async def do_reset(self, order: dict) -> None:
        """As it was at the start."""
        inner = self.server.iserver
        inner.aspace._nodes[ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)] = self.refresh
        for changed in (inner.history_manager, inner.subscription_service):
            for name in ("read_history", "create_subscription", "republish"):
                changed.__dict__.pop(name, None)
        inner.subscription_service._conditions.clear()
        inner.subscription_service.standard_events |= self.refreshing
        for generator in self.alarms.values():
            event = generator.event
            event.Comment = ua.LocalizedText("")
            setattr(event, "ActiveState/Id", False)
            setattr(event, "AckedState/Id", True)
        self.filters, self.calls, self.acknowledged = True, [], []
        await self.nodes["Double"].write_value(0.1)
        await self.nodes["Float"].write_value(ua.Variant(0.5, V.Float))
        await self.nodes["Table"].write_value(ua.Variant([10, 20, 30], V.Int32))
        if "Later" in self.nodes:
            await self.server.delete_nodes([self.nodes.pop("Later")])

    async def do_event(self, order: dict) -> None:
        for generator in self.generators:
            generator.event.Severity, generator.event.SourceName = order["severity"], "Press"
            await generator.trigger(message=order["message"])

    async def do_alarm(self, order: dict) -> None:
        await self.alarm(order)

    async def do_took(self, order: dict) -> list:
        """What was called and acknowledged since the last time."""
        taken, self.calls, self.acknowledged = [self.calls, self.acknowledged], [], []
        return taken

    async def do_set(self, order: dict) -> None:
        node = self.nodes[order["node"]]
        kind = await node.read_data_type_as_variant_type()
        await node.write_value(ua.DataValue(ua.Variant(order["value"], kind), SourceTimestamp=datetime.now(UTC)))

    async def do_job(self, order: dict) -> None:
        self.job.Id, self.job.Note = order["value"], order["note"]
        self.job.Encoding = 0 if order["note"] is None else 1
        await self.nodes["Job"].write_value(ua.Variant(self.job, V.ExtensionObject))

    async def do_add(self, order: dict) -> None:
        await self.add(order["node"], ua.Variant(order["value"], V.Double))

    async def do_run(self, order: dict) -> None:
        """Counts, a hundredth of a millisecond apart."""
        base = datetime.now(UTC)
        for number in order["values"]:
            stamp = base + timedelta(microseconds=10 * number)
            for name in order.get("nodes", ["Count"]):
                await self.nodes[name].write_value(ua.DataValue(ua.Variant(number, V.UInt32), SourceTimestamp=stamp))

    async def do_stubborn(self, order: dict) -> None:
        """Takes every write, and goes back to its own value."""
        node, kept = self.nodes[order["node"]], order["value"]

        async def restore(event, _) -> None:
            if event.is_external and event.request_params.NodesToWrite[0].NodeId == node.nodeid:
                await node.write_value(kept)

        self.server.subscribe_server_callback(CallbackType.PostWrite, restore)

    async def do_no_history(self, order: dict) -> None:
        self.server.iserver.history_manager.read_history = self.refuse_history

    async def do_pages(self, order: dict) -> None:
        """Gives its history in pages from now on."""
        self.pages = Pages(self.server.iserver.history_manager, order["size"], order["most"], order["forget"])

    async def do_held(self, order: dict) -> list:
        """How many continuation points it holds, how many were released, and whether somebody waits for a page."""
        return [len(self.pages.held), self.pages.released, self.pages.waiting]

    async def do_stop_at(self, order: dict) -> None:
        """Does not give the page of this number before it is told `go_on`."""
        self.pages.stop_at = order["page"]
        self.pages.flows.clear()

    async def do_go_on(self, order: dict) -> None:
        self.pages.flows.set()

    async def do_no_republish(self, order: dict) -> None:
        """Keeps nothing that was published; says so, or answers with an empty message as this library does."""

        def refuse(*_):
            if order["say"]:
                raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
            return ua.NotificationMessage()

        self.server.iserver.subscription_service.republish = refuse

    async def do_count_republish(self, order: dict) -> None:
        service = self.server.iserver.subscription_service
        self.republished, republish = [], service.republish

        def counted(params):
            self.republished.append(params.RetransmitSequenceNumber)
            return republish(params)

        service.republish = counted

    async def do_republished(self, order: dict) -> list:
        """The numbers of what it was asked to publish again since it was told to count."""
        return self.republished

    async def do_no_subscriptions(self, order: dict) -> None:
        self.server.iserver.subscription_service.create_subscription = self.refuse_subscription

    async def do_no_filters(self, order: dict) -> None:
        self.filters = not order["value"]

    async def do_endless_refresh(self, order: dict) -> None:
        self.server.iserver.subscription_service.standard_events.clear()

    async def do_no_refresh(self, order: dict) -> None:
        del self.server.iserver.aspace._nodes[ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)]


async def main(port: int) -> None:
    logging.disable(logging.CRITICAL)
    press = Press()
    await press.build(port)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with press.server:
        print("ready", flush=True)
        while line := await reader.readline():
            answer = await press.command(json.loads(line))
            print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
