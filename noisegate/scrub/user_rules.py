"""Rules for user names in the sentences and lines that logs write."""

import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, before, found
from noisegate.scrub.user_by_rules import USER_BY_RULES
from noisegate.scrub.user_command_rules import USER_COMMAND_RULES
from noisegate.scrub.user_names import DOMAIN_TAIL, NAME, is_name, is_person, named, of_person
from noisegate.scrub.user_names import SYSTEM_ACCOUNTS as SYSTEM_ACCOUNTS
from noisegate.scrub.user_phrase_rules import USER_PHRASE_RULES
from noisegate.scrub.user_place_rules import USER_PLACE_RULES

_FOR_CONTEXT = re.compile(
    r"(?:log[io]ns?|logon|password|publickey|hostbased|pam|auth\w*|access|denied|attempts?|error"
    r"|failed|failure|request|session|opened|closed|accepted|gssapi\S*|exceeded|succeeded|pts/\d+)"
    r"(?: (?:attempts?|made|failed|denied|errors?))?\s{0,2}\Z"
)
_BARE_CONTEXT = re.compile(
    r"(?:log[io]ns?|logon|password|publickey|hostbased|pam|auth|authenti\w*|authoriz\w*"
    r"|access denied|kerberos|accepted|exceeded|(?:tty|pts/)\d+)"
    r"(?: (?:attempts?|failed|failure|denied|errors?|request|changed|reset"
    r"|expired|incorrect|updated))?"
    r"\s{0,2}\Z"
)
_FOR_AFTER = re.compile(
    r"[ ](?:from|has|by|on|port|in)[ ]|[ ]?['@]|[ ][(\[]\d|[ ]:[ ]|,[ ]A|\Z|\n|\0"
)
# `for jane from 192.0.2.1` is said of a user where the line speaks of logins at all.
_FROM_ADDRESS = re.compile(
    r"[ ](?:from|on|at)[ ](?:host[ ])?\[?(?:\d{1,3}\.\d|[\da-f]{0,4}:[\da-f:])"
)
_OF_LOGINS = re.compile(
    r"passw|log[io]n|logon|credential|bind|token|disabled|\bauth|credential|user|otp\b|mfa\b"
    r"|2fa\b|session|kerberos"
)


def _certain(match: re.Match[str]) -> Span | None:
    """The span of a name where any word is one, `test` too, but for the accounts of systems."""
    start, end = found(match)
    name = match.string[start:end].rstrip(".:")
    bad = name.lower() in SYSTEM_ACCOUNTS or (name != match.string[start:end] and not is_name(name))
    return None if bad else (start, start + len(name))


def _check_for(match: re.Match[str]) -> Span | None:
    if match.lastgroup == "x2" and match["user"] is None:
        person = of_person(match)
        ends = _FOR_AFTER.match(match.string, match.end())
        if match["x2"] in ("user", "invalid") or not (person or ends):
            return None
        context = before(match, 40)
        if person and _OF_LOGINS.search(context):
            return person
        if not ends:
            return None
        if _BARE_CONTEXT.search(context):
            changed = re.search(r"(?:changed|reset|expired|incorrect|updated)\s{0,2}\Z", context)
            return named(match) if changed else _certain(match)
        at_address = _FROM_ADDRESS.match(match.string, match.end())
        return named(match) if at_address and _OF_LOGINS.search(context) else None
    if match.lastgroup == "x2":
        return None  # that of the rule user_word
    if match["user"] is None and not _FOR_CONTEXT.search(before(match, 40)):
        return None
    return named(match)


_USER_BEFORE = re.compile(
    r"(?:\b(?:for|invalid|illegal|unknown|authenticating|by|retrieve|as|failed|locked|this"
    r"|disabled|deleted|existing|added|removed|remote|from|of|the|sudo|a|non-?existent|new"
    r"|local|ldap"
    r"|domain|delete|add|change|adding|out|existent|standard|with|provided|given|specified|find"
    r"|supplied|found|granted|revoked|authenticated|authenticate|logged|password|username|login"
    r"|server)\s{1,2}"
    r"|(?P<bare>[.,;:>)\]-]\s{0,2}|\n\s{0,8}|\A))\Z"
)
_ACCESS = re.compile(
    r"session|log[io]n|password|auth|access|permi|sudo|fail|denied|account|remov|added|creat|delet|"
    r"invalid|ssh|key|quota|mail|lock|expired"
)
_USER_AFTER = re.compile(
    r" (?:not found|logged|failed|from \S*\d|details|\(|does not|doesn't|is not in|locked|was"
    r"|cannot|attempted|denied|authenticat(?:ed|ion)\b|unknown|disconnected|connected|by \("
    r"|\d+\.\d+\.|\[|has\b|and(?:/or)? pass|or pass"
    r"|privilege \d|password \d|secret \d|class |not (?:in|allowed|authori)|log(?:in|on|out)\b"
    r"|is\b|in \w+ db|at \S*\d|on \S*\d)|[@,;\])]|\[|\(|:[ ](?:no such|pass|auth|log|acc|inval"
    r"|perm|\d)"
    r"|\.?(?:\s?\Z|\s?\n|[ ](?=[A-Z]))",
    re.IGNORECASE,
)
# Said of a name whatever it is, `service` or `test` too.
_SURELY = re.compile(r" (?:from \S*\d+[.:]\S*|\d+\.\d+\.\d+\.\d+|\[preauth\]|port \d)")
_SURNAME = re.compile(r"[ ][A-Z][a-z]{1,31}(?=[.,;)]|\s?\Z|\s?\n)")


def _check_user_word(match: re.Match[str]) -> Span | None:
    if match.lastgroup != "x2":
        return named(match)
    context = before(match, 48)
    start, end = found(match)
    name = match.string[start:end].rstrip(".:")
    ahead = match.string[start + len(name) : start + len(name) + 48].partition("\0")[0]
    if re.search(r"(?:invalid|illegal)[ ]\Z", context) and _SURELY.match(ahead):
        return _certain(match)
    led = _USER_BEFORE.search(context[-24:])
    if led is None:
        return None
    if re.fullmatch(r"[\d.]+|[A-Z]{2,5}", name):
        return None
    following = _USER_AFTER.match(ahead)
    person = is_person(name)
    if (
        led["bare"] is not None
        and not person
        and not (following and following[0].strip(" .,;)]@\n"))
    ):
        return None
    if context.endswith("by ") and name.istitle() and (surname := _SURNAME.match(ahead)):
        return start, start + len(name) + surname.end()
    if context.endswith(" the ") and following and not following[0].strip(" .\n"):
        return None
    certain = (
        (following and (following[0].strip(" .\n") or _ACCESS.search(context)))
        or re.search(r"[\d_.-]|\\", name)
        or re.search(r"invalid|illegal|authenticating|unknown", context)
        or person
    )
    return named(match) if certain else None


def _check_access_log(match: re.Match[str]) -> Span | None:
    """The third field of an access log is a name whatever it says, but for numbers."""
    name = match["x"]
    return (
        found(match)
        if name.lower() not in SYSTEM_ACCOUNTS and re.search("[A-Za-z]", name)
        else None
    )


def _check_mention(match: re.Match[str]) -> Span | None:
    if match.lastgroup == "x1":
        return named(match)
    if match.lastgroup == "x2":
        shell = re.search(
            r"\b(?:ssh|scp|sftp|rsync|mosh|ssh-copy-id)[ ]|\bwho:\s{1,10}\Z", before(match, 48)
        )
        return named(match) if shell else None
    return named(match) if match.lastgroup == "x4" else of_person(match)


USER_RULES = (
    *USER_PLACE_RULES,
    *USER_COMMAND_RULES,
    *USER_BY_RULES,
    *USER_PHRASE_RULES,
    Rule(
        "user_word",
        Entity.USER,
        Copy.LOWER,
        ("user",),
        r"""(?i:user(?:name)?)(?:[ ](?:input|account|denied(?=:)))?:?[ ]{1,2}"""
        r"""(?:(?:\[[\w.-]{0,32}\]\\{1,2}\[(?P<x4>"""
        + NAME
        + r""")(?=\]))|(?:\\?["'`]|\[|<(?=[^>]{0,40}[a-z]))"""
        r"""(?:(?:oidc|ldap|github|keycloak|dex|okta|google|sso)[:/|#])?(?P<x1>"""
        + NAME
        + DOMAIN_TAIL
        + r""")(?=\\?["'`>]|\](?!\\{1,2}\[))|(?P<x2>"""
        + NAME
        + DOMAIN_TAIL
        + r"""))""",
        check=_check_user_word,
        why="the word user before it, and around it what is said of one",
        examples=(
            "Invalid user ⟦tutu⟧ from 1.2.3.4",
            'failed for user "⟦alice⟧"',
            "user ⟦sss⟧ not found",
            "Invalid user ⟦service⟧ from 192.0.2.1 port 4",
            r"user [CORP]\[⟦jdoe⟧] at",
            "Started by user ⟦Jane Doe⟧",
            "session opened for user ⟦cyrus⟧ by (uid=0)",
            "User <⟦jdoe⟧> IP",
            'User "oidc:⟦jane⟧" cannot list',
            "Provided username ⟦jane⟧ and/or password are incorrect",
            "User ⟦jane⟧ has exited tty session 2(192.0.2.1)",
        ),
        counter_examples=(
            "opened for user root by",
            "user experience degraded",
            "High user CPU usage",
            "User API",
            "User Service down",
            "High load for user workload",
        ),
    ),
    Rule(
        "user_for",
        Entity.USER,
        Copy.LOWER,
        ("for ",),
        r"""(?<=[ ])(?i:for)[ ]{1,2}(?P<user>(?:invalid |illegal )?user )?"""
        r"""(?:(?:\\?["'`]|\[)(?P<x1>"""
        + NAME
        + r""")(?=\\?["'`\]])|(?P<x2>"""
        + NAME
        + r""")(?=[ ](?:from|has|by|on|port|in"""
        r"""|expired|terminated|failed|denied|was|is|after)\b"""
        r"""|:[ ]|[.,;)]?(?:\s|\Z)|[ ]?['@]|[ ][(\[]\d|[ ]:[ ]|,[ ]A|\Z|\n|\0))""",
        check=_check_for,
        why="behind for, after a word for a login",
        examples=(
            "Accepted publickey for ⟦vagrant⟧ from 192.0.2.1",
            "authentication error for '⟦toto⟧' from",
            "Bad password for ⟦dani⟧ (192.0.2.1)",
            "FAILED LOGIN 1 FROM tty1 FOR ⟦jane⟧, Authentication failure",
            "Incorrect username or password was specified for ⟦jane⟧ from 192.0.2.1",
            "passwd: password changed for ⟦jane⟧",
        ),
        counter_examples=(
            "login failures for 5 minutes",
            "Failed password for root from 192.0.2.1",
            "Scripting error for '0x0067000f': bad",
        ),
    ),
    Rule(
        "user_sudo",
        Entity.USER,
        Copy.LOWER,
        (": tty=", r"\(uid=", r"\] (?:fail|ok)", "@'", r"\) cmd "),
        r"""(?P<x>[0-9A-Za-z_][\w.-]{0,63})(?=[ ]:[ ]TTY=|\(uid="""
        r"""|\][ ](?:(?:FAIL|OK)[ ][A-Z]|failed[ ]to[ ]log)|'@'|\)[ ]CMD)""",
        head=r"[ ']?[\w.-]{1,64}",
        check=named,
        why="where sudo, PAM, cron, FTP and SQL servers write who it is",
        examples=(
            "sudo: ⟦carol⟧ : TTY=pts/0",
            "by ⟦carol⟧(uid=1000)",
            "[⟦x1⟧] FAIL LOGIN",
            "TO '⟦dev_1⟧'@'%'",
        ),
        counter_examples=("by (uid=0)", "root(uid=0)"),
    ),
    Rule(
        "user_program",
        Entity.USER,
        Copy.LOWER,
        ("sudo", "cron", "dovecot", r"\(to ", "login"),
        r"(?:(?P<x8>[\w.-]{1,64})[ ]is[ ]not[ ]in[ ]the[ ]sudo"
        r"|(?i:sudo(?:\[\d{1,9}\])?:[ ]{1,8}(?P<x1>[\w.-]{1,64})[ ]:[ ]"
        r"|cron(?:d|tab)?\[\d{1,9}\]:[ ]\((?P<x2>[\w.-]{1,64})\)"
        r"|dovecot:[ ](?:[\w-]{1,16}(?:\(\d{1,9}\))?:[ ])?"
        r"(?:imap|pop3|lmtp|lda|pam|sql|ldap|auth|passwd-file)\((?P<x3>[\w.-]{1,64})[),]"
        r"|login attempt \[(?:b')?(?P<x5>[\w.@-]{1,64})'?/"
        r"|login failed: \\?'?(?P<x6>[\w.@-]{1,64})\\?'?[ ]\(Remote"
        r"|login as (?P<x7>[\w.@-]{1,64})[ ]from[ ]"
        r"|\(to[ ][\w.-]{1,64}\)[ ](?P<x4>[\w.-]{1,64})[ ]on[ ])"
        r"|(?i:login)[ ](?i:incorrect|ok)[^\[\n\0]{0,32}\[(?P<x9>[A-Za-z_][\w.@-]{0,63})(?=[\]/]))",
        head=r"(?:[ ]eht[ ]ni[ ]ton[ ]si[ ][\w.-]{1,64})?",
        check=named,
        why="where sudo, su, cron and Dovecot write for whom they run",
        examples=(
            "sudo:  ⟦mike⟧ : 1 incorrect password attempt",
            "CRON[12]: (⟦jane⟧) CMD (run)",
            "dovecot: auth-worker(24058): pam(⟦toto⟧,1.1.1.1,<x>): failed",
            "FAILED SU (to root) ⟦jane⟧ on pts/0",
            "login attempt [b'⟦jane⟧'/b'x'] failed",
            "Login failed: ⟦jane⟧ (Remote IP: x)",
            "Invalid login as ⟦jane⟧ from x",
            "⟦jane⟧ is not in the sudoers file.",
            "Login incorrect: [⟦jane⟧/x] (from client nas)",
        ),
        counter_examples=("CRON[12]: (root) CMD (run)", "sudo: pam_unix(sudo:auth): conversation"),
    ),
    Rule(
        "user_access_log",
        Entity.USER,
        Copy.SHAPE,
        (r"\.0{1,3}\.",),
        r"(?:\.\d{1,3}){3}[ ](?:[^\s\0]{1,64}[ ])?(?P<x>[0-9A-Za-z_][\w.@\\-]{0,63})[ ]"
        r"(?:\[\d\d/\w{2,3}/\d{4}[: ]|\"?(?:GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS)[ ]/)",
        check=_check_access_log,
        why="the field for the user in a line of an access log",
        examples=(
            '192.0.2.1 - ⟦frank⟧ [10/Oct/2026:13:55:36 -0700] "GET',
            "192.0.2.4 ⟦jo⟧ GET /x 404",
        ),
        counter_examples=('192.0.2.1 - - [10/Oct/2026:13:55:36 -0700] "GET',),
    ),
    Rule(
        "user_common_log",
        Entity.USER,
        Copy.SHAPE,
        (r"\[00/Aaa/0000:",),
        r"(?<=[ ]-[ ])(?P<x>[0-9A-Za-z_][\w.@\\-]{0,63})[ ]\[",
        head=r"[ ][\w.@\\-]{1,64}",
        check=_check_access_log,
        why="the field for the user in a line of an access log",
        examples=('web.example.com - ⟦jane⟧ [10/Oct/2026:13:55:36 +0000] "GET / HTTP/1.1"',),
        counter_examples=("web.example.com - - [10/Oct/2026:13:55:36 +0000]",),
    ),
    Rule(
        "user_dated",
        Entity.USER,
        Copy.SHAPE,
        (r"- 0{1,3}\.0",),
        r"(?<=\][ ])(?P<x>[0-9A-Za-z_][\w.-]{0,63})[ ]-[ ]",
        head=r"[ ][\w.-]{1,64}",
        check=named,
        why="between a date in brackets and an address",
        examples=("[27/Jul/2023 16:06:44] ⟦admin⟧ - 192.0.2.10",),
        counter_examples=("[1] node - 3 of 4", "[10.30 16:49] putty.exe - 192.0.2.10:22 open"),
    ),
    Rule(
        "user_before_address",
        Entity.USER,
        Copy.SHAPE,
        (r"\.0{1,3}\.",),
        r"(?P<x>[A-Za-z_][\w.@-]{0,63})(?:/\d{1,3}(?:\.\d{1,3}){3}:\d{1,5}[ ]"
        r"(?:MULTI|TLS|VERIFY|Data|Control|Peer|PUSH|SENT|SIG|\[)"
        r"|[ ](?:HIER_[A-Z]{4,12}|[A-Z_]{0,16}(?:DIRECT|PARENT))/\d"
        r"|[ ]{1,12}pts/\d{1,4}[ ]{1,12}\d{1,3}\.|[ ]\d{1,3}(?:\.\d{1,3}){3}[ ]failed to log)",
        head=r"\d{1,3}(?:/(?:[A-Z_]{4,20}[ ])?|[ ]{1,12}\d{1,4}/stp[ ]{1,12}|[ ])[\w.@-]{1,64}",
        check=named,
        why="where OpenVPN, Squid and who write whose address it is",
        examples=(
            "⟦jane⟧/203.0.113.7:51234 MULTI: primary",
            "GET http://x/ ⟦jdoe⟧ HIER_DIRECT/203.0.113.7 text",
            "⟦jane⟧   pts/0  203.0.113.7  10:04",
            "2026-02-22 01:27:36 ⟦jane_d⟧ 192.0.2.1 failed to login",
        ),
        counter_examples=("tcp/203.0.113.7:80 open", "logged in on pts/0 203.0.113.7"),
    ),
    Rule(
        "user_at_host",
        Entity.USER,
        Copy.TEXT,
        ("@",),
        r"(?<![\w.])(?:(?P<x1>[A-Za-z_][\w.-]{0,63})(?:@(?:\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"
        r"|[\w.-]{1,64}:[/~:]|(?:pam|pve)\b|[\w-]{1,63}[ ](?:FATAL|ERROR|LOG|PANIC|WARNING):?[ ])"
        r"|/(?:admin|root)@[A-Z][A-Z.]{2,63}(?![\w.]))"
        r"|(?P<x2>[A-Za-z_][\w.-]{0,63})@[A-Za-z][\w-]{1,62}(?![\w.@-])"
        r"|@[UW][0-9A-Z]{6,12}\|(?P<x4>[\w.-]{1,64})>|(?<![\w/.@:-])@(?P<x3>[A-Za-z][\w.]{1,63})(?![\w@/:-]))",
        head=r"(?:(?:nimda/|toor/)?[\w.-]{1,64})?",
        check=_check_mention,
        why="a login at a host, or a mention of a person",
        examples=(
            "[53962] ⟦zysk⟧@postgres FATAL: x",
            "ssh ⟦jane⟧@192.0.2.7 'uptime'",
            "rsync ⟦bob⟧@nas:/srv",
            "ssh -v ⟦jdoe⟧@bastion failed",
            "scp ⟦jdoe⟧@bastion:x .",
            "Lock Info: Who:  ⟦xqwert⟧@laptop-7",
            "<@U024BE7LH|⟦jane⟧> restarts it",
            "no such user ('⟦jane⟧@pam')",
            "cc @⟦jane.doe⟧ please",
        ),
        counter_examples=(
            "[1] postgres: @x FATAL",
            "git@nas:/srv/x.git",
            "root@192.0.2.7",
            "cc @oncall @here",
            "wal@standby",
        ),
    ),
)
"""User names in the places where logs write them; names of persons in prose are another rule's."""
