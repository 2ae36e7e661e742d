"""The demo for hours with faults on: does the memory of the agent or of the central server grow?

`python tests/system/soak.py --hours 2` prints what both need, and the slope after the first quarter of the time; exits 1
where one is `--limit` MB/h or more. Faults come in turn, pages and measurements are asked for all the time.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgeflow.cli import api
from edgeflow.cli.demo import WANTED
from edgeflow.plant.port import free_port
from tests.system.test_demo import Demo

EVERY_S, FAULT_S, PAUSE_S = 10.0, 20.0, 40.0
FAULTS = [
    (device, fault)
    for fault in ("hang", "drop", "restart", "garble")
    for device in ("press", "meter", "io1", "filler", "oven")
    if not (fault == "garble" and device in ("filler", "oven"))
]


def slope(samples: list[tuple[float, float]]) -> float:
    """MB per hour, by least squares over (seconds, MB)."""
    n = len(samples)
    mean_s, mean_mb = sum(s for s, _ in samples) / n, sum(mb for _, mb in samples) / n
    spread = sum((s - mean_s) ** 2 for s, _ in samples)
    return 3600 * sum((s - mean_s) * (mb - mean_mb) for s, mb in samples) / spread


def main() -> int:
    """Runs the demo and measures; 0 where nothing grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0, help="how long (2)")
    parser.add_argument("--limit", type=float, default=0.5, help="MB/h that are too much (0.5)")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="edgeflow-soak-"))
    ports = {name: free_port() for name in WANTED}
    started = Demo(folder, *(f"--{name}-port={port}" for name, port in ports.items()))
    try:
        at = started.running()
        return measured(started, at, given.hours * 3600, given.limit)
    finally:
        started.end(15)


def measured(started: Demo, at: dict[str, str], seconds: float, limit: float) -> int:
    """Takes samples while faults come and go, then judges."""
    parts = {name: process for process in started.family() for name in ("agent", "central") if _is(process, name)}
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    begun, faults = time.monotonic(), itertools.cycle(FAULTS)
    fault_due, said_due = begun + PAUSE_S, begun
    while (now := time.monotonic()) < begun + seconds:
        if now >= fault_due:
            device, fault = next(faults)
            api.post(
                at["truth"].removesuffix("/truth"), "/faults", {"device": device, "fault": fault, "seconds": FAULT_S}
            )
            fault_due = now + FAULT_S + PAUSE_S
        for path in ("api/v1/status", "metrics", "api/v1/tags"):
            with urllib.request.urlopen(at["agent"] + path, timeout=30) as answer:
                answer.read()
        for name, process in parts.items():
            samples[name].append((now - begun, process.memory_full_info().uss / 1e6))
        if now >= said_due:
            figures = ", ".join(f"{name} {found[-1][1]:.1f} MB" for name, found in samples.items())
            print(f"{(now - begun) / 60:5.0f} min  {figures}", flush=True)
            said_due = now + 300
        time.sleep(EVERY_S)
    failed = False
    for name, found in samples.items():
        late = [sample for sample in found if sample[0] >= seconds / 4]
        grows = slope(late)
        failed |= grows >= limit
        print(
            f"{name}: {grows:+.2f} MB/h after the first {seconds / 240:.0f} min; {late[0][1]:.1f} MB, then {late[-1][1]:.1f} MB"
        )
    return int(failed)


def _is(process: psutil.Process, name: str) -> bool:
    words = process.cmdline()
    return "edgeflow.cli.main" in words and words[words.index("edgeflow.cli.main") + 1] == {"agent": "run"}.get(
        name, name
    )


if __name__ == "__main__":
    sys.exit(main())
