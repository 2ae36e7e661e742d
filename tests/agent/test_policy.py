"""The output policy of a gateway: every effect that can move the plant is under it, by whatever service."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeflow.agent.config import Config, load
from edgeflow.errors import ConfigError
from edgeflow.node import installed

GATEWAY = """\
gateway: {name: line1}
links:
  broker: {driver: mqtt, host: 10.0.0.2}
  press1: {driver: modbus, host: 10.0.0.5}
devices:
  oven:
    link: broker
    base: plant
    every: 10 s
    tags:
      setpoint: {topic: oven/state, path: setpoint, type: number, writable: true, set: oven/set}
      hidden: {topic: oven/state, path: hidden, type: number, set: oven/hidden}
  cell:
    link: broker
    every: 10 s
    sparkplug: {group: g, node: n, device: d}
    tags:
      speed: {metric: Speed, type: number, writable: true}
flows:
  sends: {flow: test/sends}
flow_path: [flows]
output_policy: policy.yaml
"""


def site(folder: Path, node: str, policy: str = "rules: []\n") -> Config:
    (folder / "flows/test/sends").mkdir(parents=True, exist_ok=True)
    (folder / "gateway.yaml").write_text(GATEWAY)
    (folder / "policy.yaml").write_text(policy)
    flow = f"flow: test/sends\nnodes:\n  in: {{kind: tag, tag: oven/setpoint}}\n  out: {node}\nwires: [in -> out]\n"
    (folder / "flows/test/sends/flow.yaml").write_text(flow)
    return load(folder / "gateway.yaml", installed(), {})


def refusal(folder: Path, node: str, policy: str = "rules: []\n") -> str:
    with pytest.raises(ConfigError) as error:
        site(folder, node, policy)
    return str(error.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("topic", "tag"),
    [
        ("plant/oven/set", "oven/setpoint"),
        ("plant/oven/hidden", "oven/hidden"),
        ("spBv1.0/g/DCMD/n/d", "cell/speed"),
        ("spBv1.0/g/NCMD/n", "cell/speed"),
    ],
)
def test_an_output_that_is_forbidden_is_not_driven_by_its_topic(tmp_path: Path, topic: str, tag: str) -> None:
    node = f"{{kind: mqtt_publish, topic: {topic}}}"
    found = refusal(tmp_path, node)
    assert found.startswith(f"flows/test/sends/flow.yaml:4:29 nodes.out.topic: {topic} sets the tag {tag};"), found
    if tag != "oven/hidden":  # which is no output: it is not writable
        assert site(tmp_path, node, f"rules: [{{output: {tag}, flows: [sends]}}]\n").flows
    named = f"rules: []\nreach: [{{service: mqtt, to: [{topic}], flows: [se*]}}]\n"
    assert site(tmp_path, node, named).flows


def test_without_any_policy_a_topic_that_sets_a_tag_is_for_a_write_node(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write it with a `write` node"):
        site(tmp_path, "{kind: mqtt_publish, topic: plant/oven/set}", "rules: [{output: cell/*, flows: ['*']}]\n")
    assert site(tmp_path, "{kind: mqtt_publish, topic: line1/oven}").flows


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://10.0.0.5/relay?turn=on", "behind a link"),
        ("http://127.0.0.1:8080/api/v1/status", "this gateway itself"),
        ("http://[::ffff:127.0.0.1]/", "this gateway itself"),
        ("http://" + "169.254.169.254/latest", "network card or host"),
    ],
)
def test_an_address_that_a_flow_may_not_reach_is_told_before_it_runs(tmp_path: Path, url: str, words: str) -> None:
    found = refusal(tmp_path, f'{{kind: http_request, url: "{url}"}}')
    assert "nodes.out.url: " in found
    assert words in found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('url: "http://user:hunter2@mes.example/"', "holds no user and no password"),
        ('url: "http://hunter2@mes.example?a"', "holds no user and no password"),
        ('url: "htp://user:hunter2@mes.example/"', "begins with http://"),
        ('url: "http://mes.example/", headers: {host: other}', "host belongs to the connection"),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path, settings: str, words: str) -> None:
    found = refusal(tmp_path, f"{{kind: http_request, {settings}}}")
    assert words in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        (
            "reach: [{service: smtp, to: [a], flows: ['*']}]",
            "policy.yaml:2:10 reach.1.service: there is no service 'smtp'",
        ),
        ("reach: [{service: http, to: ['a b'], flows: ['*']}]", "reach.1.to.1: write a host (`mes.example`)"),
        ("reach: [{service: mqtt, to: [], flows: ['*']}]", "reach.1.to: name what may be reached"),
        ("reach: [{service: mqtt, to: [a], flows: [sendz]}]", "there is no flow 'sendz'; did you mean 'sends'?"),
    ],
)
def test_a_mistake_in_what_may_be_reached_is_told_at_its_place(tmp_path: Path, policy: str, line: str) -> None:
    assert line in refusal(tmp_path, "{kind: mqtt_publish, topic: a}", f"rules: []\n{policy}\n")
