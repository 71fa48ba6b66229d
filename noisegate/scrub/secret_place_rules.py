"""Rules for secrets by the place where they stand: headers, keys, options, sentences."""

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule
from noisegate.scrub.secret_checks import (
    check_argument,
    check_authorization,
    check_basic,
    check_code,
    check_flag,
    check_keyword,
    check_pair,
    check_said,
    check_sasl,
    check_word,
)
from noisegate.scrub.values import BARE, OPERATOR, VALUE

_KEY = r"(?P<key>[0-9A-Za-z_.-]{1,64}+)"
_KEY_HEAD = r"[0-9A-Za-z_.-]{0,32}"
_KEYWORDS = ("pass", "pw", "cret", "token", "key", "cred")

SECRET_PLACE_RULES = (
    Rule(
        "authorization",
        Entity.SECRET,
        Copy.LOWER,
        ("bearer", "uth", "geniekey"),
        r"(?i:(?:proxy-)?authorization"
        + OPERATOR
        + r"(?:\\{0,3}[\"'])?(?P<scheme>[a-z][\w-]{1,24}(?:[ ]{1,2}|%20))?(?:credential=|token=)?"
        r"|(?:bearer|geniekey)(?:[ :=]{1,3}|%20))[\"']?(?P<x>[\w.~+/=:-]{8,512}+)",
        head=r"(?i:a(?:-yxorp)?|)",
        check=check_authorization,
        why="what follows Authorization or Bearer has digits, as no word of a sentence",
        examples=("Authorization: Bearer ⟦abcDEF123456ghiJKL789⟧", "bearer ⟦0123abcd4567⟧"),
        counter_examples=("Bearer authentication required", "bearer token expired"),
    ),
    Rule(
        "digest_auth",
        Entity.SECRET,
        Copy.LOWER,
        ("uth",),
        r"(?i:authorization"
        + OPERATOR
        + r"(?:\\{0,3}[\"'])?digest[ ][^\n\0]{1,400}?[ ,]response=\\{0,3}\""
        r"(?P<x>[0-9a-f]{32,128}+))",
        head="(?i:a)",
        why="what a client answers to a digest challenge, a hash of its password",
        examples=(
            'Authorization: Digest username="x", response="⟦6629fae49393a053'
            + '97450978507c4ef1⟧"',
        ),
        counter_examples=('WWW-Authenticate: Digest realm="x", nonce="dcd98b7102dd2f0e"',),
    ),
    Rule(
        "sasl_plain",
        Entity.SECRET,
        Copy.LOWER,
        ("uth",),
        r"(?i:auth(?:enticate)?[ ](?:plain|(?P<login>login))[ ])(?P<x>[0-9A-Za-z+/]{6,512}+={0,2})",
        head="(?i:a)",
        check=check_sasl,
        why="what a client of SMTP or IMAP logs in with: base64 with NULs",
        examples=(
            "C: AUTH PLAIN ⟦AGpvZQBo" + "dW50ZXIyMg==⟧",
            "AUTH LOGIN ⟦am9lQGV4" + "YW1wbGUuY29t⟧",
        ),
        counter_examples=("AUTH PLAIN LOGIN supported", "AUTH LOGIN failed"),
    ),
    Rule(
        "redis_auth",
        Entity.SECRET,
        Copy.LOWER,
        ("uth",),
        r"(?i:\"auth\\?\"[ ](?:\\?\"[^\"\\\0]{1,64}\\?\"[ ])?\\?\"(?P<x>[^\"\\\0\n]{1,256}+)\\?\")",
        head='(?i:a")',
        check=check_word,
        why="the last word of Redis's command AUTH",
        examples=('"AUTH" "default" "⟦acl-User-pw9⟧"',),
        counter_examples=('"auth": "basic"',),
    ),
    Rule(
        "basic_auth",
        Entity.SECRET,
        Copy.LOWER,
        ("basic",),
        r"(?i:basic)(?:[ ]{1,2}|%20)(?P<x>[0-9A-Za-z+/_-]{6,}+={0,2})",
        check=check_basic,
        why="base64 that holds a colon, as user and password do",
        examples=("Authorization: Basic ⟦dXNlcjpw" + "YXNzd29yZA==⟧",),
        counter_examples=("basic authentication failed", "Basic monitoring"),
    ),
    Rule(
        "keyword",
        Entity.SECRET,
        Copy.LOWER,
        (*_KEYWORDS, "sig(?:=|nature)", "uth", "psk", "sessid", r"_pat\W"),
        rf"{_KEY}(?P<op>{OPERATOR})(?!\[)" + VALUE,
        head=_KEY_HEAD,
        check=check_keyword,
        why="the key's name promises a secret, and the value is as random as it must be for that",
        examples=(
            "password=⟦Sup3r$ecret!⟧ for db",
            'dbPass: "⟦p@ss w0rd⟧",',
            "run --api-key=⟦abcdEFGH1234⟧ -v",
            'x=\\"client_secret\\":\\"⟦a8f5f167f44f⟧\\"',
            "map[password:⟦hunter2⟧ job:x]",
            "- name: DB_PASSWORD\n  value: ⟦x9kd⟧\n",
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
            "cache_key=8f2b8a7c9d1e4f6a8b0c2d4e6f8a0b1c",
        ),
    ),
    Rule(
        "pair",
        Entity.SECRET,
        Copy.LOWER,
        _KEYWORDS,
        _KEY + r"""(?:["']?(?:[ ][^<>\n\0]{0,64})?>(?P<x1>[^<>\s"'\\\0]{1,256})</"""
        r"""|(?P<q>\\?["'])[ ]?,[ ]?(?P=q)"""
        r"""(?P<x2>[^"'\\\s\0]{6,256})(?=\\?["']))""",
        head=_KEY_HEAD,
        check=check_pair,
        why="an element, or the item after its key, whose name promises a secret",
        examples=(
            "<password>⟦Winter2024!⟧</password>",
            "('X-Api-Key', '⟦9f8b7c6d5eX⟧')",
        ),
        counter_examples=("<password></password>", '["password", "email"]', "<key>name</key>"),
    ),
    Rule(
        "password_quoted",
        Entity.SECRET,
        Copy.LOWER,
        ("pass", "psk", "fied by"),
        r"""(?i:pass(?:word|wd|phrase)|psk|identified[ ]by(?:[ ]password)?)"""
        r"""(?:[ ]{1,2}|[ ]?\([ ]?)N?"""
        r"""(?:\\?"(?P<x1>[^\s"\\\0]{1,256}+)(?=\\?")|\\?'(?P<x2>[^\s'\\\0]{1,256}+)(?=\\?')"""
        r"""|`(?P<x3>[^\s`\0]{1,128}+)(?=`))""",
        head=r"(?i:itnedi)?",
        check=check_word,
        why="a quoted word right after `password` or `IDENTIFIED BY`",
        examples=("CREATE USER x IDENTIFIED BY '⟦QdTD1PZ⟧';", 'with password "⟦nproc⟧" ok'),
        counter_examples=("password 'required'", 'password "<PASSWORD>"'),
    ),
    Rule(
        "password_flag",
        Entity.SECRET,
        Copy.LOWER,
        _KEYWORDS,
        r"""(?<![\w./-])(?P<dash>--?)?(?P<key>[A-Za-z][\w-]{1,40}+)[ ]"""
        r"""(?:"(?P<x1>[^\s,:}\]"\\\0][^"\\\0\n]{0,255}+)(?=")"""
        r"""|'(?P<x2>[^\s,:}\]'\\\0][^'\\\0\n]{0,255}+)(?=')|["']?"""
        rf"""(?P<x>(?!-){BARE}{{1,256}}))""",
        head=r"[\w-]{0,40}",
        check=check_flag,
        why="a command's option whose name promises a secret",
        examples=(
            "login --password ⟦hunter2⟧ -u x",
            "--auth-token '⟦a1b2c3⟧'",
            "bindpw ⟦b1nd-me-2⟧",
            "gpg --passphrase '⟦correct horse⟧' -d x",
        ),
        counter_examples=("--password <PASSWORD>", "--token-file /run/x", "--pass $PASS"),
    ),
    Rule(
        "password_argument",
        Entity.SECRET,
        Copy.TEXT,
        (r" -(?:[ackpuwAKPUX]|-user |-proxy-user )",),
        r"""[ ]-(?P<flag>[ackpuwAKPUX]|-user|-proxy-user)(?P<gap>[ ]?)["']?"""
        rf"""(?P<x>(?:[\w.]{{1,32}}\\{{1,2}}(?=[\w.-]{{1,64}}%))?(?!-){BARE}{{1,256}})""",
        check=check_argument,
        why="this option of this command takes a password",
        examples=(
            "mysql -u root -p⟦S3cret!⟧ -h db",
            "curl -s -u ⟦admin:hunter2⟧ https://x",
            r"smbclient -U '⟦CORP\bob%Win-ter9⟧' //fs/share",
        ),
        counter_examples=("mysql -p -h db", "curl -u admin https://x", "ssh -p 22 db"),
    ),
    Rule(
        "password_command",
        Entity.SECRET,
        Copy.LOWER,
        ("pass", "key", "cret", "/user:"),
        r"""(?i:htpasswd[ ]-\w{0,6}b\w{0,6}[ ][^\s\0]{1,96}[ ][^\s\0]{1,64}[ ]["']?"""
        r"""(?P<x1>[^\s"'\\\0]{3,96}+)"""
        r"""|change_password[ ][\w.@-]{1,64}[ ]["']?(?P<x2>[^\s"'\\\0]{3,96}+)"""
        r"""|machine[ ][^\s\0]{1,96}\s{1,8}login[ ][^\s\0]{1,96}\s{1,8}password[ ]"""
        r"""(?P<x3>[^\s"'\\\0]{1,128}+)"""
        r"""|USER[ ][^\s\0]{1,64}(?:\s|\\[rn]){1,4}PASS[ ](?P<x7>[^\s"'\\\0]{3,96}+)"""
        r"""|(?:password|passwd|key|secret)[ ]ENC[ ](?P<x8>[0-9A-Za-z+/]{12,256}+={0,2})"""
        r"""|(?:password|passwd|key|secret)[ ][05789][ ]"""
        r"""(?P<x4>\$[^\s"'\\\0]{8,128}+|[0-9A-F]{6,128}+)"""
        r"""|(?-i:PASSWORD[ ][a-z_]{3,32})[ ]=[ ](?P<x9>[^\s"'\\\0]{8,96}+)"""
        r"""|/user:[^\s\0]{1,96}[ ]["']?(?P<x5>(?![/*])[^\s"'\\\0]{3,96}+)"""
        r"""|echo[ ](?:-n[ ])?["']?(?P<x6>[^\s"'|$\\\0]{4,96}+)["']?[ ]?\|[ ]?"""
        r"""(?:docker|podman|helm|oras|sudo|passwd|chpasswd|gpg|cryptsetup|smbpasswd)(?![\w-]))""",
        head=r"(?i:th|es|_egnahc|hc|bms|(?:\s|[rn]\\){1,4}[^\s\0]{1,64}[ ]resu"
        r"|\s{1,8}[^\s\0]{1,96}[ ]nigol\s{1,8}[^\s\0]{1,96}[ ]enihcam"
        r"|-{1,2}[^\n\0|]{0,80}\|[ ]?[\"']?[^\s\"'|\0]{4,96}[\"']?[ ](?:n-[ ])?ohce|)",
        check=check_word,
        why="this place of this command holds a password",
        examples=(
            "htpasswd -bc /etc/x admin ⟦Wsx3edC4⟧",
            "machine h login bob password ⟦kd93kd⟧",
            "enable secret 5 ⟦$1$mERr$hx5rVt7rPNoS4wqb⟧",
            "echo ⟦Gr8pw⟧ | docker login -u x --password-stdin",
        ),
        counter_examples=("htpasswd -c /etc/x admin", "echo $PW | docker login --password-stdin"),
    ),
    Rule(
        "cookie",
        Entity.SECRET,
        Copy.LOWER,
        ("cookie",),
        r"""(?i:(?<=set-)cookie["']?[:=][ ]?["']?(?P<x1>[\w.-]{1,64}=[^\s;"'\\\0]*+)"""
        r"""|cookie["']?[:=][ ]?["']?(?P<x2>[\w.-]{1,64}=[^\n\r"'\\\0]*+))""",
        why="what a Cookie header holds",
        examples=("Cookie: ⟦sid=abc123; csrf=Zx8⟧", "Set-Cookie: ⟦JSESSIONID=5F2B8A⟧; Path=/"),
        counter_examples=("cookie: missing", "no cookie set"),
    ),
    Rule(
        "secret_said",
        Entity.SECRET,
        Copy.LOWER,
        _KEYWORDS,
        r"""(?<![0-9A-Za-z/])(?i:(?:(?P<lead>[a-z]{3,12})[ _-]?)?"""
        r"""(?P<word>pass(?:word|wd|phrase|code)|secret|token|key)(?:[ ]\d{1,2})?"""
        r"""(?:[ ]is[ ]generated)?"""
        r"""(?:[ ](?:for|of)[ ][^\n\0:]{1,96}(?=:[ ]|(?<=\w)[ ](?:is|was)[ ]))?"""
        r"""(?:(?P<is>(?:[ ](?:is|was|=)(?:[ ](?:set|now))?(?:[ ]to)?|[ ]set[ ]to)?:?[ ])"""
        r"""(?<=[so=:tw][ ])["'`]?(?P<x1>[^\s"'`\\\0]{6,128}+)"""
        r"""|[ ](?:-[ ](?=["'`]))?(?P<q>\\?["'`])?\(?"""
        r"""(?P<x2>[0-9A-Za-z!@#$%^*+/][^\s"'`\\\0(){}\[\]<>,;]{5,127}+)))""",
        head=r"(?i:(?:es)?(?:[ _-]?[a-z]{3,12}(?![a-z]))?)",
        check=check_said,
        why="a sentence tells a word with digits in it as the password or token",
        examples=("the password is ⟦hunter2x9⟧.", "use token ⟦aB3dE6gH9jK2mN5pQ8sT⟧ for it"),
        counter_examples=(
            "password is required",
            "key is db.example.com",
            "token expired at 12:00",
        ),
    ),
    Rule(
        "authorization_code",
        Entity.SECRET,
        Copy.LOWER,
        (r"code=[\w%/.-]{20}",),
        r"(?i:(?<=[?&])code=(?P<x>[\w%/.~-]{20,512}+))",
        check=check_code,
        why="an authorization code in a query string",
        examples=("GET /cb?code=⟦4/0AX4XfWh3kd9fkd83kdkf⟧&state=x",),
        counter_examples=("/x?code=internal_server_error_of_gateway",),
    ),
)
"""In the order of their priority."""
