"""A Prefect server for one run, where none is configured: `python -m flows.server`.

It listens on a free port of the loopback, prints the address when it answers, and ends when its
standard input closes: so it dies with the run that started it, however that run dies.
"""

import os
import socket
import threading

import uvicorn
from prefect.server.api.server import create_app


class _Server(uvicorn.Server):
    """Says where it listens as soon as it does."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self.url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self.url, flush=True)


def main() -> None:
    """Serve until standard input closes."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
    config = uvicorn.Config(create_app(ephemeral=True), log_level="error", lifespan="on")
    server = _Server(config, url)

    def leave() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock would be in the way of a clean exit
            pass
        server.should_exit = True
        # Services that will not end must not outlive the run.
        threading.Timer(5, os._exit, (0,)).start()

    threading.Thread(target=leave, daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
