"""The fault campaign in its long form: `python tests/system/campaign.py`; prints what was measured.

Every part asserts what docs/faults.md promises and ends with the first that does not hold; the logs of the
processes are under the folder that is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.system.line import Line
from tests.system.trials import (
    LAMP,
    LAMP_S,
    Figures,
    balance,
    central_away,
    device_fails,
    early_kills,
    flow_changes,
    garbled,
    killed_lamp,
    kills,
    operator,
    stopped_lamp,
)

Trial = Callable[[Line, Figures], None]


def main() -> int:
    """Runs the chosen parts, one line each; 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", help="kills, central, press, filler, garble, lamp, flows, operator; default: all"
    )
    parser.add_argument("--kills", type=int, default=20, help="how often the agent is killed (20)")
    parser.add_argument("--away", type=float, default=120, help="seconds that the central server is away (120)")
    parser.add_argument("--outage", type=float, default=20, help="seconds that a device is away (20)")
    parser.add_argument("--speed", type=float, default=3, help="how much faster than in life the plant runs (3)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="seed of the plant and of the moments")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="edgeflow-campaign-"))

    def killing(line: Line, figures: Figures) -> None:
        kills(line, given.kills, given.seed, figures)
        assert max(figures.values[LAMP]) <= LAMP_S, "the lamp was not right again in time"
        early_kills(line, given.kills, given.seed)

    def losing_central(line: Line, figures: Figures) -> None:
        central_away(line, given.away, figures)
        central_away(line, given.away / 4, figures, kill=True)

    def failing(device: str) -> Trial:
        def trial(line: Line, figures: Figures) -> None:
            for fault in ("hang", "drop", "restart"):
                device_fails(line, device, fault, given.outage, figures)

        return trial

    def darkening(line: Line, figures: Figures) -> None:
        for _ in range(3):
            killed_lamp(line, figures)
            stopped_lamp(line, figures)

    trials: dict[str, Trial] = {
        "kills": killing,
        "central": losing_central,
        "press": failing("press"),
        "filler": failing("filler"),
        "garble": lambda line, figures: garbled(line, given.outage, figures),
        "lamp": darkening,
        "flows": lambda line, figures: flow_changes(line, folder, figures),
        "operator": operator,
    }
    unknown = set(given.parts) - trials.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(trials)}")
    print(f"logs in {folder}, seed {given.seed}, speed {given.speed:g}", flush=True)
    failed = [name for name in given.parts or trials if not _run(name, trials[name], folder, given.speed, given.seed)]
    print(f"failed: {', '.join(failed)}" if failed else "everything holds")
    return bool(failed)


def _run(name: str, trial: Trial, folder: Path, speed: float, seed: int) -> bool:
    figures, begun = Figures(), time.monotonic()
    print(f"\n{name}", flush=True)
    try:
        with Line(folder / name, speed=speed, held=True, seed=seed) as line:
            line.start().produce(running=True)
            trial(line, figures)
            balance(line, figures)
            for part in (line.agent, line.central, line.plant):
                part.stop()
    except AssertionError as error:
        print(f"  DOES NOT HOLD: {error}")
        print("\n".join(getattr(error, "__notes__", ())))
        return False
    finally:
        for what, value in figures.rows():
            print(f"  {what:<62} {value}")
        print(f"  {'whole trial, s':<62} {time.monotonic() - begun:.0f}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
