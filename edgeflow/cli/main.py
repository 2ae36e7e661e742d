"""The command `edgeflow`: finds the verb; a plain `run` starts without the libraries of the others."""

from __future__ import annotations

import getopt
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgeflow.errors import EXIT_CONFIG, EXIT_FAILURE, ConfigError, EdgeFlowError

_LOOPS: dict[str | None, Literal["uvloop", "asyncio"]] = {None: "uvloop", "uvloop": "uvloop", "asyncio": "asyncio"}
COMPLETE = "_EDGEFLOW_COMPLETE"
"""Set by a shell that asks what can be typed."""


def main() -> None:
    """Runs the command line and exits: 0, 1 failure, 2 usage, 78 bad configuration."""
    begun_s = time.monotonic()
    try:
        if sys.argv[1:2] != ["run"] or not _run(sys.argv[2:]):
            from edgeflow.cli.commands import program  # noqa: PLC0415 - takes longer than `run` may

            program(_named())(sys.argv[1:], prog_name="edgeflow")
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    except EdgeFlowError as error:
        print(error, file=sys.stderr)
        if "run" in sys.argv[1:3]:
            from edgeflow.cli.process import pause_before_restart  # noqa: PLC0415 - loaded already by what has run

            pause_before_restart(time.monotonic() - begun_s)
        sys.exit(EXIT_FAILURE)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(arguments: Sequence[str]) -> bool:
    """Runs the agent where the options are as units write them; False leaves help and mistakes to the command line."""
    try:
        options, rest = getopt.gnu_getopt(list(arguments), "", ["state=", "loop="])
    except getopt.GetoptError:
        return False
    given = dict(options)
    if len(rest) > 1 or given.get("--loop") not in _LOOPS:
        return False
    from edgeflow.cli.run import run  # noqa: PLC0415 - it loads in an order of its own

    run(
        Path(rest[0]) if rest else Path("/etc/edgeflow/gateway.yaml"), given.get("--state"), _LOOPS[given.get("--loop")]
    )
    return True


def _named() -> list[str]:
    """The driver whose tools are meant, where the verb is one."""
    from edgeflow.driver import names  # noqa: PLC0415 - `run` loads it after what must come before

    # A shell that asks what can be typed says elsewhere what has been.
    words = os.environ.get("COMP_WORDS", "").split() if COMPLETE in os.environ else sys.argv
    return [name for name in names() if name in words[1:2]]


if __name__ == "__main__":
    main()
