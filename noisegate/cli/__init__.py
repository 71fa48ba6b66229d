"""The `noisegate` command: the composition root; a command parses, calls one function, prints."""

import os
import sys


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

    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        app(arguments)
    except NoisegateError as error:
        if debug:
            raise
        print(f"noisegate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("noisegate: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        # No message: an unforeseen one might quote an alert.
        name = error if isinstance(error, UnforeseenError) else type(error).__name__
        print(
            f"noisegate: unexpected {name}: run again with --debug and report it",
            file=sys.stderr,
        )
        sys.exit(1)
