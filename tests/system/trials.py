"""What is done to a line, what must hold while and after it, and how long things took.

Each trial takes a line that runs, disturbs it, asserts, leaves it running, and returns figures in seconds
or counts. The tests run the short forms, `campaign.py` the long ones.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.system.books import EXIT, UNKNOWN, Sums, check_records, check_time, lamp_is_right, settled, whole
from tests.system.line import Answer, Json, Line, ask, flow_copy, instant, until

LAMP, LAMP_S = "lamp right after the restart, s", 3.0
"""The lamp is right again so soon after a restart of the agent."""
UNKNOWN_S = 5.0
"""The lamp says that nothing is known so soon after the last good sample."""
BACK_S = 10.0
"""Data is back so soon after a device has recovered."""
SWAP_S = 5.0
"""A pushed flow runs so soon."""
TRIAL_S = 6.0
"""How long a new version is on trial in these trials."""
WATCHDOG_S = 3.0
"""The I/O module's watchdog, as config/demo.yaml sets it."""


@dataclass
class Figures:
    """What was measured, by name."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> float:
        self.values.setdefault(name, []).append(value)
        return value

    def rows(self) -> list[tuple[str, str]]:
        """Name and figures as text: the value, or median and maximum of several."""
        return [(name, _text(found)) for name, found in self.values.items()]


def _text(found: list[float]) -> str:
    if len(found) == 1:
        return f"{found[0]:g}" if found[0] == int(found[0]) else f"{found[0]:.4g}"
    return f"median {median(found):.3f}  max {max(found):.3f}  n {len(found)}"


# 1 and 2: killing the agent, losing the central server


def kills(line: Line, times: int, seed: int, figures: Figures, pause_s: tuple[float, float] = (0.3, 6.0)) -> None:
    """`kill -9` of the agent at random moments, away for 0 to 5 s, and the lamp looked at after each restart."""
    chance = random.Random(seed)
    for n in range(times):
        time.sleep(chance.uniform(*pause_s))
        line.agent.kill()
        time.sleep(chance.choice((0.0, chance.uniform(0, 5))))
        begun = line.agent.start()
        figures.add(LAMP, _lamp_right_since(line, begun, n))


def early_kills(line: Line, times: int, seed: int) -> None:
    """`kill -9` while the agent starts: 0 to 2 s after its beginning, again and again."""
    chance = random.Random(seed)
    line.agent.kill()
    for _ in range(times):
        line.agent.start()
        time.sleep(chance.uniform(0, 2))
        line.agent.kill()
    line.agent.start()
    line.ready()


def _lamp_right_since(line: Line, begun: float, n: int) -> float:
    """When the lamp was right for the state, and the agent is the one who says so."""

    def right() -> bool:
        return lamp_is_right(line.truth()) and bool(_answers(line))

    until(f"the lamp is right after restart {n + 1}", right, 15, 0.02)
    return time.time() - begun


def _answers(line: Line) -> bool:
    try:
        lamp = next(output for output in line.status()["outputs"] if output["name"] == "line1/lamp")
    except (OSError, Answer):
        return False
    return bool(lamp["shown"] == "ok")


def balance(line: Line, figures: Figures) -> Sums:
    """Holds the machines, and compares everything at the central server with the truth."""
    truth = line.produce(running=False)
    begun = time.time()
    sums = settled(line, truth)
    figures.add("central has the truth after, s", time.time() - begun)
    for name in ("press", "filler"):
        figures.add(f"{name} good", sums.good[name])
        figures.add(f"{name} reject", sums.reject[name])
    figures.add("kWh", sums.kwh)
    figures.add("kWh off the truth", abs(sums.kwh - truth["meter"]["kwh"]))
    until("the queue is empty", lambda: line.status()["outbox"]["records"] == 0)
    records = line.records()
    check_records(records)
    check_time(line)
    figures.add("records at central", len(records))
    figures.add("epochs", len({entry["epoch"] for entry in records}))
    return sums


def central_away(line: Line, seconds: float, figures: Figures, *, kill: bool = False) -> None:
    """The central server gone for a while: the queue is shown, and everything comes when it is back."""
    line.central.kill() if kill else line.central.stop()
    gone = time.time()
    away = until("the agent says that central is away", lambda: _away(line), 15)
    figures.add("told as away after, s", time.time() - gone)
    assert away["central"]["last_error"]
    time.sleep(max(0.0, gone + seconds - time.time()))
    status = until("results are queued", lambda: _queued(line), 30)
    figures.add("queued records", status["outbox"]["records"])
    left_s = status["outbox"]["capacity_left_s"]
    if status["gateway"]["uptime_s"] > 65:  # the pace is known after a minute
        assert left_s, "the time left is not shown"
    figures.add("time left shown, h", (left_s or 0) / 3600)
    line.start_central()
    up = time.time()
    until("the agent is connected again", lambda: line.status()["central"]["connected"], 30, 0.02)
    figures.add("reconnected after, s", time.time() - up)
    until("the queue is empty", lambda: line.status()["outbox"]["records"] == 0, 30, 0.02)
    figures.add("drained after, s", time.time() - up)


def _away(line: Line) -> Json | None:
    status = line.status()
    return None if status["central"]["connected"] else status


def _queued(line: Line) -> Json | None:
    status = line.status()
    return status if status["outbox"]["records"] else None


# 3: a device fails


def device_fails(line: Line, device: str, fault: str, seconds: float, figures: Figures) -> None:
    """A device hangs, drops or restarts: told, shown, booked as unknown, and back; the others go on."""
    machine = f"{device} {fault}"
    before_s, others = _unknown_s(line, device), _polls(line, device)
    counted = time.time()
    line.fault(device, fault)
    begun = time.time()
    bad = until(f"{device} is told as bad", lambda: _bad(line, device), 15, 0.02)
    figures.add(f"{machine}: told as bad after, s", time.time() - begun)
    assert all(quality == "bad" and reason for _, quality, reason in line.tags(device).values())
    last_good = instant(bad["last_good"])
    if device == "press":
        shown = until("the lamp shows unknown", lambda: _shown_since(line, bad["last_good"], UNKNOWN), 15, 0.05)
        assert (
            figures.add(f"{machine}: unknown on the lamp after the last good sample, s", shown - last_good) <= UNKNOWN_S
        )
    time.sleep(max(0.0, begun + seconds - time.time()))
    _pace(others, _polls(line, device), time.time() - counted)
    line.fault(device, "none")
    ended = time.time()
    until(f"{device} is good again", lambda: line.device(device)["state"] == "good", 30, 0.02)
    assert figures.add(f"{machine}: data back after recovery, s", time.time() - ended) <= BACK_S
    back = instant(line.device(device)["last_good"])
    assert all(quality == "good" for _, quality, _ in line.tags(device).values())
    if device == "press":
        until("the lamp shows the state again", lambda: lamp_is_right(line.truth()), 10, 0.02)
    outage_s = back - last_good
    until("a result of the time after the outage", lambda: instant(_oee(line, device)["at"]) > back, 15)
    grown_s = _unknown_s(line, device) - before_s
    figures.add(f"{machine}: outage, s", outage_s)
    figures.add(f"{machine}: booked as unknown, s", grown_s)
    assert outage_s - UNKNOWN_S <= grown_s <= outage_s + 1.0


def garbled(line: Line, seconds: float, figures: Figures) -> None:
    """Press and meter answer garbage: what is wrong is never taken for a value, and counting goes on from the right ones."""
    before = {name: line.device(name)["failed"] for name in ("press", "meter")}
    for name in before:
        line.fault(name, "garble", seconds)
    time.sleep(seconds)
    for name, failed in before.items():
        until(f"{name} is good again", lambda name=name: line.device(name)["state"] == "good", BACK_S)  # type: ignore[misc]
        assert figures.add(f"{name}: garbled answers told", line.device(name)["failed"] - failed) > 0


def _bad(line: Line, device: str) -> Json | None:
    found = line.device(device)
    return found if found["state"] == "bad" and found["reason"] else None


def _oee(line: Line, device: str) -> Json:
    return until(f"a result of {device}", lambda: line.live("oee", f"{device}/"), 15)


def _unknown_s(line: Line, device: str) -> float:
    return float(_oee(line, device)["data"]["unknown_s"])


def _polls(line: Line, but: str) -> dict[str, tuple[int, float]]:
    """Polls so far and the pace wished for, of every polled device but one."""
    return {
        d["name"]: (d["polls"], d["every_s"]) for d in line.status()["devices"] if d["every_s"] and d["name"] != but
    }


def _pace(before: dict[str, tuple[int, float]], after: dict[str, tuple[int, float]], seconds: float) -> None:
    for name, (polls, every_s) in before.items():
        made, wished = after[name][0] - polls, seconds / every_s
        assert abs(made - wished) <= 2 + wished * 0.05, f"{name} was read {made} times in {seconds:.1f} s"


def _shown_since(line: Line, since: str, pattern: dict[str, str]) -> float | None:
    """When the light began to show a pattern after a moment."""
    spells = line.lamp(since)["patterns"]
    return next((instant(spell["from"]) for spell in spells if spell["pattern"] == whole(pattern)), None)


# 4: what the lamp shows when the agent is gone


def killed_lamp(line: Line, figures: Figures) -> None:
    """Killed: the watchdog of the I/O module darkens the lamp."""
    _lit(line)
    at = line.truth()["at"]
    killed = line.agent.kill()
    dark = until("the watchdog has darkened the lamp", lambda: _dark_since(line, at), 10)
    assert 0 < figures.add("killed: dark after, s", dark - killed) <= WATCHDOG_S + 0.5
    assert line.truth()["lamp"]["watchdog"] == 2
    line.agent.start()
    line.ready()


def stopped_lamp(line: Line, figures: Figures) -> None:
    """Stopped: the declared exit pattern, until the watchdog darkens it."""
    _lit(line)
    at = line.truth()["at"]
    stopped = line.agent.stop()
    figures.add("stopped: ended after, s", time.time() - stopped)
    dark = until("the watchdog has darkened the lamp", lambda: _dark_since(line, at), 10)
    changes = [(instant(c["at"]), {n for n, lit in c["levels"].items() if lit}) for c in line.lamp(at)["changes"]]
    left = [when for when, lit in changes if lit == set(EXIT)]
    assert left, f"the exit pattern was not shown: {changes}"
    assert changes[-1][1] == set()
    assert changes[-2][1] == set(EXIT), "something else came after the exit pattern"
    figures.add("stopped: exit pattern after, s", left[-1] - stopped)
    shown_s = figures.add("stopped: exit pattern for, s", dark - left[-1])
    assert WATCHDOG_S - 0.5 <= shown_s <= WATCHDOG_S + 1.5
    line.agent.start()
    line.ready()


def _lit(line: Line) -> None:
    until("the lamp is lit", lambda: any(line.truth()["lamp"]["levels"].values()) and lamp_is_right(line.truth()), 15)


def _dark_since(line: Line, since: str) -> float | None:
    last = line.lamp(since)["changes"][-1]
    return None if any(last["levels"].values()) else instant(last["at"])


# 5: flows change

LINT = ("refused at central", lambda text: text.replace("- state -> oee.state", "- stat -> oee.state"))
TAG = ("refused by the gateway", lambda text: text.replace('"{machine}/fault"', '"{machine}/faults"'))
_BROKEN = "nodes:\n  word: {kind: constant, value: x}\n  line: {kind: scale, factor: 2}\n"
START = (
    "fails at start",
    lambda text: text.replace("nodes:\n", _BROKEN).replace("wires:\n", "wires:\n  - word -> line\n"),
)
TRIAL = (
    "fails on trial",
    lambda text: text.replace("nodes:\n", _BROKEN + "  late: {kind: debounce, on_delay: 700 ms}\n").replace(
        "wires:\n", "wires:\n  - word -> late\n  - late -> line\n"
    ),
)
BROKEN: tuple[tuple[str, Callable[[str], str]], ...] = (LINT, TAG, START, TRIAL)


def flow_changes(line: Line, folder: Path, figures: Figures) -> None:
    """A good version runs soon and keeps counting; broken ones are refused with a reason and change nothing."""
    before = line.flow("press-oee")
    counted = _counted(line)
    begun = time.time()
    path = flow_copy("oee/press", folder, lambda text: text.replace("by shift", f"by shift, {begun:.0f}"))
    pushed = line.push(path, "press-oee")
    assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    assert figures.add("a changed flow runs after (whole command), s", time.time() - begun) <= SWAP_S + 2
    now = line.flow("press-oee")
    assert (now["state"], now["fate"]) == ("running", "trial")
    assert now["active"] != before["active"]
    assert _counted(line) >= counted, "the counts began anew"
    until("it goes on counting", lambda: _counted(line) > counted, 30)
    until("it is accepted", lambda: line.flow("press-oee")["fate"] == "accepted", TRIAL_S + 5)
    for name, change in BROKEN:
        begun = time.time()
        refused = line.push(flow_copy("oee/press", folder, change), "press-oee")
        figures.add(f"{name}: told after, s", time.time() - begun)
        said = refused.stdout + refused.stderr
        assert refused.returncode in (1, 78), f"{name}: {refused.returncode} {said}"
        if refused.returncode == 78:
            assert "flow.yaml:" in said, said
        else:
            assert f"{now['active'][:12]} goes on: " in said, said
        after = line.flow("press-oee")
        assert after["active"] == now["active"], f"{name}: the old version does not go on"
        assert (after["state"], after["fate"]) in (
            ("running", "refused"),
            ("running", "rolled_back"),
            ("running", "accepted"),
        ), after
        still = _counted(line)
        assert still >= counted
        until(f"the old one goes on after: {name}", lambda still=still: _counted(line) > still, 30)  # type: ignore[misc]

    _crash_after_pushes(line, now["active"])


def _crash_after_pushes(line: Line, version: str) -> None:
    """After a crash the good version runs, though the wish at central is still the broken one."""
    still = _counted(line)
    line.agent.kill()
    line.agent.start()
    line.ready()
    until("the broken one is refused again", lambda: line.flow("press-oee")["fate"] != "accepted", 15)
    assert line.flow("press-oee")["active"] == version
    until("the good one counts after the crash", lambda: _counted(line) > still, 30)


def _counted(line: Line) -> int:
    found = line.live("oee", "press/")
    return int(found["data"]["total"]) if found else 0


# 9: operators


def operator(line: Line, figures: Figures) -> None:
    """Reads and writes from the command line, and the page's buttons, with and without the token."""
    agent = line.url("agent")
    read = line.edgeflow("read", "press/good", f"--agent={agent}")
    assert read.returncode == 0, read.stderr
    assert "press/good = " in read.stdout
    assert "(good," in read.stdout
    begun = time.time()
    write = line.edgeflow(
        "write",
        "io1/blue",
        "true",
        "--lease=3 s",
        "--reason=trying",
        f"--agent={agent}",
        f"--state={line.folder}/agent",
    )
    assert write.returncode == 0, write.stderr
    assert line.truth()["lamp"]["levels"]["blue"]
    figures.add("written by the command line after, s", time.time() - begun)
    owners = [request["owner"] for o in line.status()["outputs"] for request in o["requests"]]
    assert "operator:http" in owners
    until("the lease ends by itself", lambda: lamp_is_right(line.truth()), 10)
    for path, body in (("tags/io1/blue", {"value": True, "reason": "no token"}), ("andon/press-andon/raise", {})):
        _refused(f"{agent}/api/v1/{path}", body)
    token = line.token("agent")
    ask(f"{agent}/api/v1/andon/press-andon/raise", {"by": "trial"}, token=token)
    until("blue flashes", lambda: line.truth()["lamp"]["pattern"]["blue"] == "flash", 10)
    ask(f"{agent}/api/v1/andon/press-andon/acknowledge", {"by": "trial"}, token=token)
    until("blue is steady", lambda: line.truth()["lamp"]["pattern"]["blue"] == "on", 10)
    ask(f"{agent}/api/v1/andon/press-andon/resolve", {"by": "trial"}, token=token)
    until("the lamp shows the state again", lambda: lamp_is_right(line.truth()), 10)
    until("the call is at central", lambda: _closed_calls(line), 15)
    line.agent.stop()
    audit = _audit(line.folder / "agent" / "edgeflow.db")
    assert ("operator:http", "write line1/lamp", "io1/blue = True: trying") in audit
    assert [what for who, what, _ in audit if who == "operator:trial"], audit
    line.agent.start()
    line.ready()


def _audit(database: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT who, what, detail FROM audit ORDER BY id").fetchall()


def _refused(url: str, body: Json) -> None:
    status = 200
    try:
        ask(url, body)
    except Answer as answer:
        status = answer.status
    assert status == 401, f"{url} answers {status} without the token"


def _closed_calls(line: Line) -> list[Json]:
    return [r for r in line.results("andon") if r["status"] == "final" and r["data"].get("type") == "maintenance"]
