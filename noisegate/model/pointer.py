"""The pointer: one small file that names the champion for the gate."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from noisegate.errors import MissingError

_FILE = "champion.json"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the gate decides with: a version of the registry and its folder under the home."""

    version: int
    digest: str
    audit_id: int
    """The audit row that this pointer follows."""
    at: int
    """When it was pointed there, microseconds since 1970, UTC."""

    def folder(self, home: Path) -> Path:
        """The champion's folder."""
        return home / "models" / self.digest


def read_pointer(home: Path) -> Pointer | None:
    """The pointer under this home; None if there never was one.

    Raises:
        MissingError: the file is there and cannot be read as a pointer.
    """
    path = home / _FILE
    try:
        return Pointer(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise MissingError(
            f"{path} is not readable ({type(error).__name__}): run `noisegate doctor --fix`"
        ) from None


def write_pointer(home: Path, pointer: Pointer) -> None:
    """Point at another champion: a reader sees the old file or the new one, always whole."""
    home.mkdir(parents=True, exist_ok=True)
    scratch = home / f".{_FILE}.{os.getpid()}"
    with scratch.open("w", encoding="utf-8") as file:
        json.dump(asdict(pointer), file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(home / _FILE)
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)
