"""What the READMEs of the drivers tell a new user to type is typed here, as it is written, in the simulated plant.

Of the section "First connection" (and its like in the page on commissioning) every `sh` block is run by one bash, command after command, in an empty folder. Only the
ports are others: those that the plant of the test has. Every command must end well. One that ends in `&` goes on beside
the others, and the command after it is tried again for a while, as a person would. A `text` block right behind shows
what was printed: `...` in a line stands for anything, a line of `...` alone for any lines; how wide columns are does not count.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgeflow.plant.port import free_port
from tests.system.line import COMMAND, until

ROOT = Path(__file__).parents[2]
PAGES = (
    "drivers/edgeflow_modbus/README.md", "drivers/edgeflow_opcua/README.md", "drivers/edgeflow_mqtt/README.md",
    "docs/commissioning.md",
)  # fmt: skip
PORTS = {"press": "5020", "meter": "5021", "io1": "5022", "filler": "4840", "oven": "1883"}
WITHIN_S = 180
_SECTION = re.compile(r"^## (?:First connection|From a register list.*?)\n(.*?)^## ", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HERE = re.compile(r"<<\s*'?(\w+)'?")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a README, and what it and those before it of its block are shown to print."""

    line: int
    command: str
    expected: str | None = None
    first: bool = True


def steps(readme: str) -> list[Step]:
    """The commands of the section, each with the line of the README that it stands in."""
    section = _SECTION.search(readme)
    assert section, "it has no section `First connection` with another one behind it"
    found: list[Step] = []
    end = 0
    for block in _BLOCK.finditer(readme, section.start(1), section.end(1)):
        if block[1] == "sh":
            line = readme.count("\n", 0, block.start(2)) + 1
            found += _commands(block[2], line)
        elif block[1] == "text":
            assert found, "it shows what is printed before anything is typed"
            assert not readme[end : block.start()].strip(), f"what stands before {block[2]!r} is no command"
            found[-1] = replace(found[-1], expected=block[2])
        end = block.end()
    return found


def _commands(block: str, line: int) -> Iterator[Step]:
    """A command is a line, longer where a here-document or a backslash makes it so."""
    lines = iter(block.splitlines())
    first = True
    for text in lines:
        begun, command = line, text
        here = _HERE.search(text)
        while command.endswith("\\") or here:
            more = next(lines)
            command += f"\n{more}"
            line += 1
            if here and more == here[1]:
                break
        line += 1
        if command.strip() and not command.startswith("#"):
            yield Step(begun, command, first=first)
            first = False


def script(found: list[Step], folder: Path) -> str:
    """All of it for one bash: what a command prints goes to a file of its own, what it ended with too."""
    parts = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    again = False
    for number, step in enumerate(found):
        out, code = (shlex.quote(str(folder / f"{number}.{what}")) for what in ("out", "code"))
        tries = 60 if again else 1
        parts.append(
            f"for _ in $(seq {tries}); do\n{{ {step.command}\n}} > {out} 2>&1\n_code=$?\n"
            f"[ $_code = 0 ] && break\nsleep 0.5\ndone\necho $_code > {code}\n[ $_code = 0 ] || exit 1"
        )
        again = step.command.rstrip().endswith(" &")
    return "\n".join(parts) + "\n"


def pattern(shown: str) -> re.Pattern[str]:
    """What a `text` block stands for."""
    lines = []
    for line in even(shown).splitlines():
        text = ".*".join(map(re.escape, line.split("...")))
        lines.append(r"(?:.*\n)*?" if line == "..." else f"{text}\n")
    return re.compile("".join(lines))


def even(text: str) -> str:
    """The same whatever the widths of columns are."""
    return "".join(f"{' '.join(line.split())}\n" for line in text.splitlines())


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A simulated plant as a process; the port that it took for each of those that are written."""
    log = tmp_path_factory.mktemp("plant") / "plant.log"
    ports = [f"--{name}-port=0" for name in ("truth", "press", "meter", "io", "filler", "mqtt")]
    with log.open("wb") as said:
        process = subprocess.Popen([*COMMAND, "sim", "plant", *ports], stdout=said, stderr=said)
    try:
        told = until("the plant runs", lambda: _told(log), 40)
        yield {written: re.findall(r":(\d+)", told[name])[0] for name, written in PORTS.items()}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _told(log: Path) -> dict[str, str] | None:
    lines = [line for line in log.read_text("utf-8").splitlines() if "plant is running" in line]
    return json.loads(lines[0]) if lines else None


@pytest.mark.parametrize("page", PAGES)
def test_the_first_connection_of_a_readme_works_as_it_is_written(
    page: str, plant: dict[str, str], tmp_path: Path
) -> None:
    path = ROOT / page
    written = steps(path.read_text("utf-8"))
    assert written, f"{path} says nothing to type"
    port = re.compile(rf"\b({'|'.join(plant)})\b")
    found = [
        replace(
            step,
            command=port.sub(lambda match: plant[match[1]], step.command),
            expected=step.expected and port.sub(lambda match: plant[match[1]], step.expected),
        )
        for step in written
    ]
    folder, home = tmp_path / "out", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    _run(script(found, folder), home)
    printed = ""
    for number, step in enumerate(found):
        where = f"{path}:{step.line}: {step.command}"
        out, code = folder / f"{number}.out", folder / f"{number}.code"
        assert out.exists(), f"{where}\nwas not come to"
        said = out.read_text("utf-8")
        assert code.exists(), f"{where}\ndid not end within {WITHIN_S} s:\n{said}{_logs(home)}"
        assert code.read_text() == "0\n", f"{where}\nended with {code.read_text()}{said}{_logs(home)}"
        printed = said if step.first else printed + said
        if step.expected is not None:
            assert pattern(step.expected).fullmatch(even(printed)), f"{where}\nprinted\n{printed}\nnot\n{step.expected}"


def _run(text: str, home: Path) -> None:
    """Runs it in a folder, as somebody who has set nothing; ends whatever it leaves."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("EDGEFLOW")}
    ways = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    agent = free_port()
    environment = {**own, "PATH": ways, "EDGEFLOW__HTTP__PORT": str(agent), "TERM": "dumb"}
    process = subprocess.Popen(
        ["bash", "-c", text], cwd=home, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with suppress(subprocess.TimeoutExpired):  # which command it was is told by the files
            process.wait(WITHIN_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _logs(home: Path) -> str:
    return "".join(f"\n{path.name}:\n{path.read_text('utf-8')}" for path in sorted(home.glob("*.log")))


def test_the_commands_of_a_block_are_taken_as_they_are_written() -> None:
    readme = (
        "# Driver\n\n## First connection\n\n```sh\ncat > a.yaml <<'END'\nx: 1\nEND\ncat a.yaml \\\n  a.yaml\n```\n\n"
        "```text\nx: ...\n...\n```\n\n## Settings\n\n```sh\nnot this\n```\n"
    )
    first, second = steps(readme)
    assert (first.line, first.command) == (6, "cat > a.yaml <<'END'\nx: 1\nEND")
    assert (second.line, second.command) == (9, "cat a.yaml \\\n  a.yaml")
    assert second.expected is not None
    assert pattern(second.expected).fullmatch("x: 1\nx: 1\n")
    assert not pattern(second.expected).fullmatch("y: 1\nx: 1\n")
