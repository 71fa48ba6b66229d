"""All rules, in the order of priority: where two finds overlap, the first one's stays."""

from noisegate.scrub.national_rules import NATIONAL_RULES
from noisegate.scrub.network_rules import NETWORK_RULES
from noisegate.scrub.person_rules import PERSON_RULES
from noisegate.scrub.rule import Rule
from noisegate.scrub.secret_rules import SECRET_RULES
from noisegate.scrub.user_rules import USER_RULES

VERSION = 2
"""Grows with every change of what comes out of the scrubber."""

_EMAIL, *_ADDRESSES = NETWORK_RULES
RULES: tuple[Rule, ...] = (
    *SECRET_RULES,
    _EMAIL,
    *NATIONAL_RULES,
    *PERSON_RULES,
    *_ADDRESSES,
    *USER_RULES,
)
