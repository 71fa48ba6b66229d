"""The scrubber: what comes out, what is counted, and what a policy changes."""

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from noisegate.errors import SettingsError
from noisegate.scrub import DEFAULT_POLICY, Entity, Policy, Scrubber, Treatment
from noisegate.scrub.engine import CHUNK_CHARS
from noisegate.scrub.memory import Memory
from noisegate.scrub.rule import Copy, Rule, Span
from noisegate.scrub.rules import RULES

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
    blanks = " " * (CHUNK_CHARS // 50)
    texts = [f"{blanks} host {n} at 10.0.0.{n}" for n in range(200)]

    scrubbed, counts = Scrubber().texts(texts)

    assert scrubbed == [f"{blanks} host {n} at <IPV4>" for n in range(200)]
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


def test_a_finding_says_what_found_it_and_why() -> None:
    (one,) = Scrubber().findings("pay 4111 1111 1111 1111 now")

    assert (one.token, one.rule, one.kept) == ("CREDIT_CARD", "card", "")
    assert "Luhn" in one.why


# Settings of one's own

BADGE = Rule(
    "badge", Entity.CUSTOM, Copy.TEXT, ("BDG-",), r"BDG-(?P<x>\d{1,9})", token="BADGE", why="ours"
)


def test_a_rule_of_one_s_own_writes_its_own_token() -> None:
    scrubber = Scrubber(rules=(BADGE, *RULES))

    scrubbed, counts = scrubber.texts(["BDG-77 at 10.0.0.1"])

    assert scrubbed == ["BDG-<BADGE> at <IPV4>"]
    assert counts == {"CUSTOM": 1, "IPV4": 1}
    assert [one.token for one in scrubber.findings("BDG-77")] == ["BADGE"]


def test_a_token_of_one_s_own_is_no_part_of_another_find() -> None:
    """`Bearer x` is a secret; what a rule of one's own left of it is none."""
    scrubber = Scrubber(rules=(BADGE, *RULES))
    plain = Scrubber()
    text = "mail a.<BADGE>jane@example.com"

    assert plain.texts([text])[0] == ["mail a.<BADGE><EMAIL>"]
    assert scrubber.texts([text])[0] == [text]


def test_an_allowed_text_stays_uncounted_and_nothing_else_takes_it() -> None:
    asked: list[tuple[Entity, str]] = []

    def allow(entity: Entity, text: str) -> bool:
        asked.append((entity, text))
        return entity is Entity.EMAIL and text.endswith("@example.com")

    scrubber = Scrubber(allow=allow)
    text = "user=ops@example.com, jane@example.org at 10.0.0.1"

    scrubbed, counts = scrubber.texts([text])

    assert scrubbed == ["user=ops@example.com, <EMAIL> at <IPV4>"]
    assert counts == {"EMAIL": 1, "IPV4": 1}
    assert (Entity.EMAIL, "ops@example.com") in asked
    assert [one.kept for one in scrubber.findings(text)] == ["allowed", "", ""]


def test_a_find_that_the_policy_keeps_says_so() -> None:
    scrubber = Scrubber(Policy(by_entity={Entity.IPV4: Treatment.KEEP}))

    assert [one.kept for one in scrubber.findings("10.0.0.1 a@example.com")] == ["policy", ""]
    assert scrubber.lets_stand(Entity.IPV4, "10.0.0.1")
    assert not scrubber.lets_stand(Entity.EMAIL, "a@example.com")


class Names:
    """A recogniser that knows one name, and what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[list[Span]]:
        self.asked += texts
        starts = [text.find(self.name) for text in texts]
        return [[(at, at + len(self.name))] if at >= 0 else [] for at in starts]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("Jane Doe", "ask Jane Doe at 10.0.0.1", "ask <PERSON> at <IPV4>"),
        ("Jane Doe", "é%20 \u200bJane Doe, 10.0.0.1", "é%20 \u200b<PERSON>, <IPV4>"),
        ("Zoe\u0308 D", "ask Zoe\u0308 D at é", "ask <PERSON> at é"),
        ("Jane D", "mail Jane Doe@example.com", "mail <PERSON> <EMAIL>"),
        ("EMAIL", "to <EMAIL> now", "to <EMAIL> now"),
        ("\u200b", "a\u200bb", "a\u200bb"),
    ],
    ids=["in plain text", "in a folded text", "with a combining mark", "beside what a rule finds",
         "not in our own tokens", "nothing that is seen"],
)  # fmt: skip
def test_names_of_persons_come_from_a_recogniser(name: str, text: str, expected: str) -> None:
    scrubbed, counts = Scrubber(people=Names(name)).texts([text])

    assert scrubbed == [expected]
    assert counts["PERSON"] == expected.count("<PERSON>")


def test_the_recogniser_reads_each_distinct_text_once() -> None:
    names = Names("Jane")
    scrubber = Scrubber(people=names)

    scrubber.texts(["by Jane", "at 10.0.0.1", "by Jane", "é"])
    scrubber.column(pa.array(["é", "by Jane"]))

    assert sorted(names.asked) == ["at 10.0.0.1", "by Jane", "é"]
    assert [one.rule for one in scrubber.findings("by Jane")] == ["person"]


# What was scrubbed lately


def test_a_text_seen_before_is_not_scanned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scrubber = Scrubber()
    first = scrubber.texts(["at 10.0.0.1", "fine"])
    monkeypatch.setattr(scrubber._scanner, "scan", None)  # a scan would fail

    assert scrubber.texts(["fine", "at 10.0.0.1", "fine"]) == (
        ["fine", "at <IPV4>", "fine"],
        first[1],
    )


def test_two_scrubbers_do_not_share_what_they_wrote() -> None:
    policy = Policy(by_entity={Entity.IPV4: Treatment.KEEP})

    assert scrub("at 10.0.0.1") == "at <IPV4>"
    assert scrub("at 10.0.0.1", policy) == "at 10.0.0.1"


def test_what_is_remembered_has_an_end_and_the_oldest_goes_first() -> None:
    memory = Memory(most_chars=10_000)
    texts = [f"text {n:>100}" for n in range(1_000)]

    for text in texts:
        memory.keep([text], [text.upper()], {0: ("EMAIL",)})

    known, entities = memory.recall(texts)
    places = [place for place, text in enumerate(known) if text is not None]
    assert 10 <= len(places) <= 50
    assert places == list(range(places[0], 1_000))
    assert entities == dict.fromkeys(places, ("EMAIL",))
    assert known[-1] == texts[-1].upper()


# Hyperscan


def test_without_hyperscan_asking_for_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hyperscan", None)  # an import of it fails
    monkeypatch.delitem(sys.modules, "noisegate.scrub.hyper", raising=False)
    rules = [BADGE]  # of no other test, so that nothing is prepared yet

    with pytest.raises(SettingsError, match=r"noisegate\[fast\]"):
        Scrubber(rules=rules, fast=True)
    assert Scrubber(rules=rules).texts(["BDG-1"])[0] == ["BDG-<BADGE>"]


def test_many_threads_scrub_with_the_same_anchors() -> None:
    pytest.importorskip("hyperscan")
    texts = [
        [f"{n} {k} at 10.0.{n}.{k} {'a@example.com ' * 200}" for k in range(20)] for n in range(20)
    ]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(Scrubber(fast=True).texts, texts))

    assert [scrubbed for scrubbed, _ in results] == [
        [f"{n} {k} at <IPV4> {'<EMAIL> ' * 200}" for k in range(20)] for n in range(20)
    ]
