"""Rules for secrets: keys, tokens, credentials (examples are cut in two: no scanner shall fire)."""

import base64
import binascii
import json
import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import START, Copy, Rule, Span, before, found
from noisegate.scrub.values import (
    BARE,
    CODE,
    KNOWN_FORM,
    OPERATOR,
    PROSE,
    VALUE,
    is_placeholder,
    key_words,
    looks_random,
    strength,
    to_its_end,
)


def _check_keyword(match: re.Match[str]) -> Span | None:
    span = _judge_keyword(match)
    return None if span is None else to_its_end(match, span)


def _judge_keyword(match: re.Match[str]) -> Span | None:
    key, span = match["key"], found(match)
    value = match.string[span[0] : span[1]]
    if key.lower() == "key":  # api key: ...
        key = f"{before(match, 12).rstrip().rpartition(' ')[2]}_{key}"
    promise = strength(key)
    quoted = match.lastgroup != "x6"
    if not quoted and value[-1:] in ".:" and len(value) > 1:
        value = value.rstrip(".:")
        span = span[0], span[0] + len(value)
    if promise == 0 or not value or is_placeholder(value):
        return None
    if not quoted and (CODE.match(value) or _is_next_field(match) or _is_variable(key, value)):
        return None
    if promise == 3:
        return span if _may_be_password(match, key, value, quoted) else None
    if promise == 2:
        mixed = re.search(r"[0-9]|[a-z][A-Z]|[^\w./:-]", value) and not KNOWN_FORM.fullmatch(value)
        return span if len(value) >= 6 and (mixed or len(value) >= 20) else None
    return span if looks_random(value) else None


def _is_next_field(match: re.Match[str]) -> bool:
    """Whether the key is empty and what follows is the next field, as in `password= user=x`."""
    op = match["op"]
    start = found(match)[0]
    ahead = match.string[start : start + 48]
    return op.endswith(("= ", ": ")) and re.match(r"[a-z_]{1,40}=[\w/\"]", ahead) is not None


def _is_variable(key: str, value: str) -> bool:
    """Whether the value is code that hands the key on, as in `password=self.password`."""
    last = (key_words(key) or [key])[-1]
    handed_on = rf"(?:\w{{1,40}}\.){{1,4}}\w{{0,40}}{re.escape(last)}"
    return value == key or re.fullmatch(handed_on, value, re.IGNORECASE) is not None


# What follows a quote that ends a JSON string instead of opening a value.
_JSON_GOES_ON = re.compile(r"[\s.;()]*(?:[,:}\]]\s*(?:[\"\d{}\[\],tfn-]|\Z)|\Z)")


def _may_be_password(match: re.Match[str], key: str, value: str, quoted: bool) -> bool:
    lower = key.lower()
    if (lower.endswith("pwd") and value[:1] in "/~\\") or re.fullmatch(r"[A-Za-z]:\\.*", value):
        return False
    if lower == "nopasswd" or (lower in ("pass", "pw") and value.isdigit() and len(value) < 6):
        return False
    if quoted:
        return value.lower() not in PROSE and not _JSON_GOES_ON.match(value)
    spaced = match.string[match.start() : found(match)[0]][-1:] in " \t"
    if "=" in match["op"] or not spaced:
        return value.lower() not in PROSE and re.search(r"[^\W_]", value) is not None
    # `password: word` may be prose.
    if value.lower() in PROSE:
        return False
    ends = match.string[found(match)[1] : found(match)[1] + 1] in ("", "\n", "\r", "\0", ",", "}")
    return bool(re.search(r"[0-9]|[a-z][A-Z]|[^\w'.,-]", value)) or ends


_TOKEN_REST = re.compile(r"[\w.~+/=:-]*+")


def _check_random(match: re.Match[str]) -> Span | None:
    """For values after a word such as Bearer: prose has no digits."""
    start, end = found(match)
    value = match.string[start:end].rstrip(".")
    mixed = re.search(r"[0-9]", value) or (re.search(r"[a-z][A-Z]", value) and len(value) >= 16)
    if not mixed or is_placeholder(value):
        return None
    rest = _TOKEN_REST.match(match.string, end)
    return start, rest.end() if rest and rest[0] else start + len(value)


def _check_basic(match: re.Match[str]) -> Span | None:
    value = match["x"]
    try:
        clear = base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return found(match) if b":" in clear else None


def _check_jwt(match: re.Match[str]) -> Span | None:
    """RFC 7519: the first part is a JSON object, base64url-encoded; it names an algorithm."""
    header = match["header"]
    if len(header) > 4096:
        return found(match)
    try:
        clear = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (binascii.Error, ValueError):
        return found(match) if match["payload"].startswith("eyJ") else None
    return found(match) if isinstance(clear, dict) and {"alg", "typ", "enc"} & set(clear) else None


def _check_credentials(match: re.Match[str]) -> Span | None:
    user, colon, password = match["x"].partition(":")
    if not colon:
        return found(match) if len(user) >= 20 and looks_random(user) else None
    if is_placeholder(password) and (not user or is_placeholder(user)):
        return None
    return found(match)


def _check_vendor(match: re.Match[str]) -> Span | None:
    return found(match) if len(set(match["x"])) >= 8 else None


def _check_password_word(match: re.Match[str]) -> Span | None:
    start, end = found(match)
    value = match.string[start:end]
    return None if is_placeholder(value) or value.lower() in PROSE else (start, end)


def _check_said(match: re.Match[str]) -> Span | None:
    value = match["x"].rstrip(".,;:!?")
    told = re.search(r"[0-9]|[a-z][A-Z]", value) and not KNOWN_FORM.fullmatch(value)
    return (match.start("x"), match.start("x") + len(value)) if told else None


VENDOR_TOKENS = {
    "github": r"gh[pousr]_[0-9A-Za-z]{30,255}",
    "github_fine": r"github_pat_[0-9A-Za-z_]{40,255}",
    "gitlab": r"gl(?:pat|ptt|dt|rt|cbt|ft|soat|imt|agent)-[\w.-]{20,255}",
    "slack": r"xox[abeoprs]-[0-9A-Za-z-]{10,255}|xapp-\d-[0-9A-Za-z-]{10,255}",
    "stripe": r"[rsp]k_(?:live|test)_[0-9A-Za-z]{16,255}|whsec_[0-9A-Za-z+/]{24,255}",
    "openai_anthropic": r"sk-(?:proj-|svcacct-|ant-|or-v1-)?[\w-]{20,255}",
    "google": r"AIza[\w-]{35}|ya29\.[\w.-]{20,1024}|GOCSPX-[\w-]{20,64}",
    "sendgrid": r"SG\.[\w-]{16,64}\.[\w-]{16,64}",
    "vault": r"hv[sbr]\.[\w-]{20,1024}",
    "npm_pypi": r"npm_[0-9A-Za-z]{30,64}|pypi-[\w-]{40,512}|rubygems_[0-9a-f]{40,64}",
    "digitalocean": r"do[opr]_v1_[0-9a-f]{40,64}",
    "grafana": r"gl(?:sa|c)_[0-9A-Za-z+/=_]{20,255}",
    "shopify": r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}",
    "databricks": r"dapi[0-9a-f]{32}(?:-\d)?",
    "new_relic": r"NRAK-[0-9A-Z]{20,40}|NRII-[\w-]{20,40}",
    "atlassian": r"ATATT3[\w=-]{40,512}|ATCTT3[\w=-]{40,512}",
    "huggingface": r"hf_[0-9A-Za-z]{30,64}",
    "linear_notion": r"lin_api_[0-9A-Za-z]{30,64}|ntn_[0-9A-Za-z]{30,64}",
    "docker": r"dckr_(?:pat|oat)_[\w-]{20,64}",
    "sentry": r"sntry[su]_[\w=+/-]{40,512}",
    "postman": r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    "mailgun_twilio": r"key-[0-9a-f]{32}|SK[0-9a-f]{32}",
    "doppler_pulumi": r"dp\.(?:pt|st|ct|sa)\.[\w.]{30,80}|pul-[0-9a-f]{40}",
    "telegram": r"\d{8,10}:AA[\w-]{32,35}",
    "age": r"AGE-SECRET-KEY-1[0-9A-Z]{50,64}",
    "azure_ad": r"[0-9A-Za-z]{3}8Q~[\w.~-]{30,40}",
    "facebook": r"EAACEdEose0cBA[0-9A-Za-z]{10,255}",
}
"""Tokens that their makers gave a shape: maker -> pattern, at the start of a long run."""

SECRET_RULES = (
    Rule(
        "private_key",
        Entity.PRIVATE_KEY,
        Copy.TEXT,
        ("-----BEGIN ",),
        r"(?P<x>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?!-----END )(?:[^\"\\\0]|\\[^\"\0]))*(?:-----END [A-Z0-9 ]{0,60}-----)?)",
        examples=(
            "k: ⟦-----BEGIN RSA PRIV" + "ATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----⟧ ok",
            "cut ⟦-----BEGIN PRIV" + "ATE KEY-----\nMIIEv⟧",
        ),
        counter_examples=("-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",),
    ),
    Rule(
        "jwt",
        Entity.JWT,
        Copy.TEXT,
        ("yJ",),
        START + r"(?P<x>(?P<header>eyJ[\w-]++)\.(?P<payload>[\w-]++)(?:\.[\w-]*+){0,3})",
        head="e",
        check=_check_jwt,
        examples=("t=⟦eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0.c2lnbmF0dXJl⟧;",),
        counter_examples=("eyJust.a.name", "file eyJ.txt"),
    ),
    Rule(
        "url_credentials",
        Entity.URL_CREDENTIALS,
        Copy.TEXT,
        ("://",),
        r"""://(?P<x>[^\s/?#"'<>\\\0]{1,512})@(?=[\w\[])""",
        check=_check_credentials,
        examples=("amqp://⟦svc:pa%ss@word⟧@mq:5672/vh", "redis://⟦:s3cret⟧@cache:6379"),
        counter_examples=("http://host:80/@jane", "ssh://git@github.com/x", "u://${U}:${P}@h"),
    ),
    Rule(
        "aws_key",
        Entity.AWS_KEY,
        Copy.TEXT,
        ("AKIA", "ASIA", "ABIA", "ACCA"),
        START + r"(?P<x>A(?:KI|SI|BI|CC)A[0-9A-Z]{16})(?![0-9A-Za-z])",
        examples=("key ⟦AKIA" + "IOSFODNN7EXAMPLE⟧ off",),
        counter_examples=("AKIASHORT", "xAKIA" + "IOSFODNN7EXAMPLE"),
    ),
    Rule(
        "vendor_token",
        Entity.SECRET,
        Copy.RUN,
        ("w" * 15,),
        r"(?<![0-9A-Za-z])(?=[0-9A-Za-z]{2})(?P<x>"
        + "|".join(VENDOR_TOKENS.values())
        + r")(?![0-9A-Za-z])",
        head=r"(?:\.(?:GS|92ay|[bsr]vh|(?:tp|ts|tc|as)\.pd)|:\d{8,10}|~Q8[0-9A-Za-z]{3})?",
        check=_check_vendor,
        examples=(
            "use ⟦gh" + "p_0123456789abcdefghijABCDEFGHIJ012345⟧ now",
            "use ⟦xox" + "b-123456789012-abcdefghijkl⟧",
        ),
        counter_examples=(
            "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "pod ghp-exporter-7c9d8b5f4-abcde-x",
        ),
    ),
    Rule(
        "webhook_url",
        Entity.SECRET,
        Copy.TEXT,
        ("://",),
        r"://(?:hooks\.slack\.com/(?:services|workflows|triggers)/"
        r"|(?:\w+\.)?discord(?:app)?\.com/api/webhooks/|[\w.-]{1,64}\.webhook\.office\.com/webhookb2/"
        r"|outlook\.office\.com/webhook/|api\.telegram\.org/bot|events\.pagerduty\.com/integration/"
        r"|hooks\.zapier\.com/hooks/catch/|chat\.googleapis\.com/v1/spaces/)(?P<x>[\w@:/?=&%-]{16,512}+)",
        check=lambda match: (
            (found(match)[0], found(match)[0] + len(match["x"].rstrip("/:")))
            if re.search(r"\d", match["x"])
            else None
        ),
        examples=("https://hooks.slack.com/services/⟦T00000000/B00000000/abcdefghijklmnop⟧ 404",),
        counter_examples=("https://hooks.slack.com/services/ is down",),
    ),
    Rule(
        "authorization",
        Entity.SECRET,
        Copy.LOWER,
        ("bearer", "zation"),
        r"(?i:(?:proxy-)?authorization"
        + OPERATOR
        + r"(?:\\?[\"'])?(?:(?:bearer|token|apikey|digest|"
        r"negotiate|ntlm|aws4-hmac-sha256|key)(?:[ ]{1,2}|%20)(?:credential=)?)?"
        r"|bearer(?:[ :=]{1,3}|%20))"
        r"(?P<x>[\w.~+/=:-]{8,512}+)",
        head=r"(?i:irohtua(?:-yxorp)?|)",
        check=_check_random,
        examples=("Authorization: Bearer ⟦abcDEF123456ghiJKL789⟧", "bearer ⟦0123abcd4567⟧"),
        counter_examples=("Bearer authentication required", "bearer token expired"),
    ),
    Rule(
        "basic_auth",
        Entity.SECRET,
        Copy.LOWER,
        ("basic",),
        r"(?i:basic)(?:[ ]{1,2}|%20)(?P<x>[0-9A-Za-z+/_-]{6,}+={0,2})",
        check=_check_basic,
        examples=("Authorization: Basic ⟦dXNlcjpw" + "YXNzd29yZA==⟧",),
        counter_examples=("basic authentication failed", "Basic monitoring"),
    ),
    Rule(
        "keyword",
        Entity.SECRET,
        Copy.LOWER,
        ("pass", "pwd", "pw=", "cret", "ken", "key", "denti", "gnature", "sig=", "uth"),
        rf"(?P<key>[0-9A-Za-z_.-]{{1,64}}+)(?P<op>{OPERATOR})" + VALUE,
        head=r"[0-9A-Za-z_.-]{0,32}",
        check=_check_keyword,
        examples=(
            "password=⟦Sup3r$ecret!⟧ for db",
            'dbPass: "⟦p@ss w0rd⟧",',
            "run --api-key=⟦abcdEFGH1234⟧ -v",
            'x=\\"client_secret\\":\\"⟦a8f5f167f44f⟧\\"',
            "map[password:⟦hunter2⟧ job:x]",
        ),
        counter_examples=(
            "password is required",
            "sort_key=created_at",
            "max_tokens=4096",
            "PWD=/home",
            "secret=tls-cert",
            "password: not given",
            "token: expired",
            "pass=12 fail=3",
            "password=${DB_PASSWORD}",
            'kube_secret{secret="tls-a"}',
        ),
    ),
    Rule(
        "password_quoted",
        Entity.SECRET,
        Copy.LOWER,
        ("pass", "fied by"),
        r"""(?i:pass(?:word|wd|phrase)|identified[ ]by(?:[ ]password)?)[ ]{1,2}"""
        r"""(?:\\?"(?P<x1>[^\s"\\\0]{1,128}+)(?=\\?")|\\?'(?P<x2>[^\s'\\\0]{1,128}+)(?=\\?')"""
        r"""|`(?P<x3>[^\s`\0]{1,128}+)(?=`))""",
        head=r"(?i:itnedi)?",
        check=_check_password_word,
        examples=("CREATE USER x IDENTIFIED BY '⟦QdTD1PZ⟧';", 'with password "⟦nproc⟧" ok'),
        counter_examples=("password 'required'", 'password "<PASSWORD>"'),
    ),
    Rule(
        "password_element",
        Entity.SECRET,
        Copy.LOWER,
        ("pass", "cret>", 'key" value='),
        r"""(?i:(?:password|passwd|passphrase|secret)>(?P<x1>[^<>\s\0]{1,256})</"""
        r"""|(?:api|access|secret)[_-]?key"[ ]value="(?P<x2>[^"\\\0\n]{6,256})")""",
        head=r"(?i:es|[_-]?(?:ipa|ssecca|terces|drowssap)|)",
        check=_check_password_word,
        examples=(
            "<password>⟦Winter2024!⟧</password>",
            '<x key="ApiKey" value="⟦9f8b7c6d5e⟧" />',
        ),
        counter_examples=("<password></password>", '<add key="Retries" value="12345678" />'),
    ),
    Rule(
        "password_flag",
        Entity.SECRET,
        Copy.LOWER,
        ("pass", "ken", "cret", "key"),
        r"""(?i:--(?:[\w-]{0,20}-)?(?:pass(?:word|wd|phrase)?|token|secret"""
        r"""|(?:api|access|secret)-?key)[ ])"""
        rf"""["']?(?P<x>(?!-){BARE}+)""",
        head=r"[\w-]{0,28}--",
        check=_check_password_word,
        examples=("login --password ⟦hunter2⟧ -u x", "--auth-token '⟦a1b2c3⟧'"),
        counter_examples=("--password <PASSWORD>", "--token-file /run/x", "--pass $PASS"),
    ),
    Rule(
        "password_argument",
        Entity.SECRET,
        Copy.LOWER,
        ("mysql", "redis-cli ", "curl ", "sshpass ", "ldap"),
        r"""(?i:(?:mysql(?:dump|admin)?[ ][^\n\0|;]{0,120}?(?<=[ ])-p["']?"""
        r"""|redis-cli[ ][^\n\0|;]{0,80}?(?<=[ ])-a[ ]"""
        r"""|sshpass[ ]-p[ ]?["']?|curl[ ][^\n\0|;]{0,160}?(?<=[ ])(?:-u|--user)[ ]["']?"""
        r"""|ldap\w{2,8}[ ][^\n\0|;]{0,160}?(?<=[ ])-w[ ]["']?))"""
        rf"""(?P<x>(?!-){BARE}{{1,256}})""",
        check=_check_password_word,
        examples=("mysql -u root -p⟦S3cret!⟧ -h db", "curl -s -u ⟦admin:hunter2⟧ https://x"),
        counter_examples=("mysql -p -h db", "mysql: too many connections", "curl -s https://x"),
    ),
    Rule(
        "cookie",
        Entity.SECRET,
        Copy.LOWER,
        ("cookie",),
        r"""(?i:(?<=set-)cookie["']?:[ ]?["']?(?P<x1>[\w.-]{1,64}=[^\s;"'\\\0]*+)"""
        r"""|cookie["']?:[ ]?["']?(?P<x2>[\w.-]{1,64}=[^\n\r"'\\\0]*+))""",
        examples=("Cookie: ⟦sid=abc123; csrf=Zx8⟧", "Set-Cookie: ⟦JSESSIONID=5F2B8A⟧; Path=/"),
        counter_examples=("cookie: missing", "no cookie set"),
    ),
    Rule(
        "password_said",
        Entity.SECRET,
        Copy.LOWER,
        ("pass", "key"),
        r"""(?i:pass(?:word|wd|phrase)|key)[ ](?:is|was)[ ]["'`]?(?P<x>[^\s"'`\\\0]{6,128}+)""",
        check=_check_said,
        examples=("the password is ⟦hunter2x9⟧.",),
        counter_examples=("password is required", "key is db.example.com"),
    ),
)
