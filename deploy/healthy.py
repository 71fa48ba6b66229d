"""Exit 0 if all answer: `healthy.py http://HOST:PORT/PATH | tcp:HOST:PORT | unix:PATH ...`."""

import socket
import sys
import urllib.request

TIMEOUT_S = 4.0


def answers(where: str) -> bool:
    """Whether an HTTP address says 200, or a socket lets itself be connected to."""
    try:
        if where.startswith("http"):
            with urllib.request.urlopen(where, timeout=TIMEOUT_S) as response:
                return bool(response.status == 200)
        kind, _, rest = where.partition(":")
        host, _, port = rest.rpartition(":")
        family, address = (
            (socket.AF_UNIX, rest) if kind == "unix" else (socket.AF_INET, (host, int(port)))
        )
        with socket.socket(family) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(address)
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if all(answers(where) for where in sys.argv[1:]) else 1)
