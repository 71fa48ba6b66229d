"""Each rule finds its examples, just what is marked in them, and none of its counter-examples."""

import re

import pytest

from noisegate.scrub import Finding, Scrubber
from noisegate.scrub.rule import Rule
from noisegate.scrub.rules import RULES
from noisegate.scrub.vendor_tokens import VENDOR_TOKENS

MARKED = re.compile("⟦(.*?)⟧", re.DOTALL)


def unmarked(example: str) -> tuple[str, list[str]]:
    return MARKED.sub(r"\1", example), MARKED.findall(example)


def taken(text: str, findings: list[Finding]) -> list[str]:
    return [text[one.start : one.end] for one in findings]


EXAMPLES = [
    pytest.param(rule, text, id=f"{rule.id}-{place}")
    for rule in RULES
    for place, text in enumerate(rule.examples)
]
COUNTER_EXAMPLES = [
    pytest.param(rule, text, id=f"{rule.id}-{place}")
    for rule in RULES
    for place, text in enumerate(rule.counter_examples)
]


@pytest.mark.parametrize(("rule", "example"), EXAMPLES)
def test_a_rule_finds_what_its_example_marks(rule: Rule, example: str) -> None:
    text, marked = unmarked(example)

    found = Scrubber(rules=[rule]).findings(text)

    assert taken(text, found) == marked


@pytest.mark.parametrize(("rule", "example"), EXAMPLES)
def test_with_all_rules_nothing_of_an_example_is_left(rule: Rule, example: str) -> None:
    text, marked = unmarked(example)

    (scrubbed,), counts = Scrubber().texts([text])

    assert scrubbed is not None
    assert not [value for value in marked if value in scrubbed]
    assert sum(counts.values()) >= len(marked)


@pytest.mark.parametrize(("rule", "text"), COUNTER_EXAMPLES)
def test_a_rule_leaves_its_counter_example(rule: Rule, text: str) -> None:
    assert Scrubber(rules=[rule]).findings(text) == []


def test_every_rule_has_its_own_id_and_both_kinds_of_examples() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert [rule.id for rule in RULES if not (rule.examples and rule.counter_examples)] == []


def test_every_anchor_starts_with_two_fixed_characters_so_that_the_scan_is_fast() -> None:
    fixed = re.compile(r"(?:\\[^\w]|[^\\.\[(?*+{|^$])")

    slow = [
        anchor
        for rule in RULES
        for anchor in rule.anchors
        if not fixed.match(anchor) or re.match(r".[?*{]", anchor)
    ]

    assert slow == []


# Made-up tokens of each maker's shape; put together here, so that no scanner takes them for real.
MIXED = "aB3dE6gH9jK2mN5pQ8sT1vW4xY7zA0cF3hL6" * 5
SMALL, CAPITALS, HEX = MIXED.lower(), MIXED.upper(), "0123456789abcdef" * 10
UUID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
TOKENS = {
    "github": [f"gho_{MIXED[:36]}", f"ghs_12_eyJ{MIXED[:30]}", f"github_pat_{MIXED[:60]}"],
    "gitlab": [f"glpat-{MIXED[:20]}", f"GR1348941{MIXED[:20]}"],
    "slack": [
        f"xoxb-123456789012-{MIXED[:24]}", f"xoxe.xoxp-1-{MIXED[:24]}", f"xapp-1-{MIXED[:24]}",
    ],
    "stripe": [f"sk_live_{MIXED[:24]}", f"whsec_{MIXED[:32]}=="],
    "openai": [f"sk-{MIXED[:32]}", f"sk-ant-{MIXED[:30]}", f"sess-{MIXED[:40]}"],
    "language_models": [
        f"gsk_{MIXED[:52]}", f"xai-{MIXED[:80]}", f"pplx-{MIXED[:48]}", f"nvapi-{MIXED[:64]}",
        f"r8_{MIXED[:37]}", f"jina_{MIXED[:60]}", f"tvly-{MIXED[:32]}", f"fw_{MIXED[:24]}",
        f"csk-{SMALL[:48]}", f"lsv2_pt_{HEX[:32]}_{HEX[:10]}", f"pcsk_{MIXED[:60]}",
        f"hf_{MIXED[:34]}",
    ],
    "google": [
        f"AIza{MIXED[:35]}", f"ya29.{MIXED[:60]}", f"GOCSPX-{MIXED[:28]}", f"1//0{MIXED[:40]}",
    ],
    "aws": [
        f"ABSK{MIXED[:100]}=", f"bedrock-api-key-{MIXED[:40]}", f"da2-{SMALL[:26]}",
        f"amzn.mws.{UUID}", f"amzn1.oa2-cs.v1.{HEX[:64]}", f"ABIA{CAPITALS[:16]}",
    ],
    "azure": [
        f"{MIXED[:42]}AzSeAbCdEf", f"{MIXED[:44]}AzFuAbCdEf12==",
        f"{MIXED[:52]}JQQJ99{MIXED[:26]}",
    ],
    "clouds": [
        f"LTAI{MIXED[:20]}", f"AKID{MIXED[:32]}", f"SCW{CAPITALS[:17]}", f"HRKU-{MIXED[:58]}",
        f"v1.0-{HEX[:24]}-{HEX[:146]}", f"cfut_{MIXED[:48]}", f"dop_v1_{HEX[:64]}",
    ],
    "hosters": [
        f"fm2_{MIXED[:90]}", f"fo1_{MIXED[:43]}", f"nfp_{MIXED[:40]}", f"vercel_{MIXED[:24]}",
        f"vcp_{MIXED[:56]}", f"rnd_{MIXED[:28]}",
    ],
    "builds": [
        f"bkua_{SMALL[:40]}", f"CCIPAT_{MIXED[:22]}_{HEX[:40]}", f"pul-{HEX[:40]}",
        f"dckr_pat_{MIXED[:27]}", f"sqp_{HEX[:40]}", f"waka_{UUID}", f"AKCp{MIXED[:69]}",
        f"cmVmd{MIXED[:59]}", f"sgp_local_{HEX[:40]}", f"slk_{HEX[:64]}",
    ],
    "packages": [
        f"npm_{MIXED[:36]}", f"pypi-{MIXED[:90]}", f"rubygems_{HEX[:48]}", f"oy2{SMALL[:43]}",
        f"cio{MIXED[:32]}", f"CLOJARS_{HEX[:60]}",
    ],
    "mail": [
        f"SG.{MIXED[:22]}.{MIXED[:43]}", f"key-{HEX[:32]}", f"SK{HEX[:32]}",
        f"mlsn.{HEX[:64]}", f"xkeysib-{HEX[:64]}-{MIXED[:16]}", f"re_{MIXED[:8]}_{MIXED[:24]}",
        f"{HEX[:32]}-us12",
    ],
    "vault": [f"hvs.{MIXED[:24]}", f"{MIXED[:14]}.atlasv1.{MIXED[:67]}"],
    "grafana": [f"glsa_{MIXED[:32]}"],
    "monitoring": [
        f"NRAK-{CAPITALS[:27]}", f"sntrys_{MIXED[:80]}",
        f"dt0c01.{CAPITALS[:24]}.{CAPITALS[:64]}", f"dt0c01.{CAPITALS[:8]}.{CAPITALS[:64]}",
        f"hcaik_{SMALL[:58]}", f"phx_{MIXED[:43]}", f"sdk-{UUID}", f"snyk_uat.{MIXED[:40]}",
        f"pdus+_{MIXED[:20]}",
    ],
    "atlassian": [f"ATATT3{MIXED[:150]}", f"BBDC-{MIXED[:44]}"],
    "offices": [
        f"ntn_{MIXED[:46]}", f"secret_{MIXED[:43]}", f"pat{MIXED[:14]}.{HEX[:64]}",
        f"figd_{MIXED[:40]}", f"CFPAT-{MIXED[:43]}", f"ops_ey{MIXED[:120]}",
        f"sl.{MIXED[:130]}",
        f"A3-{CAPITALS[:6]}-{CAPITALS[:11]}-{CAPITALS[:5]}-{CAPITALS[5:10]}",
        f"lin_api_{MIXED[:40]}", f"tfp_{MIXED[:44]}", f"1000.{HEX[:32]}.{HEX[:32]}",
    ],
    "commerce": [
        f"shpat_{HEX[:32]}", f"sq0csp-{MIXED[:43]}", f"EAAA{MIXED[:60]}",
        f"access_token$production${SMALL[:16]}${HEX[:32]}", f"FLWSECK-{MIXED[:32]}",
        f"rzp_live_{MIXED[:14]}", f"ak_live_{MIXED[:30]}", f"APP_USR-{HEX[:60]}",
        f"pat-eu1-{UUID}", f"EZAK{MIXED[:54]}", f"duffel_test_{MIXED[:43]}",
        f"shippo_live_{HEX[:40]}",
    ],
    "chats": [
        f"123456789:AA{MIXED[:33]}", f"M{MIXED[:23]}.{MIXED[:6]}.{MIXED[:30]}",
        f"IGQV{MIXED[:80]}", f"EAAB{MIXED[:80]}", f"EAACEdEose0cBA{MIXED[:40]}",
        f"1234567890123|{MIXED[:27]}", f"AAAAB{MIXED[:6]}:{MIXED[:140]}",
    ],
    "databases": [
        f"dapi{HEX[:32]}-2", f"pscale_pw_{MIXED[:43]}", f"mdb_sa_sk_{MIXED[:40]}",
        f"AVNS_{MIXED[:19]}", f"sbp_{HEX[:40]}", f"sb_secret_{MIXED[:31]}",
        f"rdme_{SMALL[:70]}", f"4b1d{MIXED[:38]}", f"napi_{SMALL[:64]}",
    ],
    "clusters": [
        f"dp.pt.{MIXED[:43]}", f"sha256~{MIXED[:43]}", f"tskey-auth-{MIXED[:30]}",
        f"K10{HEX[:64]}::server:{HEX[:32]}", f"SWMTKN-1-{SMALL[:50]}-{SMALL[:25]}",
        f"akab-{SMALL[:16]}-{SMALL[:16]}",
    ],
    "keys": [
        f"AGE-SECRET-KEY-1{CAPITALS[:58]}", f"gAAAAAB{MIXED[:90]}==",
        f"PMAK-{HEX[:24]}-{HEX[:34]}", f"s-s4t2ud-{HEX[:64]}", f"ion_{MIXED[:42]}",
    ],
}  # fmt: skip


def test_every_shape_of_every_maker_has_a_token_here() -> None:
    without = [
        shape
        for maker, shapes in VENDOR_TOKENS.items()
        for shape in shapes
        if not any(re.fullmatch(shape, token) for token in TOKENS[maker])
    ]

    assert without == []


@pytest.mark.parametrize(
    "token",
    [pytest.param(t, id=f"{who}-{n}") for who, ts in TOKENS.items() for n, t in enumerate(ts)],
)
def test_a_maker_s_token_is_a_secret(token: str) -> None:
    (scrubbed,), counts = Scrubber().texts([f"pull with {token} failed"])

    assert scrubbed == "pull with <SECRET> failed"
    assert counts == {"SECRET": 1}
