"""Rules for secrets by their shape; all rules for secrets, in the order of their priority.

Examples are cut in two: no scanner shall fire.
"""

from itertools import chain

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import START, Copy, Rule
from noisegate.scrub.secret_checks import (
    check_code,
    check_credentials,
    check_encoded_key,
    check_jwt,
    check_vendor,
    check_webhook,
)
from noisegate.scrub.secret_line_rules import SECRET_LINE_RULES
from noisegate.scrub.secret_place_rules import SECRET_PLACE_RULES
from noisegate.scrub.vendor_tokens import VENDOR_HEAD, VENDOR_TOKENS, WEBHOOKS

SECRET_RULES = (
    Rule(
        "private_key",
        Entity.PRIVATE_KEY,
        Copy.TEXT,
        ("---- ?BEGIN ",),
        r"(?P<x>-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
        r"(?:(?!-{4,5} ?END )(?:[^\"\\\0]|\\[^\"\0]))*(?:-{4,5} ?END [A-Z0-9 ]{0,60}-{4,5})?)",
        head="-?",
        why="a PEM block of a private key, to its end or to where it is cut off",
        examples=(
            "k: ⟦-----BEGIN RSA PRIV" + "ATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----⟧ ok",
            "cut ⟦-----BEGIN PRIV" + "ATE KEY-----\nMIIEv⟧",
        ),
        counter_examples=("-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",),
    ),
    Rule(
        "private_key_putty",
        Entity.PRIVATE_KEY,
        Copy.LOWER,
        ("key",),
        r"(?P<x>PuTTY-User-Key-File-\d:(?:(?!Private-MAC:)(?:[^\"\\\0]|\\[^\"\0]))*"
        r"(?:Private-MAC: ?[0-9a-f]{8,64})?)",
        head=r"-resU-YTTuP",
        why="a key file of PuTTY, to its end or to where it is cut off",
        examples=(
            "⟦PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\nAAAA\nPrivate-MAC: 0a1b2c3d⟧ x",
        ),
        counter_examples=("no PuTTY-User-Key-File found",),
    ),
    Rule(
        "private_key_base64",
        Entity.PRIVATE_KEY,
        Copy.TEXT,
        ("LS0tLS1CRUdJT",),
        START + r"(?P<x>LS0tLS1CRUdJT[0-9A-Za-z+/_-]{20,}+={0,2})",
        check=check_encoded_key,
        why="base64 of a PEM block that its first line calls private",
        examples=("key-data: ⟦LS0tLS1CRUdJTiBQUk" + "lWQVRFIEtFWS0tLS0tCk1JSUV2UUlC⟧",),
        counter_examples=("cert: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUR",),
    ),
    Rule(
        "private_key_jwk",
        Entity.PRIVATE_KEY,
        Copy.TEXT,
        (r"\"d\\?\"",),
        r"\"d\\?\"[ ]?:[ ]?\\?\"(?P<x>[\w-]{42,1024}+)(?=\\?\")",
        check=check_code,
        why="the private number of a key as JSON",
        examples=('{"kty":"EC","d":"⟦slaQqyHQPudOpq2m' + 'bDskum8rOu9IMkLGjINAFWwfqr1⟧"}',),
        counter_examples=('{"d":"aggregate_of_all_the_requests_of_the_day_x"}',),
    ),
    Rule(
        "jwt",
        Entity.JWT,
        Copy.TEXT,
        ("yJ",),
        START + r"(?P<x>(?P<header>eyJ[\w-]++)\.(?P<payload>[\w-]*+)(?:\.[\w-]*+){0,3})",
        head="e",
        check=check_jwt,
        why="three parts of base64url, of which the first is JSON that names an algorithm",
        examples=("t=⟦eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0.c2lnbmF0dXJl⟧;",),
        counter_examples=("eyJust.a.name", "file eyJ.txt"),
    ),
    Rule(
        "url_credentials",
        Entity.URL_CREDENTIALS,
        Copy.TEXT,
        ("://",),
        r"""://(?P<x>(?:[^\s/?#"'<>\\\0]{1,512}|[\w.+-]{0,64}:(?!\d{1,5}[/?#])"""
        r"""[^\s"'<>\\\0@]{1,96}))@(?=[\w\[])""",
        check=check_credentials,
        why="user and password, or a long token, before a URL's host",
        examples=(
            "amqp://⟦svc:pa%ss@word⟧@mq:5672/vh",
            "redis://⟦:s3cret⟧@cache:6379",
            "pg://⟦app:x#1/y⟧@db/x",
        ),
        counter_examples=(
            "http://host:80/@jane",
            "ssh://git@github.com/x",
            "u://${U}:${P}@h",
            "pg://db:5432/x?mail=a@b",
        ),
    ),
    Rule(
        "aws_key",
        Entity.AWS_KEY,
        Copy.TEXT,
        ("AKIA", "ASIA"),
        START + r"(?P<x>A(?:KI|SI)A[0-9A-Z]{16})(?![0-9A-Za-z])",
        why="an AWS access key id: its prefix and sixteen capitals or digits",
        examples=("key ⟦AKIA" + "IOSFODNN7EXAMPLE⟧ off",),
        counter_examples=("AKIASHORT", "xAKIA" + "IOSFODNN7EXAMPLE"),
    ),
    Rule(
        "vendor_token",
        Entity.SECRET,
        Copy.RUN,
        ("w" * 15,),
        r"(?<![0-9A-Za-z])(?P<x>"
        + "|".join(chain.from_iterable(VENDOR_TOKENS.values()))
        + r")(?![0-9A-Za-z])",
        head=VENDOR_HEAD,
        check=check_vendor,
        why="the prefix and the length that a maker gives its tokens",
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
        "azure_secret",
        Entity.SECRET,
        Copy.TEXT,
        ("Q~",),
        r"(?<![0-9A-Za-z])(?P<x>[\w~.]{3}[78]Q~[\w.~-]{30,40})(?![0-9A-Za-z])",
        head=r"[78][\w~.]{3}",
        why="a client secret of Microsoft's identity platform: Q~ at its fifth place",
        examples=("bad ⟦ab18Q" + "~aB3dE6gH9jK2mN5pQ8sT1vW4xY7zA0cF3hL⟧",),
        counter_examples=("8Q~ and ab18Q~short",),
    ),
    Rule(
        "webhook_url",
        Entity.SECRET,
        Copy.TEXT,
        ("://",),
        r"://(?:" + WEBHOOKS + r")(?P<x>[\w@:/?=&%.~-]{16,512}+)",
        check=check_webhook,
        why="an address to which anybody who knows it may post",
        examples=("https://hooks.slack.com/services/⟦T00000000/B00000000/abcdefghijklmnop⟧ 404",),
        counter_examples=("https://hooks.slack.com/services/ is down",),
    ),
    Rule(
        "password_hash",
        Entity.SECRET,
        Copy.TEXT,
        (r"\$(?:[156789y]|2[abxy]|apr1|argon2|sha1|scrypt)",),
        r"(?P<x>(?:\w{1,24}(?=\$sha|\$scr)|SCRAM-(?=SHA))?\$(?:[156789y]|2[abxy]|apr1|argon2\w{0,2}"
        r"|sha1|scrypt)\$[\w./$=,+-]{12,256}+)",
        why="crypt's form of a hashed password",
        examples=("root:⟦$6$kd93kdkf$" + "kd93kdkfj39fkdkf93kdkfj39fkdkf93⟧:19000",),
        counter_examples=("costs $5 and $1$", "awk '{print $1$2}'"),
    ),
    *SECRET_PLACE_RULES,
    *SECRET_LINE_RULES,
)
