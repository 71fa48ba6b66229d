"""The scrubber: what comes out, what is counted, and what a policy changes."""

import json

import pyarrow as pa
import pytest

from noisegate.errors import SettingsError
from noisegate.scrub import DEFAULT_POLICY, Entity, Policy, Scrubber, Treatment
from noisegate.scrub.engine import CHUNK_CHARS

KEY = b"sixteen secret bytes"


def scrub(text: str, policy: Policy = DEFAULT_POLICY) -> str:
    (scrubbed,), _ = Scrubber(policy).texts([text])
    assert scrubbed is not None
    return scrubbed


def test_a_text_that_occurs_twice_counts_twice() -> None:
    scrubbed, counts = Scrubber().texts(["at 10.0.0.1", None, "fine", "at 10.0.0.1"])

    assert scrubbed == ["at <IPV4>", None, "fine", "at <IPV4>"]
    assert counts == {"IPV4": 2}


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_a_column_keeps_its_nulls_and_its_length(kind: pa.DataType) -> None:
    column = pa.array(["at 10.0.0.1", None, "", "at 10.0.0.1", "jané@example.com"]).cast(kind)

    scrubbed, counts = Scrubber().column(column)

    assert scrubbed.type == pa.string()
    assert scrubbed.to_pylist() == ["at <IPV4>", None, "", "at <IPV4>", "<EMAIL>"]
    assert counts == {"IPV4": 2, "EMAIL": 1}


@pytest.mark.parametrize("values", [[], [None, None]], ids=["empty", "only nulls"])
def test_a_column_without_texts_comes_back_as_it_is(values: list[None]) -> None:
    scrubbed, counts = Scrubber().column(pa.array(values, pa.string()))

    assert scrubbed.to_pylist() == values
    assert not counts


def test_a_sliced_column_is_scrubbed_in_its_own_rows_only() -> None:
    column = pa.array(["at 10.0.0.1", "at 10.0.0.2", "x"]).slice(1)

    scrubbed, counts = Scrubber().column(column)

    assert scrubbed.to_pylist() == ["at <IPV4>", "x"]
    assert counts == {"IPV4": 1}


def test_texts_of_several_chunks_stay_in_order() -> None:
    texts = [f"{'x' * 5000} host {n} at 10.0.0.{n}" for n in range(200)]
    assert sum(map(len, texts)) > 3 * CHUNK_CHARS

    scrubbed, counts = Scrubber().texts(texts)

    assert scrubbed == [f"{'x' * 5000} host {n} at <IPV4>" for n in range(200)]
    assert counts == {"IPV4": 200}


def test_texts_do_not_run_into_one_another() -> None:
    texts = ["password=", "hunter2 jane@", "example.com 10.0.", "0.1"]

    assert Scrubber().texts(texts)[0] == texts


def test_lone_surrogates_and_nul_do_not_stop_it() -> None:
    assert scrub("a\ud800b jane@example.com\0 10.0.0.1") == "a\ufffdb <EMAIL>\0 <IPV4>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\njane@example.com\\n10.0.0.1", "\\n<EMAIL>\\n<IPV4>"),
        ("x=jane%2540example.com&y=1", "x=<EMAIL>&y=1"),
        ("\\u003cjane@example.com\\u003e", "\\u003c<EMAIL>\\u003e"),
        ("ip \uff11\uff10.0.0.1!", "ip <IPV4>!"),
        ("\x1b[1;31m10.0.0.1\x1b[0mup", "\x1b[1;31m<IPV4>\x1b[0mup"),
        ("p\u0430ssword=hunter2", "p\u0430ssword=<SECRET>"),
        ("zoe\u0308@example.com", "<EMAIL>"),
        ("%E2%80%9Cjane%40example.com%E2%80%9D", "%E2%80%9C<EMAIL>%E2%80%9D"),
    ],
    ids=["JSON escapes", "percent twice", "JSON code points", "full width", "terminal colours",
         "look-alike letter", "combining mark", "percent-encoded UTF-8"],
)  # fmt: skip
def test_disguises_are_seen_through_and_kept(text: str, expected: str) -> None:
    assert scrub(text) == expected


def test_labels_stay_valid_json_with_their_keys() -> None:
    labels = {
        "instance": "10.0.0.1:9100",
        "note": 'said "password=a\\"b" to\njane@example.com',
        "path": "C:\\Users\\nancy\\x.log",
        "token": 'q"uoted1234567890XYZ',
        "pem": "-----BEGIN PRIV" + "ATE KEY-----\nMIIE",
        "umlaut": "zoë@example.com",
    }
    for ascii_only in (True, False):
        scrubbed = json.loads(scrub(json.dumps(labels, ensure_ascii=ascii_only)))

        assert scrubbed.keys() == labels.keys()
        assert scrubbed["instance"] == "<IPV4>:9100"
        assert scrubbed["umlaut"] == "<EMAIL>"
        assert scrubbed["path"] == "C:\\Users\\<USER>\\x.log"
        assert scrubbed["pem"] == "<PRIVATE_KEY>"


def test_what_a_better_find_leaves_of_a_secret_is_scrubbed_too() -> None:
    assert scrub("Credential=AKIA" + "IOSFODNN7EXAMPLE/2026+x9Y") == "Credential=<AWS_KEY><SECRET>"


def test_a_pseudonym_is_stable_under_its_key_and_another_under_another() -> None:
    policy = Policy(by_entity={Entity.EMAIL: Treatment.PSEUDONYM}, key=KEY)
    other = Policy(by_entity={Entity.EMAIL: Treatment.PSEUDONYM}, key=KEY[::-1])

    one, two = scrub("a@example.com b@example.com a@example.com 10.0.0.1", policy).split(" ", 1)

    assert one.startswith("<EMAIL:")
    assert two.endswith(f"{one} <IPV4>")
    assert not two.startswith(one)
    assert scrub("a@example.com", other) != one
    assert scrub(one, policy) == one


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [(Treatment.DROP, "to  at <IPV4>"), (Treatment.KEEP, "to a@example.com at <IPV4>")],
)
def test_an_entity_can_be_dropped_or_kept(treatment: Treatment, expected: str) -> None:
    policy = Policy(by_entity={Entity.EMAIL: treatment})

    (scrubbed,), counts = Scrubber(policy).texts(["to a@example.com at 10.0.0.1"])

    assert scrubbed == expected
    assert counts["EMAIL"] == (treatment is Treatment.DROP)


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 65], ids=["none", "short", "long"])
def test_pseudonyms_need_a_key_of_16_to_64_bytes(key: bytes) -> None:
    with pytest.raises(SettingsError, match=f"scrub key has {len(key)} bytes"):
        Policy(default=Treatment.PSEUDONYM, key=key)


def test_a_policy_does_not_print_its_key() -> None:
    assert "sixteen" not in repr(Policy(key=KEY))


def test_findings_give_places_in_the_text_as_it_came() -> None:
    text = "\u202e\uff4aane@example.com locked 10.0.0.1"

    findings = Scrubber().findings(text)

    assert [(text[f.start : f.end], f.entity, f.rule) for f in findings] == [
        ("\uff4aane@example.com", Entity.EMAIL, "email"),
        ("10.0.0.1", Entity.IPV4, "ipv4"),
    ]
