"""Rules for secrets by the line that holds them: devices, mail, files of logins, codes told."""

import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, before, found, words
from noisegate.scrub.secret_checks import check_vendor, check_word
from noisegate.scrub.secret_values import told
from noisegate.scrub.values import OPERATOR, PROSE, is_placeholder

_END = r"(?=[\"']?[ ]{0,4}(?:\Z|[\n\r\0\"]|\\[rn\"]))"
"""The line ends here, or the string that it stands in."""
_WORD = r"[^\s\"'\\\0]"


def check_login(match: re.Match[str]) -> Span | None:
    """A word at a login's place that a log would not say itself: with digits, signs, two cases."""
    span = check_word(match)
    value = match.string[slice(*found(match))]
    sure = told(value) or re.search(r"[a-z][A-Z]|[^\w.:/-]", value) is not None
    return span if sure or "*" in match[0][: -len(value)] else None


def check_attempt(match: re.Match[str]) -> Span | None:
    """A pair of user and password, not the third of five attempts."""
    return None if match["user"].isdigit() and match["x"].isdigit() else check_word(match)


_COUNTED = re.compile(r"[ ](?:ms|s|sec\w*|min\w*|users?|bytes|processes|requests|times|attempts)\b")


def check_one_time(match: re.Match[str]) -> Span | None:
    """Six to eight digits; four or five where they are said to be the code."""
    if not match["op"] and (len(match["x"]) < 6 or before(match, 12).endswith(("erlang ", "/"))):
        return None
    if len(match["x"]) < 6 and match["otp"]:
        return None
    return None if _COUNTED.match(match.string, match.end()) else found(match)


_TALK = words("no such bad key keys please enter again wrong your empty you loading reading ok")


def check_phrase(match: re.Match[str]) -> Span | None:
    """Words of which none is of a message about a passphrase."""
    value = match.string[slice(*found(match))]
    spoken = (PROSE | _TALK).isdisjoint(re.split(r"[\s-]+", value.lower()))
    return found(match) if spoken and not is_placeholder(value) else None


SECRET_LINE_RULES = (
    Rule(
        "base64_token",
        Entity.SECRET,
        Copy.TEXT,
        ("glc_", "glsa_"),
        r"(?<![0-9A-Za-z_])(?P<x>gl(?:c|sa)_[0-9A-Za-z+/=_]{20,512}+)",
        check=check_vendor,
        why="Grafana's prefix and base64",
        examples=("key ⟦gl" + "c_iTpVz/5o3Z2In3Zbnzx2bELktuVDsVnQT5p512FO==⟧ was used",),
        counter_examples=("glc_short", "xglc_iTpVz5o3Z2In3Zbnzx2bELktuVDsVnQT"),
    ),
    Rule(
        "device_line",
        Entity.SECRET,
        Copy.LOWER,
        (
            *("snmp-server ", "rocommunity", "rwcommunity", "isakmp key ", "message-digest-key "),
            *("tacacs-server ", "radius-server ", "neighbor "),
        ),
        r"(?i:snmp-server[ ](?:community[ ]"
        r"|host[ ][\w.:-]{1,96}[ ](?:(?:traps|informs|version[ ][12]c?)[ ]){0,3})"
        r"|r[ow]community6?[ ]|isakmp[ ]key[ ](?:[06][ ])?"
        r"|(?:tacacs|radius)-server[ ](?:host[ ][\w.:-]{1,96}[ ])?key[ ](?:[0-9][ ])?"
        r"|message-digest-key[ ][0-9]{1,3}[ ]md5[ ](?:[0-9][ ])?"
        r"|neighbor[ ][\w.:-]{1,96}[ ]password[ ](?:[0-9][ ])?)[\"']?"
        rf"(?P<x>{_WORD}{{3,128}}+)"
        rf"(?:{_END}|(?=[\"']?[ ](?i:ro|rw|view|ipv[46]|address|hostname|default|[0-9])))",
        check=check_word,
        why="this place of a network device's configuration holds a community or a key",
        examples=(
            "snmp-server community ⟦privnet⟧ RO",
            "crypto isakmp key ⟦1sakmp-k3y⟧ address 10.0.0.2",
            "tacacs-server host 10.1.1.1 key 7 ⟦0822455D0A16⟧",
            "ip ospf message-digest-key 1 md5 ⟦0spf-key9⟧",
        ),
        counter_examples=(
            "snmp-server community string is not configured",
            "crypto isakmp key not found for peer 10.0.0.2",
            "neighbor 10.1.1.1 password mismatch",
        ),
    ),
    Rule(
        "login_file",
        Entity.SECRET,
        Copy.TEXT,
        (":5432:", ":5433:", ":6432:", r":\*:"),
        r"(?<![\w.:/*-])[\w.*-]{1,100}:(?:[0-9]{2,5}|\*):(?:[\w.-]{1,63}|\*):[\w.@*-]{1,63}:"
        r"(?P<x>[^\s:\"'\\\0]{3,128}+)" + _END,
        head=r"[\w.*-]{0,100}",
        check=check_login,
        why="a line of .pgpass: host, port, database, user, password",
        examples=("db.example.com:5432:orders:app:⟦pgPassw0rd⟧", "*:*:*:replicator:⟦hunter⟧"),
        counter_examples=("10.0.0.1:5432:timeout:retry:3", "db:5432:orders:up:ready"),
    ),
    Rule(
        "oracle_login",
        Entity.SECRET,
        Copy.LOWER,
        ("sqlplus ", "expdp ", "impdp ", "sqlldr ", "rman target ", "thin:"),
        r"(?i:(?:sqlplus|expdp|impdp|sqlldr|rman[ ]target)[ ](?:-\w{1,8}[ ]){0,3}|thin:)[\"']?"
        r"(?P<x>[\w.$#-]{1,64}/[^\s/\"'@\\\0]{2,64}+)(?=@[\w/(])",
        why="user/password before @ in a connection to Oracle",
        examples=(
            "sqlplus -s ⟦system/manager1⟧@ORCL",
            "jdbc:oracle:thin:⟦scott/tiger⟧@dbhost:1521:ORCL",
        ),
        counter_examples=("sqlplus / as sysdba", "sqlplus /nolog", "jdbc:oracle:thin:@//db/x"),
    ),
    Rule(
        "oracle_address",
        Entity.SECRET,
        Copy.TEXT,
        ("@//",),
        r"(?<![\w./:@\"'\\-])(?P<x>[A-Za-z][\w.$#-]{0,63}/[^\s/\"'@\\\0]{2,64}+)"
        r"(?=@//[\w.-]{1,96}(?::[0-9]{2,5})?/\w)",
        head=r"[^\s/\"'@\\\0]{2,64}/[\w.$#-]{1,64}",
        why="user/password before @//host/service",
        examples=("connect ⟦hr_app/Pw2024x⟧@//db1:1521/HR failed",),
        counter_examples=("see libs/ui@//x", "a@//db:1521/x"),
    ),
    Rule(
        "mail_login",
        Entity.SECRET,
        Copy.TEXT,
        ("LOGIN ",),
        r"(?:(?<![\w.])[A-Za-z]{0,8}[0-9]{1,8}|[.>:])[ ]LOGIN[ ]"
        r"(?:\\?\"[^\"\\\0\n]{1,96}\\?\"|[\w.@+-]{1,96})[ ]"
        rf"(?:\\?\"(?P<x1>[^\"\\\0\n]{{1,128}}+)\\?\"|(?P<x2>{_WORD}{{3,128}}+){_END})",
        head=r"[ ](?:[0-9]{1,8}[A-Za-z]{0,8}|[.>:])",
        check=check_login,
        why="the password after the user in IMAP's command LOGIN",
        examples=("C: a001 LOGIN joe ⟦im4p-pw⟧", 'A1 LOGIN "joe" "⟦im4p pw1⟧"'),
        counter_examples=("a001 LOGIN failed", "user LOGIN event received", "a1 LOGIN joe ok"),
    ),
    Rule(
        "mail_pass",
        Entity.SECRET,
        Copy.TEXT,
        ("PASS ", "AUTH "),
        rf"(?:(?:(?:C|[Cc]lient|[Ss]ent|[Cc]ommand):|>)[ ]{{1,2}}PASS[ ](?P<x1>{_WORD}{{4,96}}+)"
        r"|(?:(?:\A|(?<=[\n\0])|>[ ]))AUTH[ ](?:(?!PLAIN|LOGIN|CRAM|NTLM|XOA)[\w-]{1,64}[ ])?"
        rf"(?P<x2>(?=\S{{0,95}}[0-9]){_WORD}{{6,256}}+)){_END}",
        head=r"(?:[ ]{1,2}(?:>|:(?:C|tneil[Cc]|tne[Ss]|dnammo[Cc])))?",
        check=check_word,
        why="the password after PASS of POP and FTP, or after AUTH of Redis, as a client sends it",
        examples=("C: PASS ⟦letmein⟧", "sent: PASS ⟦h0p3less⟧", "AUTH ⟦r3dis-pw9⟧"),
        counter_examples=("PASS TestX1", "--- PASS TestX1", "AUTH PLAIN LOGIN", "AUTH required"),
    ),
    Rule(
        "login_attempt",
        Entity.SECRET,
        Copy.LOWER,
        (r"login attempt \[",),
        r"(?i:login[ ]attempt[ ]\[(?:b[\"'])?(?P<user>[^\n\0/\"']{0,64})[\"']?/(?:b[\"'])?"
        r"(?P<x>[^\n\0]{1,128}?)[\"']?\](?=[ ](?:failed|succeeded)|[\"\s\0]|\Z))",
        check=check_attempt,
        why="the password that somebody tried, as a honeypot writes it",
        examples=(
            "login attempt [root/⟦x4dm1n⟧] failed",
            "login attempt [b'root'/b'⟦1234⟧'] succeeded",
        ),
        counter_examples=("login attempt [3/5] failed", "login attempt [root] failed"),
    ),
    Rule(
        "one_time_code",
        Entity.SECRET,
        Copy.LOWER,
        (
            *("otp", "verification", "confirmation", "one-time ", "one time ", "2fa", "mfa"),
            *("login code", "security code", "activation code", "authenticator ", "passcode"),
        ),
        r"(?i:(?<![A-Za-z])(?:(?P<otp>t?otp(?:[ _-]code)?)|passcode|(?:verification|confirmation"
        r"|one[- ]time|2fa|mfa|login|security|activation|authenticator)"
        r"[ _-](?:pass)?(?:code|pin|password))(?:[ ](?:for|of)[ ][\w.@<>+-]{1,64})?"
        rf"(?:(?P<op>[ ](?:is|was):?[ ]|{OPERATOR})|[ ])\\?[\"'`]?"
        r"(?P<x>[0-9]{3}[ -][0-9]{3}|[0-9]{4,8}+)(?![\w%/:-]|[.,][0-9]))",
        head=r"(?:t(?=\W|_|\Z))?",
        check=check_one_time,
        why="digits right after words such as one-time code",
        examples=("OTP ⟦483920⟧ sent", "your verification code is ⟦123456⟧.", "mfa_code=⟦9182⟧"),
        counter_examples=(
            "Erlang/OTP 26 started",
            "error code is 500123",
            "verification code expired after 300 s",
            "OTP 250000 processes",
            "otp=3600",
        ),
    ),
    Rule(
        "passphrase_told",
        Entity.SECRET,
        Copy.LOWER,
        ("passphrase",),
        r"(?i:passphrase)(?:(?:[ ](?:is|was):?|[ ]?[:=])?[ ]?(?P<q>[\"'])"
        r"(?P<x1>[^\s,:}\]\"'\\\0][^\"'\\\0\n]{1,127})(?P=q)"
        r"|(?:[ ](?:is|was):?|[ ]?[:=])[ ](?P<x2>[a-z]{2,16}(?:[ ][a-z]{2,16}){3,11})(?=,|"
        + _END[3:]
        + ")",
        check=check_phrase,
        why="words to the line's end, or quoted, that are told as a passphrase",
        examples=(
            "passphrase is '⟦correct horse battery⟧'",
            "passphrase: ⟦correct horse battery staple⟧",
        ),
        counter_examples=(
            "passphrase: bad decrypt of the key",
            "passphrase is required in order to go on",
        ),
    ),
    Rule(
        "redis_directive",
        Entity.SECRET,
        Copy.LOWER,
        ("requirepass", "masterauth"),
        rf"(?i:requirepass|masterauth)(?:[ ][\"']?|\\?\"[ ]\\?\")(?P<x>{_WORD}{{4,256}}+){_END}",
        check=check_word,
        why="the password after Redis's directive, to the line's end",
        examples=("requirepass ⟦foobared⟧", '"CONFIG" "SET" "requirepass" "⟦n3w-red1s⟧"'),
        counter_examples=("requirepass is not set", "masterauth required"),
    ),
    Rule(
        "password_call",
        Entity.SECRET,
        Copy.LOWER,
        ("net use ", "add_user ", "mysqli", r"pdo(?:\(|->)", "set password"),
        r"(?i:net[ ]use[ ](?:[a-z*]:?[ ])?\\{2,4}[^\s\0]{1,128}[ ][\"']?(?P<x1>(?!/)"
        rf"{_WORD}{{3,96}}+)[\"']?(?=[ ]/user:)"
        rf"|add_user[ ][\w.@-]{{1,64}}[ ][\"']?(?P<x2>{_WORD}{{3,96}}+)"
        r"|(?:mysqli(?:_connect)?|pdo(?:->__construct)?)\((?:[\"'][^\"'\n\0]{1,128}[\"'],[ ]?){2}"
        r"[\"'](?P<x3>[^\"'\n\0\\]{1,128}+)(?=[\"'])"
        r"|set[ ]password(?:[ ]for[ ][^\s\0]{1,96})?[ ]?=[ ]?(?:password\()?[\"']"
        r"(?P<x4>[^\"'\n\0\\]{1,128}+)(?=[\"']))",
        check=check_word,
        why="this argument of this command or call is a password",
        examples=(
            r"net use Z: \\fs\s ⟦Pa55w0rdx⟧ /user:svc",
            "rabbitmqctl add_user bob ⟦r4bbit⟧",
            "mysqli_connect('db','root','⟦sqli-pw⟧')",
            "SET PASSWORD FOR 'bob'@'h' = '⟦hunter2⟧';",
        ),
        counter_examples=(r"net use \\fs\share failed", "SET PASSWORD requires a privilege"),
    ),
)
"""In the order of their priority."""
