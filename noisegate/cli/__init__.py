"""The `noisegate` command: the composition root; a command parses, calls one function, prints."""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typer import Typer

_SERVICES = ("exporter",)
"""Commands that run until they are stopped, mostly with nobody watching."""


def main() -> None:
    """Run the command line; an error is one line on standard error and an exit code of its own."""
    # Before anything of theirs is imported: nobody is told that we run.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

    from noisegate.cli.app import app
    from noisegate.errors import NoisegateError, UnforeseenError
    from observability import entry

    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    called = _words(app, arguments)
    try:
        with entry.command(called, service=called in _SERVICES):
            app(arguments)
    except NoisegateError as error:
        if debug:
            print(_traceback(error), file=sys.stderr)
        print(f"noisegate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("noisegate: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            print(_traceback(error), file=sys.stderr)
            sys.exit(1)
        # No message: an unforeseen one might quote an alert.
        name = error if isinstance(error, UnforeseenError) else type(error).__name__
        print(
            f"noisegate: unexpected {name}: run again with --debug and report it",
            file=sys.stderr,
        )
        sys.exit(1)


def _traceback(error: BaseException) -> str:
    """The frames of an error and its causes; of others' errors no words, for they may quote alerts.

    Standard error may be a log, and a traceback is for somebody's bug report.
    """
    from traceback import format_tb

    from noisegate.errors import NoisegateError, UnforeseenError

    parts = []
    cause: BaseException | None = error
    while cause is not None:
        ours = isinstance(cause, NoisegateError | UnforeseenError)
        said = f"{type(cause).__name__}: {cause}" if ours else type(cause).__name__
        parts.append("".join(["Traceback:\n", *format_tb(cause.__traceback__), said]))
        after = None if cause.__suppress_context__ else cause.__context__
        cause = cause.__cause__ or after
    return "\n\nwhich led to\n\n".join(reversed(parts))


def _words(app: "Typer", arguments: list[str]) -> str:
    """The words that name the command, such as "models promote": no option, no argument."""
    from typer.main import get_command

    command: Any = get_command(app)
    words = []
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument)
        if command is None:
            break
        words.append(argument)
    return " ".join(words)
