"""The settings of the scrubber: what they do, and that each wrong one is refused in one line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from noisegate.errors import SettingsError
from noisegate.scrub import Entity, Scrubber
from noisegate.scrub.bounded import bounded
from noisegate.scrub.config import describe, load_scrubber, scrub_digest
from noisegate.scrub.rule import Copy
from noisegate.scrub.rules import RULES
from noisegate.settings import ScrubSettings, load_scrub_settings, load_settings

KEY = "0123456789abcdef" * 2
Load = Callable[[str], Scrubber]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], ScrubSettings]:
    """The settings of a file with this content; beside it lies a key."""
    (tmp_path / "scrub.key").write_text(KEY + "\n")
    (tmp_path / "scrub.key").chmod(0o600)

    def load(content: str) -> ScrubSettings:
        path = tmp_path / "scrub.toml"
        path.write_text(content, encoding="utf-8")
        return load_scrub_settings(path)

    return load


@pytest.fixture
def load(read: Callable[[str], ScrubSettings]) -> Load:
    """The scrubber of a file with this content."""
    return lambda content: load_scrubber(read(content), "scrub.toml")


def scrubbed(scrubber: Scrubber, text: str) -> str:
    (found,), _ = scrubber.texts([text])
    assert found is not None
    assert scrubber.texts([found])[0] == [found], "scrubbing again changes nothing"
    return found


EMPLOYEE = """
[[scrub.patterns]]
id = "employee"
token = "EMPLOYEE"
pattern = 'EMP-\\d{6}'
"""
TEXT = "jane@example.com at 10.0.0.1 and 192.0.2.7, EMP-123456"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            "[scrub]", "<EMAIL> at <IPV4> and <IPV4>, EMP-123456", id="an empty table: tokens"
        ),
        pytest.param(
            "[scrub.treatment]\nEMAIL = 'drop'\nipv4 = 'keep'",
            " at 10.0.0.1 and 192.0.2.7, EMP-123456",
            id="treatments by entity",
        ),
        pytest.param(
            "[scrub]\ndefault = 'keep'\n[scrub.treatment]\nEMAIL = 'token'" + EMPLOYEE,
            "<EMAIL> at 10.0.0.1 and 192.0.2.7, <EMPLOYEE>",
            id="a pattern is scrubbed though the default is keep",
        ),
        pytest.param(
            "[scrub.allow]\nIPV4 = ['10.0.0.0/8']",
            "<EMAIL> at 10.0.0.1 and <IPV4>, EMP-123456",
            id="a network that is allowed",
        ),
        pytest.param(
            "[scrub.allow]\npatterns = ['192\\.0\\.2\\.\\d{1,3}', 'jane']",
            "<EMAIL> at <IPV4> and 192.0.2.7, EMP-123456",
            id="an allowed pattern must match the whole find",
        ),
        pytest.param(
            EMPLOYEE + "treatment = 'drop'",
            "<EMAIL> at <IPV4> and <IPV4>, ",
            id="a pattern that drops",
        ),
        pytest.param(
            "transient_s = 'not looked at'\n[scrub.treatment]\nEMAIL = 'keep'\n[services.x]\ny = 1",
            "jane@example.com at <IPV4> and <IPV4>, EMP-123456",
            id="the other tables of a whole noisegate.toml are not looked at",
        ),
    ],
)
def test_settings_say_what_is_written(content: str, expected: str, load: Load) -> None:
    assert scrubbed(load(content), TEXT) == expected


@pytest.mark.parametrize(
    ("allowed", "stays", "goes"),
    [
        pytest.param("@example.com", "a@Example.com", "a@x.example.com", id="one domain"),
        pytest.param(".example.com", "a@x.example.com", "a@example.com", id="all below a domain"),
        pytest.param("a@example.com", "A@example.com", "b@example.com", id="one address"),
    ],
)
def test_addresses_are_allowed_by_form(allowed: str, stays: str, goes: str, load: Load) -> None:
    scrubber = load(f"[scrub.allow]\nEMAIL = ['{allowed}']")
    text, counts = scrubber.texts([f"to {stays} and {goes}"])
    assert (text, counts) == ([f"to {stays} and <EMAIL>"], {"EMAIL": 1})


def test_a_pseudonym_names_its_key_and_stays_when_the_key_is_changed(load: Load) -> None:
    keyed = "[scrub]\ndefault = 'pseudonym'\nkey_file = 'scrub.key'\nkey_id = 'k1'\n" + EMPLOYEE
    first, second = load(keyed), load(keyed.replace("k1", "k2"))
    text = "mail jane@example.com, then jane@example.com, of EMP-123456 EMP-123457"

    before = scrubbed(first, text)

    one, two, three, four = re.findall(r"<[A-Z]+:k1:[0-9a-f]{12}>", before)
    assert before == f"mail {one}, then {two}, of {three} {four}"
    assert one == two
    assert three != four
    assert scrubbed(second, text) == before.replace(":k1:", ":k2:")
    assert scrubbed(second, before) == before


def test_the_key_comes_from_its_variable_or_from_a_file_for_oneself(
    read: Callable[[str], ScrubSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_file = read("[scrub]\ndefault = 'pseudonym'\nkey_file = 'scrub.key'")
    by_variable = ScrubSettings(default="pseudonym")
    with pytest.raises(SettingsError, match="NOISEGATE_SCRUB_KEY"):
        load_scrubber(by_variable)
    monkeypatch.setenv("NOISEGATE_SCRUB_KEY", KEY)
    written = {load_scrubber(s).texts(["a@example.com"])[0][0] for s in (by_file, by_variable)}
    assert len(written) == 1
    monkeypatch.setenv("NOISEGATE_SCRUB_KEY", KEY[::-1])
    other = load_scrubber(by_variable).texts(["a@example.com"])[0][0]
    assert other not in written
    (tmp_path / "scrub.key").chmod(0o640)
    with pytest.raises(SettingsError, match=r"readable by others \(mode 640\): chmod 600 it"):
        load_scrubber(by_file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(
            "[scrub.treatment]\nEMALL = 'drop'",
            "scrub.toml: [scrub.treatment] EMALL = 'drop': there is no entity EMALL; the nearest "
            "is EMAIL",
            id="a misspelt entity",
        ),
        pytest.param(
            "[scrub.treatment]\nEMAIL = 'hide'",
            "scrub.treatment.EMAIL = 'hide': Input should be 'token', 'pseudonym', 'drop' or",
            id="an unknown treatment",
        ),
        pytest.param("[scrub.treatment]\nCUSTOM = 'drop'", "as treatment", id="custom by entity"),
        pytest.param("[scrub]\nkey = 's3cret'", "NOISEGATE_SCRUB_KEY", id="a key in clear"),
        pytest.param("[scrub]\nkey_id = 'K 2'", "key_id = 'K 2'", id="no key id"),
        pytest.param("[scrub]\ntreatmnt = 1", "no such setting: scrub.treatmnt", id="a setting"),
        pytest.param("[srub]\nx = 1", "has no setting 'srub'", id="a misspelt table"),
        pytest.param("transient_s = 3", "there is no [scrub]", id="no table"),
        pytest.param("[scrub", "is no TOML", id="no TOML"),
        pytest.param(
            "[scrub]\ndefault = 'pseudonym'\nkey_file = 'none.key'", "none.key", id="no such file"
        ),
        pytest.param(
            "[scrub.allow]\nEMIAL = []", "[scrub.allow] EMIAL: there is no entity", id="allow"
        ),
        pytest.param(
            "[scrub.allow]\nEMAIL = ['example.com']",
            "[scrub.allow] EMAIL = 'example.com': write an address, '@example.com'",
            id="a domain without its sign",
        ),
        pytest.param(
            "[scrub.allow]\nIPV4 = ['10.0.0.1/8']", "'10.0.0.1/8' is no network", id="host bits"
        ),
        pytest.param("[scrub.allow]\nIPV4 = ['::/8']", "write it under IPV6", id="the other kind"),
        pytest.param(
            "[scrub.allow]\npatterns = ['a+']", "[scrub.allow] patterns = 'a+'", id="endless"
        ),
        pytest.param(
            EMPLOYEE.replace("EMPLOYEE", "EMAIL"), "token = 'EMAIL'", id="an entity's token"
        ),
        pytest.param(EMPLOYEE.replace("EMPLOYEE", "Emp"), "token = 'Emp'", id="a small token"),
        pytest.param(EMPLOYEE.replace('"employee"', '"email"'), "id is taken", id="a rule's id"),
        pytest.param(EMPLOYEE + EMPLOYEE, "'employee' (number 2): id is taken", id="an id twice"),
        pytest.param(
            EMPLOYEE + EMPLOYEE.replace('"employee"', '"b"') + "treatment = 'drop'",
            "give both the same",
            id="one token, two treatments",
        ),
        pytest.param(
            EMPLOYEE + "treatment = 'keep'", "scrub.patterns.0.treatment = 'keep'", id="kept"
        ),
        pytest.param(
            EMPLOYEE + "examples = ['no ⟦EMP-12⟧ here']",
            "its example 'no ⟦EMP-12⟧ here' is not found as marked (found: nothing)",
            id="an example that is not found",
        ),
        pytest.param(
            EMPLOYEE + "examples = ['EMP-1234567']",
            "(found: ['EMP-123456'])",
            id="an example that is found in part",
        ),
        pytest.param(
            EMPLOYEE + "counter_examples = ['TEMP-123456']",
            "its counter-example 'TEMP-123456' is found",
            id="a counter-example that is found",
        ),
        pytest.param(
            EMPLOYEE + "anchor = 'EMQ'", "its anchor 'EMQ' does not stand in it", id="an anchor"
        ),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(content: str, says: str, load: Load) -> None:
    with pytest.raises(SettingsError) as refused:
        load(content)
    message = str(refused.value)
    assert says in message
    assert "scrub.toml" in message
    assert "\n" not in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"(a+)+$", r"(a|a)*b", r"(.*)*x", r"(a|ab)*c", r"\d+\d+\d+x", r"(x+x+)+y", "id=.+"),
        *(r"(a|a){1,40}b", r"(a?){30}a{30}", "a?" * 30 + "a" * 30, r"(?:a{1,9}){1,9}b"),
        *(r"\d{1,40}\d{1,40}\d{1,40}x", r"(?:[a-z]{1,9} ?){1,20}!", r"(?:a|b|ab){1,12}c"),
        *(r"(?:\w{1,9}\b){1,9}!", r"x(?:(?=a)|a){1,30}y", r"\w{1,200}@\w{1,200}"),
        *(r"(\w)-\1", r"a*+b", r"(?>a|b)c", r"(?i)abc", r"(?x) a b", "(?P<y>ab)", "(?:(?P<x>a))?b"),
        *("", "a?", r"(?=abc)", "(?P<x>)abc", "[", "Заказ-", "é" + "a" * 3 + "\u0301", r"\w{3,40}"),
        *("(" * 400 + "a" + ")" * 400, "[^\\w\\W]a"),
    ],
)
def test_a_pattern_that_can_run_away_or_says_not_where_to_look_is_refused(pattern: str) -> None:
    with pytest.raises(SettingsError, match=r": (?:write|let|make|name|put|add)|: leave|Python's"):
        bounded(pattern)


@pytest.mark.parametrize(
    ("pattern", "on", "anchors", "text", "found"),
    [
        pytest.param(
            r"EMP-\d{6}", Copy.TEXT, ("EMP-",), "aEMP-1234567", "EMP-123456", id="fixed text"
        ),
        pytest.param(
            r"[A-Z]{2}\d{6}[A-D]",
            Copy.SHAPE,
            ("AA000000A",),
            "NINO QQ123456C.",
            "QQ123456C",
            id="a shape",
        ),
        pytest.param(
            r"\b(?:EMP|CO)-\d{3}\b",
            Copy.TEXT,
            ("EMP-", "CO-"),
            r"TEMP-123 \nCO-123",
            "CO-123",
            id="a choice; behind a JSON escape a word starts",
        ),
        pytest.param(
            r"\b[A-Z]{3}-\d{4,8}(?:-[A-Z0-9]{2,6}){0,3}\b",
            Copy.SHAPE,
            ("AAA-0000",),
            "on AXB-12345-EU1, now",
            "AXB-12345-EU1",
            id="repeats that a word's end keeps apart",
        ),
        pytest.param(
            r"cust_[0-9a-f]{8,32}",
            Copy.TEXT,
            ("cust_",),
            "cust_12345678g",
            "cust_12345678",
            id="set",
        ),
        pytest.param(
            r"(?<=tenant=)\w{3,40}",
            Copy.TEXT,
            ("tenant=",),
            "tenant=acme",
            "acme",
            id="look-behind",
        ),
        pytest.param(
            r"tenant=(?P<x>\w{3,40})", Copy.TEXT, ("tenant=",), "tenant=acme", "acme", id="group x"
        ),
        pytest.param(
            r"[a-z]{2,8}-\d{4}\b", Copy.TEXT, ("-",), "to db-12345 ops-1234", "ops-1234", id="inner"
        ),
        pytest.param(
            r"(?<!v)(?<!\.)\d{2,5}_id",
            Copy.TEXT,
            ("_id",),
            "v123_id 45_id",
            "23_id",
            id="both ways",
        ),
        pytest.param(
            r"^\w{2,9}: .{1,9}$", Copy.TEXT, (": ",), "job: nightly", "job: nightly", id="ends"
        ),
        pytest.param(
            r"[Ss]taff\.\d{3}", Copy.TEXT, ("Staff.", "staff."), "staff.007", "staff.007", id="few"
        ),
    ],
)
def test_a_reasonable_pattern_is_accepted_and_finds(
    pattern: str, on: Copy, anchors: tuple[str, ...], text: str, found: str
) -> None:
    made = bounded(pattern)
    assert (made.on, made.anchors) == (on, tuple(map(re.escape, anchors)))
    scrubber = load_scrubber(ScrubSettings(patterns=[_pattern(pattern)]))
    # Others stand beside it, and what belongs to them is none of its.
    texts = ["-1", text, f"{text[::-1]}", "", "9"]
    by_id = [[one for one in scrubber.findings(t) if one.rule == "own"] for t in texts]
    first = by_id[1][0]
    assert text[first.start : first.end] == found
    after, _ = scrubber.texts(texts)
    assert after[1] is not None
    assert "<OWN>" in after[1]
    assert len(after) == len(texts)


def _pattern(pattern: str, **more: object) -> dict[str, object]:
    return {"id": "own", "token": "OWN", "pattern": pattern} | more


def test_case_is_ignored_where_it_is_said() -> None:
    pattern = _pattern(r"Staff-[A-C]\d{2}", ignore_case=True, anchor="aff-")
    scrubber = load_scrubber(ScrubSettings(patterns=[pattern]))
    assert scrubbed(scrubber, "sTAFF-b12 ＳＴＡＦＦ-c34 stuff-a1") == "<OWN> <OWN> stuff-a1"


def test_what_a_rule_of_ours_leaves_of_a_pattern_s_find_is_scrubbed_too() -> None:
    scrubber = load_scrubber(ScrubSettings(patterns=[_pattern(r"case .{5,80}!")]))
    after, counts = scrubber.texts(["case of a@example.com, closed!"])
    assert re.fullmatch(r"<OWN>\W{0,2}<EMAIL>\W{0,2}<OWN>", str(after[0]))
    assert counts == {"CUSTOM": 2, "EMAIL": 1}


def test_the_environment_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISEGATE_SCRUB__TREATMENT__EMAIL", "drop")
    monkeypatch.setenv("NOISEGATE_SCRUB__ALLOW", '{"IPV4": ["10.0.0.0/8"]}')
    scrubber = load_scrubber(load_settings().scrub)
    assert scrubber.texts([TEXT])[0] == [" at 10.0.0.1 and <IPV4>, EMP-123456"]


def test_the_digest_follows_what_comes_out_and_nothing_else(
    read: Callable[[str], ScrubSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOISEGATE_SCRUB_KEY", KEY)
    keyed = "[scrub.treatment]\nEMAIL = 'pseudonym'\n"
    different = [
        "[scrub]\n",
        "[scrub.treatment]\nEMAIL = 'drop'",
        "[scrub.allow]\nEMAIL = ['@example.com']",
        EMPLOYEE,
        EMPLOYEE + "ignore_case = true",
        EMPLOYEE + "treatment = 'drop'",
        EMPLOYEE + EMPLOYEE.replace("employee", "b"),
        keyed,
        "[scrub]\nkey_id = 'k2'\n" + keyed,
    ]
    digests = [scrub_digest(read(content)) for content in different]
    assert len(set(digests)) == len(different)
    same = ["[scrub]\ndefault = 'token'\nkey_id = 'k9'", "[scrub.treatment]\nEMAIL = 'token'"]
    assert {scrub_digest(read(content)) for content in same} == {digests[0]}
    assert scrub_digest(read(EMPLOYEE + "examples = ['EMP-123456']")) == digests[3]
    monkeypatch.setenv("NOISEGATE_SCRUB_KEY", KEY[::-1])
    assert scrub_digest(read(keyed)) not in digests


def test_people_are_told_which_settings_are_in_force(
    read: Callable[[str], ScrubSettings],
) -> None:
    content = "[scrub.treatment]\nMAC = 'keep'\nUSER = 'keep'\n[scrub.allow]\nEMAIL = ['@a.org']"
    said = describe(read(content + EMPLOYEE))
    assert said == "treatment token; keep: MAC, USER; patterns: employee; 1 allowed; names off"


def test_every_entity_can_be_treated_and_allowed() -> None:
    entities = [entity for entity in Entity if entity is not Entity.CUSTOM]
    treatment = dict.fromkeys(map(str, entities), "keep")
    scrubber = load_scrubber(ScrubSettings.model_validate({"treatment": treatment}))
    assert scrubber.texts([TEXT])[0] == [TEXT]


def test_what_may_stay_gives_way_to_a_pattern_of_the_settings() -> None:
    loose = {"treatment": {"USER": "keep"}, "allow": {"EMAIL": ["@example.com"]}}
    own = _pattern(r"EMP-\d{6}")
    scrubber = load_scrubber(ScrubSettings.model_validate(loose | {"patterns": [own]}))
    text = "user=EMP-123456 user=jdoe EMP-123456@example.com a@example.com"
    expected = "user=<OWN> user=jdoe <OWN>@example.com a@example.com"
    assert scrubbed(scrubber, text) == expected
    rules = [one.rule for one in scrubber.findings(text) if not one.kept]
    assert rules == ["own", "own"]


EXAMPLES = [re.sub("[⟦⟧]", "", text) for rule in RULES for text in rule.examples]


def test_a_pseudonym_stands_where_the_token_would_and_is_never_scrubbed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOISEGATE_SCRUB_KEY", KEY)
    scrubber = load_scrubber(ScrubSettings(default="pseudonym"))
    tokens, _ = Scrubber().texts(EXAMPLES)
    pseudonyms, _ = scrubber.texts(EXAMPLES)
    assert [re.sub(":k1:[0-9a-f]{12}>", ">", text or "") for text in pseudonyms] == tokens
    assert scrubber.texts(pseudonyms) == (pseudonyms, {})
    # Under another key, or none: what is stored stays what it is.
    assert Scrubber().texts(pseudonyms) == (pseudonyms, {})
