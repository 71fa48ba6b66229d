import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from noisegate.errors import SettingsError
from noisegate.settings import Settings
from noisegate.store.identity import Identity

MakeSettings = Callable[..., Settings]
LABELS = {"alertname": "DiskFull", "service": "shop", "instance": "10.0.0.1:9100", "pod": "a-1"}


def test_the_key_is_made_once_and_for_its_owner_only(make_settings: MakeSettings) -> None:
    settings = make_settings()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: Identity.from_settings(settings), range(16)))
    path = settings.home / "identity.key"
    assert {i.key for i in found} == {bytes.fromhex(json.loads(path.read_text())["key"])}
    assert (path.stat().st_mode & 0o777, settings.home.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [p.name for p in settings.home.iterdir()] == ["identity.key"]
    assert found[0].key.hex() not in repr(found[0])


@pytest.mark.parametrize(
    "break_key",
    [
        pytest.param(lambda path: path.chmod(0o644), id="readable by others"),
        pytest.param(lambda path: path.write_text("{}"), id="broken"),
        pytest.param(lambda path: path.write_text('{"key_id": "1", "key": "00"}'), id="too short"),
    ],
)
def test_a_bad_key_is_refused(
    make_settings: MakeSettings, break_key: Callable[[Path], object]
) -> None:
    settings = make_settings()
    Identity.from_settings(settings)
    break_key(settings.home / "identity.key")
    with pytest.raises(SettingsError, match=r"identity\.key"):
        Identity.from_settings(settings)


@pytest.mark.parametrize(
    ("options", "other", "same"),
    [
        pytest.param({}, {"pod": "b-2"}, True, id="ignored labels do not count"),
        pytest.param({}, {"instance": "10.0.0.2:9100"}, False, id="other labels do"),
        pytest.param({}, {"team": ""}, True, id="an empty label is an absent one"),
        pytest.param(
            {"identity_labels": ["alertname", "service"]},
            {"instance": "10.0.0.2:9100"},
            True,
            id="identity_labels alone count",
        ),
        pytest.param(
            {"identity_labels": ["team"]},
            {"instance": "10.0.0.2:9100"},
            False,
            id="with none of the identity_labels all others count",
        ),
        pytest.param(
            {"replica_labels": ["instance"]},
            {"instance": "10.0.0.2:9100"},
            True,
            id="replica labels do not count",
        ),
    ],
)
def test_fingerprint(
    make_settings: MakeSettings, options: dict[str, object], other: dict[str, str], same: bool
) -> None:
    identity = Identity.from_settings(make_settings(**options))
    assert (identity.fingerprint(LABELS) == identity.fingerprint(LABELS | other)) is same


def test_the_order_of_labels_does_not_count(make_settings: MakeSettings) -> None:
    identity = Identity.from_settings(make_settings())
    backwards = dict(reversed(LABELS.items()))
    assert identity.fingerprint(LABELS) == identity.fingerprint(backwards)
    assert identity.alert_id("am", 1, LABELS) == identity.alert_id("am", 1, backwards)


def test_labels_that_look_alike_when_joined_stay_apart(make_settings: MakeSettings) -> None:
    identity = Identity.from_settings(make_settings())
    assert identity.fingerprint({"a": "1,b=2"}) != identity.fingerprint({"a": "1", "b": "2"})
    assert identity.fingerprint({"a": "11:b"}) != identity.fingerprint({"a": "1", "1": "b"})


def test_another_key_gives_other_fingerprints(make_settings: MakeSettings, tmp_path: Path) -> None:
    here = Identity.from_settings(make_settings())
    there = Identity.from_settings(make_settings(home=tmp_path / "other"))
    assert here.key_id != there.key_id
    assert here.fingerprint(LABELS) != there.fingerprint(LABELS)


def test_alert_ids_tell_source_start_and_own_id_apart(make_settings: MakeSettings) -> None:
    identity = Identity.from_settings(make_settings(replica_labels=["replica"]))
    ids = {
        identity.alert_id("am", 1, LABELS),
        identity.alert_id("am", 2, LABELS),
        identity.alert_id("file", 1, LABELS),
        identity.alert_id("am", 1, LABELS | {"pod": "b-2"}),  # of one fingerprint, yet not one
        identity.alert_id("am", 1, LABELS, own_id="7"),
    }
    assert len(ids) == 5
    assert all(len(i) == 32 for i in ids)
    assert identity.alert_id("am", 1, LABELS | {"replica": "b"}) in ids
