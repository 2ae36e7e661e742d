"""The command `edgeflow`: finds the verb; `run` and the tools of drivers start without the libraries of the others."""

from __future__ import annotations

import sys

from edgeflow.errors import EXIT_CONFIG, EXIT_FAILURE, ConfigError, EdgeFlowError


def main() -> None:
    """Runs the command line and exits: 0, 1 failure, 2 usage, 78 bad configuration."""
    try:
        if sys.argv[1:2] == ["run"]:
            from edgeflow.cli.run import run  # noqa: PLC0415 - starts in half the time without the others

            run(sys.argv[2:])
        elif _is_driver(*sys.argv[1:2]):
            from edgeflow.cli.tool import main as tool  # noqa: PLC0415 - as above

            tool(sys.argv[1], sys.argv[2:])
        else:
            from edgeflow.cli.commands import app  # noqa: PLC0415 - as above

            app(prog_name="edgeflow")
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    except EdgeFlowError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_FAILURE)
    except KeyboardInterrupt:
        sys.exit(130)


def _is_driver(word: str = "") -> bool:
    from edgeflow.driver import names  # noqa: PLC0415 - `run` loads it after what must come before

    return word in names()


if __name__ == "__main__":
    main()
