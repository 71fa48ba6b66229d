"""Each rule finds its examples, just what is marked in them, and none of its counter-examples."""

import re

import pytest

from noisegate.scrub import Finding, Scrubber
from noisegate.scrub.rule import Rule
from noisegate.scrub.rules import RULES
from noisegate.scrub.secret_rules import VENDOR_TOKENS

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
BODY = "aB3dE6gH9jK2mN5pQ8sT1vW4xY7zA0cF3hL6"
HEX = "0123456789abcdef" * 4
TOKENS = {
    "github": ["ghp_" + BODY],
    "github_fine": ["github_pat_" + BODY * 2],
    "gitlab": ["glpat-" + BODY[:20]],
    "slack": ["xoxb-123456789012-" + BODY[:24]],
    "stripe": ["sk_live_" + BODY[:24], "whsec_" + BODY[:32]],
    "openai_anthropic": ["sk-" + BODY[:32], "sk-ant-" + BODY],
    "google": ["AIza" + BODY[:35], "ya29." + BODY, "GOCSPX-" + BODY[:28]],
    "sendgrid": ["SG." + BODY[:22] + "." + BODY],
    "vault": ["hvs." + BODY[:24]],
    "npm_pypi": ["npm_" + BODY, "pypi-" + BODY * 2],
    "digitalocean": ["dop_v1_" + HEX],
    "grafana": ["glsa_" + BODY[:32]],
    "shopify": ["shpat_" + HEX[:32]],
    "databricks": ["dapi" + HEX[:32]],
    "new_relic": ["NRAK-" + BODY.upper()[:27]],
    "atlassian": ["ATATT3" + BODY * 2],
    "huggingface": ["hf_" + BODY[:34]],
    "linear_notion": ["lin_api_" + BODY],
    "docker": ["dckr_pat_" + BODY[:27]],
    "sentry": ["sntrys_" + BODY * 2],
    "postman": ["PMAK-" + HEX[:24] + "-" + HEX[:34]],
    "mailgun_twilio": ["key-" + HEX[:32], "SK" + HEX[:32]],
    "doppler_pulumi": ["dp.pt." + BODY, "pul-" + HEX[:40]],
    "telegram": ["123456789:AA" + BODY[:33]],
    "age": ["AGE-SECRET-KEY-1" + (BODY * 2).upper()[:58]],
    "azure_ad": ["ab18Q~" + BODY[:34]],
    "facebook": ["EAACEdEose0cBA" + BODY],
}


def test_every_maker_has_a_token_here() -> None:
    assert TOKENS.keys() == VENDOR_TOKENS.keys()


@pytest.mark.parametrize(
    "token",
    [pytest.param(t, id=f"{who}-{n}") for who, ts in TOKENS.items() for n, t in enumerate(ts)],
)
def test_a_maker_s_token_is_a_secret(token: str) -> None:
    (scrubbed,), counts = Scrubber().texts([f"pull with {token} failed"])

    assert scrubbed == "pull with <SECRET> failed"
    assert counts == {"SECRET": 1}
