"""Who an alert is: one keyed hash for files, Prometheus and the webhook alike, of raw labels.

Identity is taken before scrubbing, so that two hosts whose addresses both become `<IPV4>` stay
two. The hash is keyed BLAKE2b (RFC 7693), so that nobody without the key can test guesses of
what was hashed. A file's service is the label `service`, its name the label `alertname`.
"""

import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from noisegate.errors import SettingsError
from noisegate.settings import Settings
from noisegate.store.database import make_home

KEY_FILE = "identity.key"
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity key and which labels count.

    `identity_labels` name the labels of the fingerprint (empty: all but `ignore_labels`; an alert
    that has none of them falls back to that, too). `replica_labels` tell HA replicas apart and
    count nowhere. A label with an empty value is an absent one, as in Prometheus.
    """

    key: bytes = field(repr=False)
    key_id: str
    identity_labels: frozenset[str] = frozenset()
    ignore_labels: frozenset[str] = frozenset()
    replica_labels: frozenset[str] = frozenset()

    @classmethod
    def from_settings(cls, settings: Settings) -> "Identity":
        """Read the key, or create it on first use.

        Raises:
            SettingsError: the key file is broken, readable by others, or cannot be created.
        """
        key, key_id = _load_or_create(make_home(settings) / KEY_FILE)
        return cls(
            key,
            key_id,
            frozenset(settings.identity_labels),
            frozenset(settings.ignore_labels),
            frozenset(settings.replica_labels),
        )

    def fingerprint(self, labels: Labels) -> str:
        """Identify the series of an alert by its raw labels: 32 hex digits."""
        present = {k: v for k, v in labels.items() if v and k not in self.replica_labels}
        kept = {k: v for k, v in present.items() if k in self.identity_labels}
        kept = kept or {k: v for k, v in present.items() if k not in self.ignore_labels}
        return self._digest("fingerprint", _canonical(kept))

    def fingerprint_of(self, theirs: str) -> str:
        """Identify a series by the fingerprint that its source gave it: 32 hex digits."""
        return self._digest("their fingerprint", theirs)

    def series(self, labels: Labels) -> str:
        """Stand for all labels (ignored ones too, replicas not): `alert_id` without an own id."""
        present = {k: v for k, v in labels.items() if v and k not in self.replica_labels}
        return self._digest("series", _canonical(present))

    def alert_id(
        self,
        source: str,
        starts_at: int,
        labels: Labels,
        own_id: str | None = None,
    ) -> str:
        """Identify one alert by source, start (microseconds) and own id, else all raw labels."""
        series = self.series(labels)
        return self.alert_ids(source, [own_id], [series], [starts_at], [0])[0]

    def alert_ids(
        self,
        source: str,
        own_ids: Iterable[str | None],
        series: Iterable[str],
        starts_at: Sequence[int] | np.ndarray,
        occurrence: Sequence[int] | np.ndarray,
    ) -> list[str]:
        """Identify alerts, 32 hex digits each; all arguments but `source` are one per alert.

        Args:
            source: name of the system that the alerts come from.
            own_ids: the id that the source gave, or None: then the series stands in.
            series: from `series`.
            starts_at: microseconds since 1970.
            occurrence: tells alerts without an own id apart that are alike in all else.
        """
        start = np.asarray(starts_at).tolist()
        nth = np.asarray(occurrence).tolist()
        key = self.key
        return [
            blake2b(
                (
                    f"{source}\0{at}\0labels\0{labels}\0{n}"
                    if own is None
                    else f"{source}\0{at}\0id\0{own}"
                ).encode(errors="surrogatepass"),
                key=key,
                digest_size=16,
                person=b"alert",
            ).hexdigest()
            for own, labels, at, n in zip(own_ids, series, start, nth, strict=True)
        ]

    def _digest(self, kind: str, content: str) -> str:
        message = f"{kind}\0{content}".encode(errors="surrogatepass")
        return blake2b(message, key=self.key, digest_size=16).hexdigest()


def _canonical(labels: Labels) -> str:
    # Lengths before the texts: no two sets of labels are written alike.
    return "".join([f"{len(k)}:{k}{len(v)}:{v}" for k, v in sorted(labels.items())])


def _load_or_create(path: Path) -> tuple[bytes, str]:
    try:
        if not path.exists():
            _create(path)
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be created or read ({error.strerror}): let this user write there, "
            "or choose another NOISEGATE_HOME"
        ) from None
    if mode & 0o077:
        raise SettingsError(f"{path} is readable by others (mode {mode:o}): chmod 600 it")
    try:
        found = json.loads(path.read_text())
        key, key_id = bytes.fromhex(found["key"]), str(found["key_id"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(f"{path} is no identity key: restore it from a backup") from None
    if len(key) != 32:
        raise SettingsError(f"{path}: the key has {len(key)} bytes, not 32: restore it")
    return key, key_id


def _create(path: Path) -> None:
    # Whole or not at all, and once: `link` fails where another process was first, and its key wins.
    temporary = path.with_name(f".{KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    content = json.dumps({"key_id": secrets.token_hex(4), "key": secrets.token_hex(32)})
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
    finally:
        temporary.unlink()
