"""The command line as people and systemd use it: words, exit codes, and an agent run and asked by it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgeflow import __version__
from edgeflow.plant.port import free_port
from tests.cli.shop import Running

ROOT = Path(__file__).resolve().parents[2]
VERBS = [
    "run", "validate", "test", "read", "write", "demo", "version", "sim plant", "central run", "central token", "flow push",
]  # fmt: skip


def edgeflow(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGEFLOW")}
    return subprocess.run(
        [sys.executable, "-m", "edgeflow.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
        env={**kept, **environment},
    )


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            assert process.poll() is None, f"it has ended with {process.returncode}"
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


def test_the_version_is_printed_and_nothing_else() -> None:
    done = edgeflow("version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


def test_without_a_verb_the_verbs_are_told() -> None:
    done = edgeflow()
    assert done.returncode in (0, 2)
    told = done.stdout + done.stderr
    assert all(verb.split()[0] in told for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_each_of_its_options(verb: str) -> None:
    done = edgeflow(*verb.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert f"edgeflow {verb}" in done.stdout
    options = [i for i, line in enumerate(lines) if line.startswith(("--", "-h,"))]
    for i in options:
        words = [word for word in lines[i].split() if not word.startswith(("-", "<", "["))]
        assert words or not lines[i + 1].startswith("-"), f"{lines[i]} says nothing"


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("read",),
        ("read", "nope"),
        ("read", "d/x", "--bogus"),
        ("write", "d/x"),
        ("write", "d/", "3"),
        ("run", "--bogus"),
        ("run", "a.yaml", "b.yaml"),
        ("central", "run", "--port", "x"),
        ("flow", "push", "."),
    ],
    ids=" ".join,
)
def test_a_wrong_use_says_how_and_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = edgeflow(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage" in done.stderr.lower()
    assert "Traceback" not in done.stderr


# configurations


@pytest.mark.parametrize("name", ["demo.yaml"])
def test_a_good_configuration_is_valid(name: str) -> None:
    done = edgeflow("validate", ROOT / "config" / name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" is valid: 5 links, 5 devices, 53 tags, 1 output, 5 flows\n")


@pytest.mark.parametrize("verb", ["validate", "run"])
def test_a_bad_configuration_is_told_line_by_line_and_exits_with_78(tmp_path: Path, verb: str) -> None:
    (tmp_path / "gateway.yaml").write_text("gateway:\n  nmae: line1\n")
    done = edgeflow(verb, "gateway.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert sorted(done.stderr.splitlines()) == [
        "gateway.yaml:1:1 gateway.name: is required",
        "gateway.yaml:2:3 gateway.nmae: unknown key 'nmae'; did you mean 'name'?",
    ]
    assert not (tmp_path / "edgeflow.db").exists()


def test_a_bad_variable_of_the_environment_is_named(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("gateway: {name: line1}\n")
    done = edgeflow("validate", "gateway.yaml", cwd=tmp_path, EDGEFLOW__HTTP__PORT="eighty")
    assert done.returncode == 78
    assert (
        done.stderr
        == "environment EDGEFLOW__HTTP__PORT http.port: 'eighty' is not a whole number; write a whole number\n"
    )


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = edgeflow("validate", tmp_path / "none.yaml")
    assert (done.returncode, done.stderr) == (78, f"{tmp_path}/none.yaml cannot be read: No such file or directory\n")


def test_where_no_state_folder_can_be_made_the_agent_does_its_job_and_says_that_nothing_is_saved(
    tmp_path: Path,
) -> None:
    port = free_port()
    (tmp_path / "gateway.yaml").write_text(f"gateway: {{name: line1}}\nhttp: {{port: {port}}}\n")
    (tmp_path / "file").write_text("")
    with Running(tmp_path, "run", tmp_path / "gateway.yaml", "--state", tmp_path / "file" / "state") as agent:
        agent.said("agent started")
        said = agent.log.read_text()
        assert "admin.token cannot be used as the token file (Not a directory)" in said
        assert "edgeflow.db cannot be opened: Not a directory" in said
        assert "Traceback" not in said
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30).close()
        assert refused.value.code == 503
        assert "nothing can be saved" in refused.value.read().decode()


# golden cases


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A flow of our own with a case that passes and one that fails."""
    flow = ROOT / "flows" / "energy" / "meter"
    for path in [flow / "flow.yaml", *sorted((flow / "cases").glob("*.yaml"))[:1]]:
        target = tmp_path / "meter" / path.relative_to(flow)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path / "meter"


def test_cases_that_pass_are_counted(counted: Path) -> None:
    done = edgeflow("test", counted)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "1 passed, 0 failed"


def test_a_case_that_fails_shows_the_difference_and_exits_with_1(counted: Path) -> None:
    (case,) = (counted / "cases").glob("*.yaml")
    wrong = counted / "cases" / "wrong.yaml"
    wrong.write_text(
        case.read_text().split("\nexpect:")[0] + "\nexpect: {records: [{stream: nothing, data: {n: 1}}]}\n"
    )
    done = edgeflow("test", counted)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[-1] == "1 passed, 1 failed"
    failed = next(i for i, line in enumerate(lines) if line.startswith(f"FAIL {wrong}"))
    assert lines[failed + 1].startswith("       "), "what differs is below it"


def test_no_cases_are_no_success(tmp_path: Path) -> None:
    done = edgeflow("test", tmp_path)
    assert done.returncode != 0
    assert "cases" in done.stdout + done.stderr


# against an agent


def test_without_an_agent_it_says_what_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("0123456789abcdef\n")
    url = f"http://127.0.0.1:{free_port()}"
    for arguments in (("read", "d/x"), ("write", "d/x", "3", "--state", tmp_path)):
        done = edgeflow(*arguments, "--agent", url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{url} does not answer (")
        assert done.stderr.endswith("is it running, and is this its address?\n")


def test_what_has_no_address_of_its_own_is_browsed_by_the_name_of_its_driver() -> None:
    done = edgeflow("browse", "modbus", "--host", "127.0.0.1", "--port", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("127.0.0.1:1 cannot be reached")
    done = edgeflow("browse", "10.0.0.7")
    assert done.returncode == 2
    assert "'10.0.0.7' is no address: write opc.tcp://host:4840" in done.stderr


def test_without_a_token_it_says_where_it_is_sought(tmp_path: Path) -> None:
    done = edgeflow("write", "d/x", "3", "--state", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path}/admin.token cannot be read (No such file or directory): name the state")
    assert "--token-file" not in done.stderr, "this verb has none"
    done = edgeflow("flow", "push", "f", "--gateway", "g", "--token-file", tmp_path / "t")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"{tmp_path}/t cannot be read (No such file or directory): name the token file (--token"
    )


def test_a_server_that_is_none_of_ours_is_told_so() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        asked = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "edgeflow.cli.main",
                "read",
                "d/x",
                "--agent",
                f"http://127.0.0.1:{server.getsockname()[1]}",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
        _, told = asked.communicate(timeout=30)
    assert asked.returncode == 1
    assert "Traceback" not in told
    assert "does not answer" in told


CONFIG = """\
gateway: {{name: line1}}
http: {{port: {port}}}
links: {{plc: {{driver: modbus, host: 127.0.0.1, port: {dead}}}}}
devices:
  d:
    link: plc
    unit: 1
    tags: {{x: {{register: 0}}, y: {{register: 1, writable: true}}, part/z: {{register: 2}}, on: {{coil: 0, writable: true}}}}
"""


class Agent:
    def __init__(self, folder: Path) -> None:
        self.folder, port = folder, free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "gateway.yaml").write_text(CONFIG.format(port=port, dead=free_port()))
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgeflow.cli.main", "run", folder / "gateway.yaml", "--state", folder / "state"],
            stderr=self.log,
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(self.url + "/healthz", timeout=5).close()
            except OSError:
                assert self.process.poll() is None, (folder / "log").read_text()
                signal.sigtimedwait([], 0.05)
            else:
                return
        raise AssertionError("the agent does not answer")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.log.close()
        return code


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("agent"))
    yield agent
    assert agent.end() == 0
    events = [json.loads(line) for line in (agent.folder / "log").read_text().splitlines()]
    assert [event["event"] for event in events if event["level"] == "info"][-2:] == ["stopping", "stopped"]
    assert all(event["level"] in ("info", "warning") for event in events)


def test_a_tag_of_a_dead_device_is_read_as_bad_with_the_reason(agent: Agent) -> None:
    for _ in range(100):
        done = edgeflow("read", "d/x", "--agent", agent.url)
        if "refused" in done.stdout:
            break
    assert done.returncode == 1
    assert done.stdout.startswith("d/x = no value  (bad: ")
    whole = json.loads(edgeflow("read", "d/x", "--json", "--agent", agent.url).stdout)
    assert (whole["name"], whole["quality"], whole["value"]) == ("d/x", "bad", None)


def test_a_tag_may_have_a_slash_in_its_name(agent: Agent) -> None:
    assert edgeflow("read", "d/part/z", "--agent", agent.url).stdout.startswith("d/part/z = no value  (bad: ")


def test_the_agent_of_this_machine_is_asked_where_its_settings_say_that_it_is(agent: Agent) -> None:
    port = agent.url.rpartition(":")[2]
    assert edgeflow("read", "d/x", EDGEFLOW__HTTP__PORT=port).stdout.startswith("d/x = no value  (bad: ")


def test_a_tag_that_does_not_exist_is_told_with_those_near_it(agent: Agent) -> None:
    done = edgeflow("read", "d/xx", "--agent", agent.url)
    assert (done.returncode, done.stderr) == (1, "Not found: There is no tag 'd/xx'; did you mean 'd/x'?\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("d/x", "-3"), "Refused: d/x is not writable"),
        (("d/y", "three"), "The body does not fit: value: d/y takes a whole number"),
        (("d/y", "3", "--lease", "3"), "lease: write a number and one of the units"),
        (("d/y", ""), "The body does not fit: value: d/y takes a whole number, not ''\n"),
        (("d/y", ".nan"), "The body does not fit: value: d/y takes a whole number, not '.nan'\n"),
        (("d/on", "maybe"), "The body does not fit: value: d/on takes true or false, not 'maybe'\n"),
        (("d/on", "yes"), "The device does not answer: d/on: not written: "),
        (("d/on", "Off"), "The device does not answer: d/on: not written: "),
    ],
    ids=["not writable", "not a number", "no lease", "nothing", "not finite", "no switch", "yes", "off"],
)
def test_a_write_that_cannot_be_is_told_why(agent: Agent, arguments: tuple[str, ...], words: str) -> None:
    done = edgeflow("write", *arguments, "--agent", agent.url, "--state", agent.folder / "state")
    assert done.returncode == 1
    assert words in done.stderr


def test_a_second_agent_on_the_same_state_is_turned_away(agent: Agent) -> None:
    done = edgeflow("run", agent.folder / "gateway.yaml", "--state", agent.folder / "state", EDGEFLOW__HTTP__PORT="0")
    assert done.returncode == 1
    assert "is in use by another process; stop that one first" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_demo_that_cannot_write_its_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = edgeflow("demo", "--folder", tmp_path / "file" / "demo")
    assert done.returncode == 1
    assert "name another one with --folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told_in_words(agent: Agent, tmp_path: Path) -> None:
    done = edgeflow("run", agent.folder / "gateway.yaml", "--state", tmp_path)
    assert done.returncode == 1, "systemd tries it again: the port may be free by then"
    assert str(agent.url.rpartition(":")[2]) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("log", ["full", "closed", "pipe"])
def test_logs_that_cannot_be_written_do_not_end_the_process(tmp_path: Path, log: str) -> None:
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGEFLOW")}
    command = [sys.executable, "-m", "edgeflow.cli.main", "central", "run", "--state", str(tmp_path / "s")]
    broken, end = os.pipe()
    os.close(broken)
    if log == "full":
        os.close(end)
        end = os.open("/dev/full", os.O_WRONLY)
    shell = ["/bin/sh", "-c", f'exec "$@" {"2>&-" if log == "closed" else ""}', "sh", *command, "--port", str(port)]
    process = subprocess.Popen(shell, env=kept, stderr=end)
    os.close(end)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/healthz", process)
    finally:
        process.terminate()
        process.wait(20)


def test_a_lost_terminal_ends_it_properly_and_signals_that_mean_nothing_do_not(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "edgeflow.cli.main", "central", "run", "--state", tmp_path, "--port", str(port)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509  # one thread; who runs the tests may ignore it
    )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/healthz", process)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
            process.send_signal(number)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(20)
