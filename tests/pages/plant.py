"""A plant to look at: an agent's view with realistic data that tests can change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from edgeflow.agent.views import (
    Central,
    Device,
    Element,
    Flow,
    Gateway,
    HeldRequest,
    Outbox,
    Output,
    Press,
    Status,
    Written,
)
from edgeflow.clock import SystemClock, utc_text
from edgeflow.errors import Rejected
from edgeflow.model import BAD, UNCERTAIN, Block, Record, Scalar, Tag
from edgeflow.units import NS_PER_S
from edgeflow.web.columns import TagColumns

MINUTE = 60 * NS_PER_S
HOUR = 60 * MINUTE
CLOCK = SystemClock()

PRESS = ("press1/state", "press1/good", "press1/reject", "press1/cycle_time", "press1/fault")
FILLER = ("filler/state", "filler/good", "filler/speed", "filler/setpoint")
METER = ("meter/power", "meter/energy", "meter/frequency", "meter/voltage_l1")
OVEN = ("oven/temperature", "oven/setpoint")
TAGS = [
    Tag("press1/state", "integer", None, about="PackML state"),
    Tag("press1/good", "integer", "pcs", about="Good parts"),
    Tag("press1/reject", "integer", "pcs", about="Rejected parts"),
    Tag("press1/cycle_time", "number", "s", about="Last cycle"),
    Tag("press1/fault", "integer", None, about="Active fault"),
    Tag("filler/state", "integer", None),
    Tag("filler/good", "integer", "pcs"),
    Tag("filler/speed", "number", "1/min"),
    Tag("filler/setpoint", "number", "1/min", writable=True),
    Tag("meter/power", "number", "kW"),
    Tag("meter/energy", "number", "kWh"),
    Tag("meter/frequency", "number", "Hz"),
    Tag("meter/voltage_l1", "number", "V"),
    Tag("oven/temperature", "number", "°C"),
    Tag("oven/setpoint", "number", "°C", writable=True),
    Tag("io1/red", "boolean", None, writable=True),
]


@dataclass
class Plant:
    """The view that the pages are shown; every field may be changed by a test."""

    now_ns: int = field(default_factory=CLOCK.now_ns)
    columns: TagColumns = field(default_factory=lambda: TagColumns(TAGS))
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    writes: list[tuple[str, Scalar, str]] = field(default_factory=list)
    presses: list[tuple[str, str]] = field(default_factory=list)
    healthy: bool = False
    problems: Sequence[str] = ()
    good: int = 3481

    def __post_init__(self) -> None:
        self.blocks()
        self.results_of_today()

    def ago(self, ns: int) -> str:
        return utc_text(self.now_ns - ns)

    def blocks(self) -> None:
        """The newest read of every device; the filler has not answered for a while."""
        now = CLOCK.now_ns()
        take = self.columns.take
        take(Block("press1", PRESS, [6, self.good, 57, 2.1347, 0], now, now))
        take(Block("meter", METER, [42.372, 118_234.5, 49.98, 231.4], now, now))
        take(
            Block(
                "filler",
                FILLER,
                [None] * 4,
                now - 3 * MINUTE,
                now,
                dict.fromkeys(range(4), (BAD, "the server does not answer")),
            )
        )
        take(Block("oven", OVEN, [184.6, 185.0], now, now, {0: (UNCERTAIN, "older than 5 s")}))
        take(Block("io1", ("io1/red",), [False], now, now))

    def record(self, stream: str, key: str, data: dict[str, object], **more: object) -> None:
        known = self.records.get((stream, key))
        record = Record(stream, key, known.version + 1 if known else 1, CLOCK.now_ns(), data, flow=f"{stream}_flow")
        self.records[stream, key] = replace(record, **more)  # type: ignore[arg-type]

    def results_of_today(self) -> None:
        begin = self.now_ns - 5 * HOUR
        self.oee("press1", begin, 0.8123, 0.942, 0.9839)
        self.record(
            "oee",
            "filler/early",
            {
                "machine": "filler",
                "shift": "early",
                "state": "unknown",
                "policy": {"name": "vorne", "small_stop_s": 120.0},
                "availability": 0.912,
                "performance": 0.874,
                "quality": 0.997,
                "oee": 0.795,
                "good": 20_410,
                "reject": 61,
                "total": 20_471,
                "buckets": {"run": 15_100.0, "small_stop": 410.0, "down": 1_500.0, "unknown": 190.0, "break": 800.0},
            },
            begin=begin,
            status="live",
            coverage=0.9894,
        )
        for day in (1, 2):
            self.record(
                "oee",
                f"press1/late/{day}",
                {
                    "machine": "press1",
                    "shift": "late",
                    "availability": 0.88,
                    "performance": 0.91,
                    "quality": 0.99,
                    "oee": 0.793,
                    "good": 11_020,
                    "reject": 110,
                    "run_s": 25_344.0,
                },
                begin=begin - day * 16 * HOUR,
                end=begin - day * 16 * HOUR + 8 * HOUR,
                coverage=1.0,
            )
        self.record(
            "energy",
            "meter/live",
            {
                "meter": "meter",
                "kw": 42.37,
                "kwh": 6.12,
                "demand_kw": 38.2,
                "projected_kw": 44.9,
                "kwh_per_good": 0.01217,
                "good": 503,
            },
            begin=self.now_ns - 9 * MINUTE,
            end=self.now_ns + 6 * MINUTE,
            status="live",
            coverage=1.0,
        )
        for i in range(1, 4):
            self.record(
                "energy",
                f"meter/{i}",
                {"meter": "meter", "kwh": 10.4 - i, "demand_kw": 41.6 - i, "good": 840, "kwh_per_good": 0.0124},
                begin=self.now_ns - (9 + 15 * i) * MINUTE,
                end=self.now_ns - (9 + 15 * (i - 1)) * MINUTE,
                coverage=1.0,
            )
        self.record(
            "andon",
            "press1",
            {"machine": "press1", "output": "light1", "state": "execute", "since": self.ago(24 * MINUTE)},
            status="live",
        )
        self.record(
            "andon",
            "filler",
            {"machine": "filler", "output": "light2", "state": "aborted", "since": self.ago(3 * MINUTE)},
            status="live",
        )
        self.record(
            "stop",
            "press1/stop/1",
            {"machine": "press1", "kind": "small_stop", "state": "held", "reason": 114, "duration_s": 42.0},
            begin=self.now_ns - 20 * MINUTE,
            end=self.now_ns - 20 * MINUTE + 42 * NS_PER_S,
        )
        self.call("raised")

    def oee(self, machine: str, begin: int, a: float, p: float, q: float) -> None:
        self.record(
            "oee",
            f"{machine}/early",
            {
                "machine": machine,
                "shift": "early",
                "state": "execute",
                "policy": {"name": "vorne", "small_stop_s": 120.0},
                "availability": a,
                "performance": p,
                "quality": q,
                "oee": a * p * q,
                "good": self.good,
                "reject": 57,
                "total": self.good + 57,
                "buckets": {"run": 13_420.0, "small_stop": 700.0, "changeover": 900.0, "down": 2_180.0, "break": 800.0},
            },
            begin=begin,
            status="live",
            coverage=1.0,
        )

    def call(self, state: str) -> None:
        self.record(
            "andon",
            "filler/maintenance/1",
            {
                "machine": "filler",
                "type": "maintenance",
                "state": state,
                "level": 1,
                "escalated_to": "line lead",
                "raised": self.ago(130 * NS_PER_S),
            },
            status="provisional",
        )

    # what the agent gives

    def results(self) -> Iterable[Record]:
        return self.records.values()

    def unready(self) -> Sequence[str]:
        return self.problems

    def metrics(self) -> bytes:
        return b"# HELP edgeflow_ticks_total Ticks.\n# TYPE edgeflow_ticks_total counter\nedgeflow_ticks_total 5\n"

    async def write(self, tag: str, value: Scalar, *, lease_ns: int, reason: str) -> Written:
        self.writes.append((tag, value, reason))
        now = CLOCK.now_ns()
        return Written(tag=tag, value=value, at=utc_text(now), until=utc_text(now + lease_ns))

    async def press(self, instance: str, action: str, press: Press) -> None:
        if action not in ("raise", "acknowledge", "resolve"):
            raise Rejected(f"{instance} knows no button {action!r}")
        self.presses.append((instance, action))
        if action == "acknowledge":
            self.call("acknowledged")

    def status(self) -> Status:
        now = CLOCK.now_ns()
        started = self.now_ns - 75 * HOUR
        return Status(
            gateway=Gateway(
                name="line3",
                place="north plant / hall 2",
                version="0.1.0",
                started=utc_text(started),
                uptime_s=(now - started) / NS_PER_S,
                now=utc_text(now),
                time_zone="Europe/Berlin",
                clock="synchronised",
            ),
            devices=self._devices(now),
            flows=self._flows(now),
            outputs=self._outputs(),
            outbox=Outbox(records=0)
            if self.healthy
            else Outbox(records=184, bytes=61_220, oldest=self.ago(4 * MINUTE), capacity_left_s=3_460_000.0),
            central=Central(
                url="https://central.example",
                connected=self.healthy,
                enrolled=True,
                last_ack=utc_text(now) if self.healthy else self.ago(4 * MINUTE),
                last_error="" if self.healthy else "The network is unreachable.",
            ),
        )

    def _devices(self, now: int) -> list[Device]:
        fine = {"state": "good", "since": self.ago(75 * HOUR), "last_good": utc_text(now - 200_000_000)}
        filler: dict[str, object] = {
            "state": "bad",
            "reason": "The server at 127.0.0.1:4840 does not answer. Check its power and the network cable.",
            "since": self.ago(3 * MINUTE),
            "last_good": self.ago(3 * MINUTE),
            "failed": 36,
            "bad_tags": 4,
        }
        oven: dict[str, object] = {
            "state": "degraded",
            "reason": "One value is older than it should be: temperature.",
            "since": self.ago(40 * NS_PER_S),
            "last_good": utc_text(now - 900_000_000),
            "bad_tags": 1,
        }
        if self.healthy:
            filler = oven = dict(fine)
        return [
            Device.model_validate(
                {"name": name, "link": name, "driver": driver, "address": address, "tags": tags, "polls": 540_000}
                | {"every_s": every_s}
                | state
            )
            for name, driver, address, tags, every_s, state in (
                ("press1", "modbus", "10.0.0.5:502 unit 1", 12, 0.5, fine),
                ("filler", "opcua", "opc.tcp://10.0.0.9:4840", 4, None, filler),
                ("meter", "modbus", "10.0.0.6:502 unit 1", 26, 1.0, fine),
                ("oven", "mqtt", "10.0.0.2:1883", 4, None, oven),
                ("io1", "modbus", "10.0.0.7:502 unit 1", 5, 0.5, fine),
            )
        ]

    def _flows(self, now: int) -> list[Flow]:
        version = "9c1f5a7d31e0b8c64f2a90d5b7e3f18c26ad4470e9b5c3d8f1a27e6604bd9351"
        names = (
            ("oee_press1", "oee/machine", "OEE of a machine with a state and counters"),
            ("oee_filler", "oee/machine", "OEE of a machine with a state and counters"),
            ("andon_press1", "andon/machine", "Stack light and call button of a machine"),
            ("energy_press1", "energy/meter", "Energy, demand and energy per good part"),
        )
        flows = [
            Flow(
                name=name,
                flow=flow,
                title=title,
                active=version,
                state="running",
                ticks=1_843_220,
                last_tick=utc_text(now),
                us_per_tick=38.4,
            )
            for name, flow, title in names
        ]
        if not self.healthy:
            reason = "The tag oven/door does not exist on this gateway; declare it or change the parameter `door`."
            flows.append(
                Flow(
                    name="oven_door",
                    flow="oven/door",
                    active="",
                    state="stopped",
                    reason=reason,
                    wanted=version,
                    fate="refused",
                    fate_reason=reason,
                )
            )
        return flows

    def _outputs(self) -> list[Output]:
        dark = {name: Element(level="off") for name in ("red", "amber", "green", "blue", "buzzer")}
        wish = HeldRequest(
            owner="andon_press1/lamp", pattern={"green": "on"}, priority=500, since=self.ago(24 * MINUTE)
        )
        alarm = HeldRequest(
            owner="andon_filler/lamp", pattern={"red": "flash"}, priority=500, since=self.ago(3 * MINUTE)
        )
        return [
            Output(
                name="light1",
                elements=dark | {"green": Element(level="on", winner="andon_press1/lamp")},
                shown="ok",
                requests=[wish],
            ),
            Output(
                name="light2",
                elements=dark
                | {
                    "red": Element(level="flash", winner="andon_filler/lamp"),
                    "blue": Element(level="flash_fast", winner="andon_filler/call"),
                },
                shown="ok" if self.healthy else "unknown",
                reason="" if self.healthy else "The module has not confirmed the last write.",
                requests=[alarm],
            ),
        ]
