"""The metrics as Prometheus reads them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeflow.testing.loop import in_virtual_time
from tests.agent.conftest import SITE, Folder

FLOW = "nodes: {x: {kind: src, tag: d/x}, sum: {kind: sum}}\nwires: [x -> sum]\n"


@in_virtual_time
async def scraped(folder: Folder) -> str:
    folder.write(SITE + "flows: {f: {flow: t/f}}", {"t/f": FLOW})
    async with folder.open() as gateway, gateway.run():
        await asyncio.sleep(2.25)
        return gateway.measures.render().decode()


def test_the_counters_of_every_part_are_there_with_labels_of_the_configuration_only(folder: Folder) -> None:
    text = scraped(folder)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    device = ("device", "d"), ("driver", "fake")
    assert samples["edgeflow_device_state", *device, ("state", "good")] == 1
    assert samples["edgeflow_device_state", *device, ("state", "bad")] == 0
    assert samples["edgeflow_device_polls_total", *device] in range(20, 25)
    assert samples["edgeflow_flow_running", ("flow", "f")] == 1
    assert samples["edgeflow_store_commits_total",] >= 2
    assert samples["edgeflow_store_lost_total",] == 0
    labels = {name for key in samples if key[0].startswith("edgeflow_") for name, _ in key[1:]}
    assert labels == {"device", "driver", "state", "link", "flow", "output", "version", "class"}


def test_promtool_finds_nothing(folder: Folder) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=scraped(folder), text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
