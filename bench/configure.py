"""Writes the gateway configuration for the peer benchmark: every tag by itself, as a user writes them."""

from __future__ import annotations

import os
from pathlib import Path

import yaml


def main() -> None:
    """Prints the configuration for what the environment asks."""
    devices, regs = int(os.environ["DEVICES"]), int(os.environ["REGS"])
    rate, first_port = f"{os.environ['RATE_MS']} ms", int(os.environ["SIM_PORT"])
    tags = {"now": {"register": 0, "type": "uint64"}, "chg": {"register": 4, "type": "uint64"}}
    tags |= {f"t{i}": {"register": i, "scale": 0.1} for i in range(8, regs)}
    tags["andon"] = {"coil": 0, "writable": True, "read": False}
    names = [f"d{i}" for i in range(devices)]
    flow = {"flow": "bench/device"}
    config = {
        "gateway": {"name": "bench"},
        "http": {"port": int(os.environ["HTTP_PORT"])},
        "links": {
            name: {"driver": "modbus", "host": "127.0.0.1", "port": first_port + i} for i, name in enumerate(names)
        },
        "devices": {name: {"link": name, "every": rate, "tags": tags} for name in names},
        "services": {"mqtt": {"host": "127.0.0.1", "port": int(os.environ["MQTT_PORT"])}},
        "flow_path": [str(Path(__file__).parent / "flows")],
        "flows": {
            f"bench-{name}": {**flow, "with": {"machine": name, "topic": f"t/{i}"}} for i, name in enumerate(names)
        },
    }
    print(yaml.safe_dump(config, sort_keys=False))


if __name__ == "__main__":
    main()
