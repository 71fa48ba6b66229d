"""Rules for the numbers of a person: bank account, card, phone, social security."""

import re

import phonenumbers

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import START, Copy, Rule, Span, before, found
from noisegate.scrub.values import OPERATOR

# Length of an IBAN by country: SWIFT's IBAN registry.
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE BI", 18: "DK FO FI GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BF CF CG CM DJ FR GR IT MC MG MR SM",
        28: "AL AZ BJ BY CI CY DO GT HN HU LB ML NE NI PL SN SV TD TG",
        29: "BR EG PS QA UA", 30: "JO KM KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip

_CARD_WORD = re.compile(r"card|credit|debit|visa|amex|mastercard|maestro|\bpan\b|\bcc\b|payment")
_CARD_NAMED = re.compile(
    r"\bcard(?:[ _]?(?:number|no\.?|num|nr))?(?: on file| ending| used)?(?: is)?[ :=#\"']{1,4}\Z"
)
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ][01]\d[-./ ][0-3]\d(?!\d)|\d\d[-./]\d\d[-./]\d{4}(?!\d)"
    r"|\d{1,3}(?:\.\d{1,3}){3}\Z"
)


def _luhn(digits: str) -> bool:
    """The checksum of card numbers: ISO/IEC 7812-1, annex B."""
    doubled = [int(d) for d in digits[-2::-2]]
    return (
        sum(int(d) for d in digits[-1::-2]) + sum(2 * d - 9 * (d > 4) for d in doubled)
    ) % 10 == 0


def _issued(digits: str) -> bool:
    """Whether an issuer has this prefix with this length."""
    n, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return n in (13, 16, 19)
    if two in (34, 37):
        return n == 15
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return n == 16
    if two in (36, 38, 39) or 3000 <= four <= 3059 or four == 3095:
        return n in (14, 16)
    if two == 35 or four == 6011 or two in (62, 64, 65, 81) or four in (2131, 1800):
        return 15 <= n <= 19
    return (two in (50, 56, 57, 58) or digits[0] == "6") and 12 <= n <= 19


def _check_card(match: re.Match[str]) -> Span | None:
    digits = re.sub(r"\D", "", match["x"])
    if len(set(digits)) == 1:
        return None
    context = before(match, 48)
    if not _luhn(digits):  # mistyped, but named and grouped as on a card
        grouped = len(digits) == 16 and len(match["x"]) == 19 and digits[0] in "3456"
        return found(match) if grouped and _CARD_NAMED.search(context) else None
    if not _issued(digits):
        named = re.search(r"(?:credit|debit|bank) ?card|card ?(?:no|num)", context)
        return found(match) if named and len(digits) >= 13 else None
    usual = len(digits) in (14, 15, 16) and not digits.startswith(("50", "56", "57", "58", "6"))
    if usual or len(digits) != len(match["x"]) or _CARD_WORD.search(context):
        return found(match)
    return found(match) if len(digits) == 16 and context[-1:] not in ("#", "/", "=") else None


def _check_iban(match: re.Match[str]) -> Span | None:
    start, end = match.span("x")
    text = match.string
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper(), 0)
    kept: list[str] = []
    while start < end and len(kept) < length:
        if text[start].isalnum():
            kept.append(text[start])
        start += 1
    if not length or len(kept) < length or text[start : start + 1].isalnum():
        return None
    code = "".join(kept).upper()
    if code != "".join(kept) != code.lower():
        return None
    number = int("".join(str(int(letter, 36)) for letter in code[4:] + code[:4]))
    return (match.start("x"), start) if number % 97 == 1 else None


def _check_named_iban(match: re.Match[str]) -> Span | None:
    """Behind its name, an account whose check digits or length are wrong is one all the same."""
    return found(match) if match["x"][:2] in _IBAN_LENGTHS else None


def _check_ssn(match: re.Match[str]) -> Span | None:
    digits = re.sub(r"\D", "", match["x"])
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    issued = area not in ("000", "666") and group != "00" and serial != "0000"
    return found(match) if issued else None


def _check_named_ssn(match: re.Match[str]) -> Span | None:
    """Behind its name, digits that a scanner took for letters count, too."""
    signs = re.sub(r"\W", "", match["x"])
    return found(match) if len(set(signs)) > 1 and sum(map(str.isdigit, signs)) >= 5 else None


def _check_international(match: re.Match[str]) -> Span | None:
    """A number with +: of a possible length for its country; without any grouping, a valid one."""
    start, end = found(match)
    text = match.string[start:end]
    nanp = re.match(r"\+1[ .-]?\(?\d{3}\)?[ .-]{0,2}\d{3}[ .-]?\d{4}(?!\d)(?:x\d{1,6}\b)?", text)
    if nanp:
        return start, start + nanp.end()
    grouped = not text[1:].isdigit()
    for _ in range(6):
        try:
            number = phonenumbers.parse(text, None)
        except phonenumbers.NumberParseException:
            return None
        if (grouped and phonenumbers.is_possible_number(number)) or phonenumbers.is_valid_number(
            number
        ):
            return start, start + len(text)
        shorter = re.match(r"(.{7,})[ .()/-]+\d+\Z", text)
        if shorter is None:
            return None
        text = shorter[1].rstrip(" .()/-")
    return None


def _check_national(match: re.Match[str]) -> Span | None:
    """North American form without a country code: dots and blanks only beside a word for it."""
    text = match["x"]
    if ("." in text or (" " in text and "(" not in text)) and not _PHONE_WORD.search(
        before(match, 40)
    ):
        return None
    digits = re.sub(r"\D", "", text)[:10]
    return found(match) if digits[0] != "0" and len(set(digits)) > 1 else None


_PHONE_WORD = re.compile(
    r"phone|\bcall|\btel|mobile|\bcell|\bfax|\bdial|contact|\bsms|\breach|number"
)


def _check_spoken(match: re.Match[str]) -> Span | None:
    """A number after a word for phone: grouped, or bare right behind its key."""
    text = match["x"].rstrip(" .-()/")
    digits = re.sub(r"\D", "", text)
    if not 7 <= len(digits) <= 15 or _DATE.match(text) or len(set(digits)) == 1:
        return None
    start = match.start("x")
    lead = match.string[match.start() : start].lower()
    if text.isdigit() and not (match["key"] or ("phone" in lead and "number" in lead)):
        return None
    if re.search(r"\d\.\d", text) and text.count(".") < 2:
        return None  # a decimal number
    return start, start + len(text)


_HEAD_OF_DATE = re.compile(r"\d{4}-\d\d-\d\d|(?:\d{1,3}\.){3}\d")


def _check_phone_before(match: re.Match[str]) -> Span | None:
    """A number right before its word: in groups, or of ten digits or more."""
    text = match["x"]
    digits = re.sub(r"\D", "", text.partition("x")[0])
    plain = text.isdigit()
    if not (10 if plain else 7) <= len(digits) <= 15 or len(set(digits)) == 1:
        return None
    if _HEAD_OF_DATE.match(text) or (plain and digits[0] in "01" and len(digits) > 11):
        return None
    return found(match) if re.fullmatch(r"[\d(][\d ()x/-]*|\d+(?:\.\d+){2,4}", text) else None


PERSON_RULES = (
    Rule(
        "iban",
        Entity.IBAN,
        Copy.SHAPE,
        ("AA00[ 0A-]",),
        START + r"(?P<x>[A-Za-z]{2}\d{2}(?:[ -]?[0-9A-Za-z]){11,60})",
        check=_check_iban,
        why="mod 97 is right, and the length is that of the country",
        examples=("IBAN ⟦GB29 NWBK 6016 1331 9268 19⟧ unknown",),
        counter_examples=("pod GB29-worker-abcd1234-x2x4z", "GB29 NWBK 6016 1331 9268 18"),
    ),
    Rule(
        "iban_small",
        Entity.IBAN,
        Copy.RUN,
        ("w" * 15,),
        START + r"(?P<x>[a-z]{2}\d{2}[0-9a-z]{11,30})(?![0-9A-Za-z])",
        check=_check_iban,
        why="mod 97 is right, and the length is that of the country",
        examples=("iban ⟦gb29nwbk60161331926819⟧",),
        counter_examples=("gb29worker60161331926819",),
    ),
    Rule(
        "iban_named",
        Entity.IBAN,
        Copy.LOWER,
        ("iban",),
        r"(?i:(?<![0-9a-z])iban)(?:[ ][a-z]{2,12}){0,3}(?:\\?[\"'])?[ ]?[:=#]?[ ]?(?:\\?[\"'])?"
        r"(?P<x>[A-Z]{2}\d\d(?:[0-9A-Z]{8,30}|(?:[ -][0-9A-Z]{4}){2,7}(?:[ -][0-9A-Z]{1,4})?))"
        r"(?![0-9A-Za-z])",
        check=_check_named_iban,
        why="the word IBAN before the code of a country that has them",
        examples=("IBAN: ⟦ES78207960410250085401⟧\n", "iban transfer to ⟦GB72ABCD60315502⟧ done"),
        counter_examples=("IBAN check of QQ12ABCD60315502", "iban GB72-worker"),
    ),
    Rule(
        "card",
        Entity.CREDIT_CARD,
        Copy.SHAPE,
        ("0000(?=[ -]?0000[ -]?0000|[ -]000000[ -])",),
        r"(?<![.,+-])"
        + START
        + r"(?P<x>\d{4}([ -])\d{4}\2\d{4}\2\d{4}(?:\2\d{1,3})?|\d{4}([ -])\d{6}\3\d{4,5}"
        r"|\d{12,19})(?![0-9A-Za-z_]|[-.,]\d)",
        head=r"\d{0,20}",
        check=_check_card,
        why="digits pass the Luhn check and an issuer has this prefix, or its name is before it",
        examples=(
            "card ⟦4111 1111 1111 1111⟧ declined",
            "amex ⟦3782 822463 10005⟧",
            "pan=⟦4111111111111111⟧;",
            "Card: ⟦4000-0000-0106-1234⟧",
        ),
        counter_examples=(
            "blk_4111111111111111",
            "4111111111111111abc",
            "ts=1732378392123",
            "4111111111111112",
            "order 4000-0000-0106-1234",
            "incident/17003#5660850647990272",
        ),
    ),
    Rule(
        "phone_international",
        Entity.PHONE,
        Copy.TEXT,
        (r"\+[0-9(]",),
        r"(?<![0-9A-Za-z_+.)\]])(?<!\d/)(?P<x>\+\(?\d{1,3}\)?(?:[ .()/-]{0,3}\d){6,14}"
        r"(?:x\d{1,6}\b)?)(?![0-9A-Za-z_])",
        check=_check_international,
        why="a number with + of a possible length for its country, by libphonenumber",
        examples=("⟦+1 (415) 555-0132⟧", "tel ⟦+49 30 1234567⟧.", "⟦+442071838750⟧"),
        counter_examples=("12:00:00+0100", "delta +12345678", "1.5e+10000000"),
    ),
    Rule(
        "ssn",
        Entity.SSN,
        Copy.SHAPE,
        ("000[-. ](?:00[-. ])?0000",),
        r"(?<![0-9A-Za-z_-])(?<!\d\.)(?P<x>\d{3}([-. ])\d\d\2\d{4})(?![0-9A-Za-z_]|[-.]\d)",
        check=_check_ssn,
        why="grouped as a social security number, in a range that is issued",
        examples=("applicant ⟦536-22-1234⟧ not found", "⟦078.05.1123⟧"),
        counter_examples=("lot 123-45-67890", "build 000-12-3456"),
    ),
    Rule(
        "ssn_named",
        Entity.SSN,
        Copy.LOWER,
        ("ssn", "social security"),
        r"(?i:ssn|social[ ]security)(?: (?:no\.?|number|is|nr))*[ :=#\"'\\]{1,6}"
        r"(?P<x>[0-9OSBlIZ]{3}[- .]?[0-9OSBlIZ]{2}[- .]?[0-9OSBlIZ]{4}|\d\d-\d{7})"
        r"(?![0-9A-Za-z_-])",
        check=_check_named_ssn,
        why="nine signs behind the name of the social security number",
        examples=("scan: SSN ⟦8Sl-27-4668⟧, Phone", "ssn is ⟦123456789⟧"),
        counter_examples=("ssn lookup failed", "SSN 000-00-0000"),
    ),
    Rule(
        "phone_national",
        Entity.PHONE,
        Copy.SHAPE,
        ("000[-. ](?:00[-. ])?0000",),
        r"(?<![0-9A-Za-z_.)+-])(?<![+\d][ .-])(?P<x>(?:1[ .-])?"
        r"(?:\(\d{3}\)[ -]?|\d{3}[-. ])\d{3}[-. ]\d{4}(?:x\d{1,6}\b)?)"
        r"(?![0-9A-Za-z_]|[-.][0-9A-Za-z])",
        head=r"[-. ]?\)?\d{3}\(?(?:[ .-]1)?",
        check=_check_national,
        why="grouped as North American numbers are",
        examples=("call ⟦(415) 555-0132⟧ ext. 9", "⟦415-555-0132⟧", "phone: ⟦415.555.0132⟧"),
        counter_examples=("part 555-123-4567-A", "oid 415.555.0132", "4155550132"),
    ),
    Rule(
        "phone_spoken",
        Entity.PHONE,
        Copy.LOWER,
        (
            "phone",
            "call",
            "tel",
            "mobile",
            "cell",
            "fax",
            "sms ",
            "dial",
            "answering",
            "registered",
            "reach ",
            "number is",
        ),
        r"(?i:(?P<key>(?:(?:tele)?phone|mobile|cell|tel|fax)(?:[ _-]?(?:number|num|no))?\.?"
        + OPERATOR
        + r"""(?:\\?["'])?)?"""
        r"(?(key)|(?:(?:tele)?phone|call(?:back)?|tel|mobile|cell|fax|sms|dial"
        r"|answering|registered|reach|number)\b"
        r"(?:[ ](?:me|us|him|her|them|you|back|number|is|on|at|no\.?|line|or|to|the|my|a)){0,4}"
        r"[:.,\s]{1,3}))"
        r"(?P<x>(?:\(\d{1,5}\)[ -]?)?\d(?:[ .()/-]{0,2}\d){4,14})(?![0-9A-Za-z_]|[-.]\w|:\d)",
        check=_check_spoken,
        why="a number behind a word for phone",
        examples=("call me on ⟦9472 7916⟧?", "tel=⟦4155550132⟧", "not answering at ⟦(88) 684-334⟧"),
        counter_examples=("call 1234567 failed", "calls 12 3456789", "call at 2026-11-23 15:36"),
    ),
    Rule(
        "phone_before",
        Entity.PHONE,
        Copy.LOWER,
        ("office", "mobile", "fax", "cell"),
        r"(?<![\w.:/+-])(?P<x>\(?\d(?:[ ().-]{0,2}\d){6,14}(?:x\d{1,6})?)[ -]"
        r"\(?(?i:office|mobile|fax|cell)\b",
        head=r"[ -]\(?(?:\d{1,6}x)?(?:\d[ ().-]{0,2}){6,14}\d\(?",
        check=_check_phone_before,
        why="a number right before a word for phone",
        examples=(
            "⟦42 078 6381⟧-office",
            "⟦089 72 63 41⟧ office",
            "⟦2813882583⟧ mobile",
            "⟦001-846-853-9089x92556⟧ fax",
        ),
        counter_examples=("error 404 fax", "2026-11-23 15 office", "id 17003 1 cell"),
    ),
)
