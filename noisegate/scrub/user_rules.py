"""Rules for user names, in the places where logs, paths and keys hold them."""

import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, before, found, words
from noisegate.scrub.values import OPERATOR, SHORT_VALUE, is_placeholder

SYSTEM_ACCOUNTS = words("""
    git svn hg root nobody daemon bin sys sync games man lp mail news uucp proxy www-data
    backup list irc gnats _apt sshd messagebus syslog ntp dbus polkitd tss uuidd tcpdump
    systemd system anonymous anon
""")
"""Accounts of operating systems, which are nobody's: kept."""

_NOT_NAMES = words("""
    a an the and any are as at be been but by can cannot for from has have if in is it its no
    not of on or that this to was were will with unknown invalid error failed failure success
    null none nil true false undefined empty missing required requests request sessions
    session count total rate latency traffic experience experiences facing space agent agents
    input limit limits quota id ids name names group groups login logout logins password
    authentication data mode account accounts accounting table interface process processes
    code defined impact journey journeys pool service services namespace per up down out after
    before during when while who which does did had may might must should do connections
    connection authenticated logged denied disabled locked exists already attempted attempt
    attempts could would more than all some many every each other another new old yes y n
""")


_NAME = r"[0-9A-Za-z_][\w.@+$-]{0,63}"
_USER_KEY = re.compile(
    r"(?:\A|(?-i:[a-z0-9](?=[A-Z]))|[_.-])(?:user|username|user_?name|login|logname|loginname"
    r"|login_name|ruser|euser|acct|usr|uname|user_?id|userid|e?mail|principalname|principal|remote_?user)\Z",
    re.IGNORECASE,
)
_BY_KEY = re.compile(
    r"(?:created|updated|modified|changed|acked|acknowledged|approved|resolved|silenced|deployed|"
    r"requested|assigned|reported|closed|opened|triggered|started|run|owned|reviewed)_?-?by\Z",
    re.IGNORECASE,
)
_DEEDS = words("""
    created updated modified changed acked acknowledged approved resolved silenced deployed
    requested reported closed opened triggered started initiated reviewed muted merged pushed
    committed restarted stopped deleted removed disabled enabled locked unlocked assigned
""")
_SUFFIXES = words("""
    service socket timer target com org net io local internal svc sh py js go rb yaml yml json
    controller operator manager exe conf default prod
""")
_TOOLS = words("helm kustomize terraform argocd flux operator ansible prometheus grafana")


def _is_name(name: str) -> bool:
    lower = name.lower()
    return not (
        lower in SYSTEM_ACCOUNTS
        or lower in _NOT_NAMES
        or lower.startswith(("system:", "systemd-"))
        or is_placeholder(name)
        or not re.search(r"\w", name)
    )


def _named(match: re.Match[str]) -> Span | None:
    start, end = found(match)
    name = match.string[start:end].rstrip(".:-")
    if "@" in name and name.partition("@")[0].lower() in SYSTEM_ACCOUNTS:
        return None
    return (start, start + len(name)) if _is_name(name) else None


def _check_home(match: re.Match[str]) -> Span | None:
    start, end = found(match)
    name = match.string[start:end].rstrip(".")
    if name.lower() in ("shared", "public", "default", "all") or re.search(
        r"(?:get|post|put|head|delete|patch|https?:/?)[ ]?[\w./-]{0,64}\Z", before(match, 72)
    ):
        return None
    ahead = match.string[end : end + 1]
    if ahead not in ("/", "\\") and re.search(r"\.(?:html?|php|txt|log|js|css|json|ya?ml)\Z", name):
        return None
    return (start, start + len(name)) if _is_name(name) else None


_BARE_NAME = re.compile(r"[\w.@+$-]{1,64}(?:\\{1,2}[\w.$-]{1,64})?")
_QUOTED_NAME = re.compile(r"[^\W_][\w.@+$ \\:'-]{0,95}|_\w{1,64}")
_BOXED_NAME = re.compile(r"<([a-z][\w.@-]*)>")
_CODE_OR_KEY = tuple("([=\"'")


def _check_user_key(match: re.Match[str]) -> Span | None:
    key = match["key"].lower()
    by = _BY_KEY.search(key) is not None
    if not by and not _USER_KEY.search(match["key"]):
        return None
    quoted = match.lastgroup != "x6"
    start, name = _quoted_name(match) if quoted else _bare_name(match)
    lower = name.lower()
    local = lower.partition("@")[0]
    if not name or local in SYSTEM_ACCOUNTS or not _is_name(name) or (by and lower in _TOOLS):
        return None
    if key.endswith("mail") and ("@" in name or " " in name or not quoted):
        return None
    if key.endswith("id") and re.fullmatch(r"[\d-]+|[0-9a-f-]{16,}", lower):
        return None
    return start, start + len(name)


def _quoted_name(match: re.Match[str]) -> tuple[int, str]:
    """Where a quoted value starts, and the name that it is, or an empty one."""
    start, end = found(match)
    value = match.string[start:end]
    known = _QUOTED_NAME.fullmatch(value) and value.count(" ") <= 3
    account = value.isdigit() and len(value) == 12  # a cloud's
    return start, value if known and not account else ""


def _bare_name(match: re.Match[str]) -> tuple[int, str]:
    """Where the name at the start of a bare value starts, and the name, or an empty one."""
    start, end = found(match)
    value = match.string[start:end]
    if boxed := _BOXED_NAME.fullmatch(value):
        return start + 1, boxed[1]
    name = _BARE_NAME.match(value)
    if name is None or re.fullmatch(r"[\d.-]+", name[0]) or match["key"].endswith("-login"):
        return start, ""
    text = name[0].rstrip(".:-")
    following = match.string[start + len(text) : start + len(text) + 1]
    # `user=f(x)` is code; in `user= uid=0` the value is empty.
    if (following and following in _CODE_OR_KEY) or _is_prose(match, text):
        return start, ""
    return start, text


def _is_prose(match: re.Match[str], value: str) -> bool:
    """Whether `User: What is...` goes on as a sentence."""
    start = found(match)[0]
    if "=" in match["op"] or match.string[start - 1] not in " \t" or not value:
        return False
    ahead = match.string[start + len(value) : start + len(value) + 2]
    return (
        value[0].isupper() and ahead[:1] == " " and (ahead[1:].isalpha() or ahead[1:] == '"')
    ) or ahead[:1] == "'"


_FOR_CONTEXT = re.compile(
    r"(?:log[io]ns?|logon|password|publickey|hostbased|pam|auth\w*|access|denied|attempts?|error"
    r"|failed|failure|request|session|opened|closed|accepted|gssapi\S*)"
    r"(?: (?:attempts?|made|failed|denied|errors?))?\s?\Z"
)
_BARE_CONTEXT = re.compile(
    r"(?:log[io]ns?|logon|password|publickey|hostbased|pam|auth|authenti\w*|authoriz\w*"
    r"|access denied|kerberos|accepted)"
    r"(?: (?:attempts?|failed|failure|denied|errors?|request))?\s?\Z"
)


def _check_for(match: re.Match[str]) -> Span | None:
    context = before(match, 40)
    if match.lastgroup == "x2" and match["user"] is None:
        strong = _BARE_CONTEXT.search(context) and match["x2"].lower() not in SYSTEM_ACCOUNTS
        return found(match) if strong and match["x2"] not in ("user", "invalid") else None
    if match.lastgroup == "x2":
        return None  # that of the rule user_word
    if match["user"] is None and not _FOR_CONTEXT.search(context):
        return None
    return _named(match)


_USER_BEFORE = re.compile(
    r"(?:\b(?:for|invalid|illegal|unknown|authenticating|by|retrieve|as|failed|locked"
    r"|disabled|deleted|existing|added|removed|remote|from|of|the|sudo|a|non-?existent|new|local|ldap"
    r"|domain)\s|(?P<bare>[.,;:>)\]-]\s?|\A))\Z"
)
_ACCESS = re.compile(
    r"session|log[io]n|password|auth|access|permi|sudo|fail|denied|account|remov|added|creat|delet|"
    r"invalid|ssh|key|quota|mail|lock|expired"
)
_USER_AFTER = re.compile(
    r" (?:not found|logged|failed|from \S*\d|details|\(|does not|doesn't|is not in|locked"
    r"|cannot|attempted|denied|authenticated|authentication|unknown|disconnected|connected"
    r"|\d+\.\d+\.|\[)|[@,;\])]|\[|\(|\.?(?:\s?\Z|\s?\n|[ ](?=[A-Z]))"
)


def _check_user_word(match: re.Match[str]) -> Span | None:
    if match.lastgroup != "x2":
        return _named(match)
    context = before(match, 48)
    led = _USER_BEFORE.search(context[-24:])
    if led is None:
        return None
    start, end = found(match)
    name = match.string[start:end].rstrip(".")
    if re.fullmatch(r"[\d.]+|[A-Z]{2,5}", name):
        return None
    ahead = match.string[start + len(name) : start + len(name) + 20].partition("\0")[0]
    following = _USER_AFTER.match(ahead)
    if led["bare"] is not None and not (following and following[0].strip(" .,;)]@\n")):
        return None
    certain = (
        (following and (following[0].strip(" .\n") or _ACCESS.search(context)))
        or re.search(r"[\d_.-]|\\", name)
        or re.search(r"invalid|illegal|authenticating|unknown", context)
    )
    return _named(match) if certain else None


def _check_access_log(match: re.Match[str]) -> Span | None:
    """The third field of an access log is a name whatever it says, but for numbers."""
    name = match["x"]
    return (
        found(match)
        if name.lower() not in SYSTEM_ACCOUNTS and re.search("[A-Za-z]", name)
        else None
    )


def _check_titled(match: re.Match[str]) -> Span | None:
    return None if re.fullmatch(r"[\d.-]+|.*\$", match["x"]) else _named(match)


def _check_by(match: re.Match[str]) -> Span | None:
    verb = before(match, 16).rpartition(" ")[2] + "d"
    if (
        verb not in _DEEDS
        or match.string[slice(*found(match))].rpartition(".")[2].lower() in _SUFFIXES
    ):
        return None
    return _named(match)


USER_RULES = (
    Rule(
        "user_home",
        Entity.USER,
        Copy.LOWER,
        ("/home/", r"users[/\\]"),
        r"(?:(?:(?<![\w.-])|(?<=/var)|(?<=/usr)|(?<=/export)|(?<=\\[nrt]))/home/|(?<!\w/)(?<=/)Users/"
        r"|(?<=:[\\/])(?i:users)[\\/]|(?<=:\\\\)(?i:users)\\\\)"
        r"(?P<x>[0-9A-Za-z_][\w.@$-]{0,63})(?![\w(:@%])",
        check=_check_home,
        examples=(
            "open /home/⟦bob⟧/.kube/config",
            r"C:\Users\⟦marie.curie⟧\x.log",
            "PWD=/home/⟦carol⟧ ;",
        ),
        counter_examples=("GET /home/products", "/home/root/x", "example.com/home/x"),
    ),
    Rule(
        "user_key",
        Entity.USER,
        Copy.LOWER,
        ("user", "gin", "gname", "cct", "principal", "mail", 'by[=:"\\\\]'),
        rf"(?P<key>[0-9A-Za-z_.-]{{1,64}}+)(?P<op>{OPERATOR})" + SHORT_VALUE,
        head=r"[0-9A-Za-z_.-]{0,32}",
        check=_check_user_key,
        examples=(
            "pam: user=⟦frank⟧ x",
            'dbUser: "⟦ops_1712⟧",',
            "map[user:⟦alice⟧]",
            'x {"username":"⟦bob⟧"}',
            "created_by=⟦jane.doe⟧",
        ),
        counter_examples=(
            "user=root",
            "user-agent: curl/8",
            "user: not found",
            "users: 12",
            "managed_by=Helm",
        ),
    ),
    Rule(
        "user_word",
        Entity.USER,
        Copy.LOWER,
        ("user ", "username "),
        r"""(?i:user(?:name)?)(?:[ ]{1,2}(?:input|account))?[ ]{1,2}(?:(?:\\?["'`]|\[)(?P<x1>"""
        + _NAME
        + r"""(?:\\{1,2}[\w.$-]{1,64})?)(?=\\?["'`\]])|(?P<x2>"""
        + _NAME
        + r"""(?:\\{1,2}[\w.$-]{1,64})?))""",
        check=_check_user_word,
        examples=(
            "Invalid user ⟦tutu⟧ from 1.2.3.4",
            'failed for user "⟦alice⟧"',
            "user ⟦sss⟧ not found",
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
        r"""(?<=[ ])for[ ](?P<user>(?:invalid |illegal )?user )?(?:(?:\\?["'`]|\[)(?P<x1>"""
        + _NAME
        + r""")(?=\\?["'`\]])|(?P<x2>"""
        + _NAME
        + r""")(?=[ ](?:from|has|by|on|port)[ ]|[ ]?['@]|\Z|\n|\0))""",
        check=_check_for,
        examples=(
            "Accepted publickey for ⟦vagrant⟧ from 192.0.2.1",
            "authentication error for '⟦toto⟧' from",
        ),
        counter_examples=(
            "login failures for 5 minutes",
            "Failed password for root from 192.0.2.1",
        ),
    ),
    Rule(
        "user_sudo",
        Entity.USER,
        Copy.LOWER,
        (": tty=", r"\(uid=", r"\] (?:fail|ok) login", "@'", r"\) cmd "),
        r"""(?P<x>[0-9A-Za-z_][\w.-]{0,63})(?=[ ]:[ ]TTY=|\(uid="""
        r"""|\][ ](?:FAIL|OK)[ ]LOGIN|'@'|\)[ ]CMD)""",
        head=r"[ ']?[\w.-]{1,64}",
        check=_named,
        examples=(
            "sudo: ⟦carol⟧ : TTY=pts/0",
            "by ⟦carol⟧(uid=1000)",
            "[⟦x1⟧] FAIL LOGIN",
            "TO '⟦dev_1⟧'@'%'",
        ),
        counter_examples=("by (uid=0)", "root(uid=0)"),
    ),
    Rule(
        "user_access_log",
        Entity.USER,
        Copy.SHAPE,
        (r"\.0{1,3}\.",),
        r"(?:\.\d{1,3}){3}[ ](?:[^\s\0]{1,64}[ ])?(?P<x>[0-9A-Za-z_][\w.@\\-]{0,63})[ ]"
        r"(?:\[\d\d/\w{2,3}/\d{4}[: ]|\"?(?:GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS)[ ]/)",
        check=_check_access_log,
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
        check=_named,
        examples=("[27/Jul/2023 16:06:44] ⟦admin⟧ - 192.0.2.10",),
        counter_examples=("[1] node - 3 of 4",),
    ),
    Rule(
        "user_at_host",
        Entity.USER,
        Copy.TEXT,
        ("@",),
        r"(?<![\w.])(?P<x>[A-Za-z_][\w.-]{0,63})@(?:\d{1,3}(?:\.\d{1,3}){3}(?![\w.])|[\w.-]{1,64}:[/~]"
        r"|[\w-]{1,63}[ ](?:FATAL|ERROR|LOG|PANIC|WARNING):?[ ])",
        head=r"[\w.-]{1,64}",
        check=_named,
        examples=(
            "[53962] ⟦zysk⟧@postgres FATAL: x",
            "ssh ⟦jane⟧@192.0.2.7 'uptime'",
            "rsync ⟦bob⟧@nas:/srv",
        ),
        counter_examples=("[1] postgres: @x FATAL", "git@nas:/srv/x.git", "root@192.0.2.7"),
    ),
    Rule(
        "user_id_output",
        Entity.USER,
        Copy.TEXT,
        (r"uid=\d{1,7}\(",),
        r"uid=\d{1,7}\((?P<x>[A-Za-z_][\w.-]{0,63})\)",
        check=_named,
        examples=("uid=1000(⟦jdoe⟧) gid=100(users)",),
        counter_examples=("uid=0(root)",),
    ),
    Rule(
        "user_titled",
        Entity.USER,
        Copy.LOWER,
        ("account name", "user name", "user id"),
        r"(?i:account name|user name|user id)(?:\\?[\"'])?[ ]?[:=](?:[ ]|\\t|\t){0,8}(?P<x>"
        + _NAME
        + r"(?:\\{1,2}[\w.$-]{1,64})?)",
        check=_check_titled,
        examples=("Account Name:\t\t⟦jdoe⟧\r\n", "User ID=⟦svc_app⟧;Password"),
        counter_examples=("Account Name: WEB01$", "user id: 4242"),
    ),
    Rule(
        "user_by",
        Entity.USER,
        Copy.LOWER,
        ("d by ",),
        r"d[ ]by[ ](?:@(?P<x1>[A-Za-z][\w.-]{1,63})"
        r"|(?P<x2>[A-Za-z]{2,32}\.[A-Za-z]{2,32})(?![\w./@:-]|\.\w))",
        check=_check_by,
        examples=("silence created by ⟦jane.doe⟧ for 2h", "acked by @⟦jdoe⟧"),
        counter_examples=("killed by oom.service", "created by prometheus", "used by kube.io"),
    ),
)
"""User names in the places where logs write them; names of persons in prose are not looked for."""
