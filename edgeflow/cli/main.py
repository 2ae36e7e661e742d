"""The command `edgeflow`: finds the verb; `run` and `central` start without the command-line libraries."""

from __future__ import annotations

import sys

from edgeflow.errors import EXIT_CONFIG, EXIT_FAILURE, ConfigError, EdgeFlowError


def main() -> None:
    """Runs the command line and exits: 0, 1 failure, 2 usage, 78 bad configuration."""
    try:
        if sys.argv[1:2] == ["run"]:
            from edgeflow.cli.run import run  # noqa: PLC0415 - starts in half the time without the others

            run(sys.argv[2:])
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


if __name__ == "__main__":
    main()
