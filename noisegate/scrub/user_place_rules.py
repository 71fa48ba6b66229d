"""Rules for user names in places that hold nothing else: keys, tags, paths, directories' names."""

import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, before, found, words
from noisegate.scrub.user_names import (
    DOMAIN_TAIL,
    NAME,
    SYSTEM_ACCOUNTS,
    is_name,
    is_person,
    named,
)
from noisegate.scrub.values import OPERATOR, SHORT_VALUE

_USER_KEY = re.compile(
    r"(?:\A|(?-i:[a-z0-9](?=[A-Z]))|[_.-])(?:(?:s|d|r|e|cs|src|dst|auth|xauth|unauth|db|os"
    r"|vpn)?user"
    r"(?:[_.-]?name)?|login|login_?name|logname|acct|usr|uname|user[_.]?id|e?mail"
    r"|principal_?name|principal|remote_?user|set_id"
    r"|sam_?account_?name|actor|assignee|assigned_?to|(?-i:AccountID))\Z",
    re.IGNORECASE,
)
_WEAK_KEY = re.compile(
    r"(?:\A|[_.-])(?:owner|author|approver|reviewer|requester|caller)\Z", re.IGNORECASE
)
_BY_KEY = re.compile(
    r"(?:created|updated|modified|changed|acked|acknowledged|approved|resolved|silenced|deployed|"
    r"requested|assigned|reported|closed|opened|triggered|started|run|owned|reviewed|deleted"
    r"|invited|merged|muted|executed|initiated)_?-?by\Z",
    re.IGNORECASE,
)
_TOOLS = words("helm kustomize terraform argocd flux operator ansible prometheus grafana")
_BARE_NAME = re.compile(r"[\w.@+$-]{1,64}(?:\\{1,2}[\w.$-]{1,64})?")
_QUOTED_NAME = re.compile(r"[^\W_][\w.@+$ \\:'-]{0,95}|_\w{1,64}")
_DIGITS = re.compile(r"[\d.-]+")
_NUMBERED = re.compile(r"\(\d{1,9}\)")
_BOXED_NAME = re.compile(r"<([a-z][\w.@-]*)>")
_CODE_OR_KEY = tuple("([=\"'")


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
    return (start, start + len(name)) if is_name(name) else None


def _check_user_key(match: re.Match[str]) -> Span | None:
    key = match["key"].lower()
    by = _BY_KEY.search(key) is not None
    weak = not by and _WEAK_KEY.search(key) is not None
    if not (by or weak or _USER_KEY.search(match["key"])):
        return None
    quoted = match.lastgroup != "x6"
    start, name = _quoted_name(match) if quoted else _bare_name(match)
    lower = name.lower()
    local = lower.partition("@")[0]
    if not name or local in SYSTEM_ACCOUNTS or not is_name(name) or (by and lower in _TOOLS):
        return None
    if (weak and not is_person(name)) or (key.endswith("actor") and not quoted and ":" in name):
        return None
    if key.endswith("mail") and ("@" in name or " " in name or not quoted):
        return None
    if key.endswith("id") and key != "accountid" and re.fullmatch(r"[\d-]+|[0-9a-f-]{16,}", lower):
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
    if value[0] == "<":
        boxed = _BOXED_NAME.fullmatch(value)
        return (start + 1, boxed[1]) if boxed else (start, "")
    name = _BARE_NAME.match(value)
    if name is None:
        return start, ""
    text = name[0].rstrip(".:-")
    ahead = match.string[start + len(text) : start + len(text) + 12]
    if ahead[:1] == "(" and _NUMBERED.match(ahead):
        return start, text  # Slurm's `UserId=jane(1000)`
    # `user=f(x)` is code; in `user= uid=0` the value is empty.
    if ahead and ahead[0] in _CODE_OR_KEY:
        return start, ""
    if ahead[:1] == ":" and text.lower() in ("user", "username"):
        return start, ""  # Kafka's `Principal = User:jane`
    if _DIGITS.fullmatch(name[0]) or match["key"].endswith("-login") or _is_prose(match, text):
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


def _check_titled(match: re.Match[str]) -> Span | None:
    return None if re.fullmatch(r"[\d.-]+|.*\$", match["x"]) else named(match)


# What stands before a backslash and is no domain of users: hives, drives, words before an escape.
_NO_DOMAIN = words("""
    HKLM HKCU HKCR HKU HKEY SYSTEM SOFTWARE SECURITY SAM BUILTIN AUTHORITY SERVICE IIS APPPOOL
    WORKGROUP WINDOWS PROGRAMDATA ERROR WARN WARNING INFO DEBUG FATAL CRITICAL TRACE GET POST OK
""")


def _check_domain(match: re.Match[str]) -> Span | None:
    name = match.string[slice(*found(match))]
    single = match["bar"] == "\\"
    if not match["domain"].isupper() and not is_person(name):
        return None
    # `FAILED\nretry`: after one backslash these letters are an escape's.
    if match["domain"] in _NO_DOMAIN or (single and name[0] in "nrtbfu0x"):
        return None
    return None if name.endswith("$") or _FILE.search(name) else named(match)


_FILE = re.compile(
    r"\.(?:exe|dll|log|txt|sys|ini|dat|xml|json|tmp|bat|cmd|ps1|msi|cfg|conf|py|csv|zip|cs|js|inf|db"
    r"|pdb|md|sql|bak|evtx|lnk|pst|docx?|xlsx?|pdf|html?|ya?ml|config|h|c|cpp|net|com|org|io)\Z",
    re.IGNORECASE,
)
_GROUPS = words("""
    admins users user group groups domain computers controllers team service services account
    accounts root ca authority intermediate issuing server client certificate global signing
    encrypt trust public secure tls ssl issuer
""")


def _check_directory_name(match: re.Match[str]) -> Span | None:
    words_of = match.string[slice(*found(match))].lower().split()
    return None if _GROUPS.intersection(words_of) else named(match)


def _check_enriched(match: re.Match[str]) -> Span | None:
    """`AUID="jane"`: what auditd adds; `"uid": "0c9b..."` is an object's."""
    return None if re.fullmatch(r"unset|[0-9a-f-]{16,}", match["x"]) else named(match)


USER_PLACE_RULES = (
    Rule(
        "user_home",
        Entity.USER,
        Copy.LOWER,
        ("/home/", r"users[/\\]"),
        r"(?:(?:(?<![\w.-])|(?<=/var)|(?<=/usr)|(?<=/export)|(?<=/nfs)|(?<=/mnt)|(?<=/data)"
        r"|(?<=/efs)|(?<=\\[nrt]))/home/|(?<!\w/)(?<=/)Users/"
        r"|(?<=:[\\/])(?i:users)[\\/]"
        r"|(?<=:\\\\)(?i:users)\\\\|(?<=[\w$]\\)(?i:users)\\)"
        r"(?P<x>[0-9A-Za-z_][\w.@$-]{0,63})(?![\w(@%]|:(?!\s))",
        check=_check_home,
        why="the directory of a user's own, under home or Users",
        examples=(
            "open /home/⟦bob⟧/.kube/config",
            r"C:\Users\⟦marie.curie⟧\x.log",
            "PWD=/home/⟦carol⟧ ;",
            "/nfs/home/⟦jdoe⟧ is full",
        ),
        counter_examples=("GET /home/products", "/home/root/x", "example.com/home/x"),
    ),
    Rule(
        "user_spool",
        Entity.USER,
        Copy.LOWER,
        ("spool/", "login", "~[a-z]"),
        r"(?:(?<=/var/)spool/(?:cron/(?:crontabs/|tabs/)?|mail/)"
        r"|(?:(?<=userpass/)|(?<=ldap/)|(?<=okta/)|(?<=radius/))login/)"
        r"(?P<x1>[A-Za-z_][\w.-]{0,63})(?![\w@/-])"
        r"|(?:(?<![\w~/.-])|(?<=[\w.]/))~(?P<x2>[A-Za-z_][\w.-]{0,63})(?=/)",
        check=named,
        why="a file or directory that is named after its user",
        examples=(
            "/var/spool/cron/⟦jane⟧: bad file mode",
            "/var/spool/mail/⟦jdoe⟧ is over quota",
            "auth/userpass/login/⟦jane⟧ denied",
            "cd ~⟦jane⟧/bin",
        ),
        counter_examples=("/var/spool/cron/root", "1.2~rc1/x", "GET /login/reset", "~/bin", "~5m"),
    ),
    Rule(
        "user_key",
        Entity.USER,
        Copy.LOWER,
        (
            "user",
            "login",
            "logname=",
            "cct",
            "uname[=:]",
            "principal",
            "mail['\"\\\\:= ]",
            'by[=:"\\\\]',
            "set_id",
            "account ?(?:name|id)",
            "actor",
            "assign",
            "owner",
            "author[=:\"'\\\\]",
            "approver",
            "reviewer",
            "requester",
        ),
        rf"(?P<key>[0-9A-Za-z_.-]{{1,64}}+)(?P<op>{OPERATOR})" + SHORT_VALUE,
        head=r"[0-9A-Za-z_.-]{0,32}",
        check=_check_user_key,
        why="the value of a key for users",
        examples=(
            "pam: user=⟦frank⟧ x",
            'dbUser: "⟦ops_1712⟧",',
            "map[user:⟦alice⟧]",
            'x {"username":"⟦bob⟧"}',
            "created_by=⟦jane.doe⟧",
            '{"user.name":"⟦jdoe⟧"}',
            '{"actor":"⟦octocat⟧"}',
            "owner=⟦jane⟧",
            "job 7 UserId=⟦jane⟧(1004) State",
        ),
        counter_examples=(
            "user=root",
            "user-agent: curl/8",
            "user: not found",
            "users: 12",
            "managed_by=Helm",
            "owner=payments",
            "User: arn:aws:iam::1:user/x",
            "principal = User:x",
        ),
    ),
    Rule(
        "user_tag",
        Entity.USER,
        Copy.LOWER,
        ("user",),
        r"(?i:user(?:_?name|_?id)?(?:\\?[\"'])?>(?P<x1>[^<>\0\n\"\\]{1,64})</"
        r"|unix-user:(?P<x2>" + NAME + r")"
        r"|user@host:[ ](?P<x3>" + NAME + r"(?:\[[\w.@+$-]{1,64})?))",
        head=r"(?:-xinu)?",
        check=named,
        why="the text of a tag for users",
        examples=(
            "<Data Name='TargetUserName'>⟦jdoe⟧</Data>",
            "<username>⟦jane⟧</username>",
            "owned by unix-user:⟦jane⟧)",
            "# User@Host: ⟦app[app⟧] @ localhost",
        ),
        counter_examples=("<username></username>", "<user>root</user>"),
    ),
    Rule(
        "user_titled",
        Entity.USER,
        Copy.LOWER,
        ("account ?(?:name|id)", "user"),
        r"(?i:account name|user name|user id|user: name)(?:\\?[\"'])?[ ]?[:=]"
        r"(?:[ ]|\\t|\t){0,8}(?P<x>" + NAME + DOMAIN_TAIL + r")",
        check=_check_titled,
        why="the value of a field for users",
        examples=(
            "Account Name:\t\t⟦jdoe⟧\r\n",
            "User ID=⟦svc_app⟧;Password",
            "new user: name=⟦jane⟧, UID=1001",
        ),
        counter_examples=("Account Name: WEB01$", "user id: 4242"),
    ),
    Rule(
        "user_domain",
        Entity.USER,
        Copy.TEXT,
        (r"\\[0-9A-Za-z]", r"\]\\"),
        r"(?<![\w\\/:.%{}<>-])(?P<domain>[A-Za-z][0-9A-Za-z-]{1,15})(?:\]\\{1,2}\[(?P<x1>"
        + NAME
        + r")\]|(?P<bar>\\\\?)(?P<x2>[0-9A-Za-z][\w.$-]{1,63})(?![\w\\/(*?+@:]|-))",
        head=r"\\?[0-9A-Za-z-]{2,16}",
        check=_check_domain,
        why="a Windows domain and one of its users",
        examples=(
            r"CORP\⟦jdoe⟧ was locked out",
            r'"CORP\\⟦natalie⟧"',
            r"(LOCAL\⟦jane⟧, 321)",
            r"contoso\⟦jane.doe⟧ logged",
            r"mapped to [CORP]\[⟦jane⟧]",
        ),
        counter_examples=(
            r"HKLM\Software",
            r"ERROR\nfailed",
            r"NT AUTHORITY\SYSTEM",
            r"\\FILES\share",
            r"CORP\SRV01$",
            r"C:\TEMP\a",
        ),
    ),
    Rule(
        "user_directory",
        Entity.USER,
        Copy.LOWER,
        ("uid=", "cn="),
        r"(?:(?<=\()uid=(?P<x4>[A-Za-z_][\w.-]{0,63})\)|(?i:uid)=(?P<x5>[A-Za-z_][\w.-]{0,63});"
        r"|(?i:uid=(?P<x1>[A-Za-z][\w.-]{0,63}),[ ]?(?:ou|cn|dc|o)="
        r"|cn=(?:(?P<x2>[\w.-]{1,64}),[ ]?(?:ou|cn)=(?:people|users?|staff|employees|members)\b"
        r"|(?P<x3>(?-i:[^\W\d_a-z]\w{1,31}(?:[ ][^\W\d_a-z]\w{1,31}){1,2})),[ ]?(?:ou|cn)=)))",
        check=_check_directory_name,
        why="a person's entry in a directory",
        examples=(
            "bind as uid=⟦jane⟧,ou=people,dc=example",
            "cn=⟦jdoe⟧,ou=Users,dc=x",
            "(&(objectClass=person)(uid=⟦jane⟧))",
            "Server=db1;Uid=⟦jane⟧;Pwd=x",
            "CN=⟦Jane Doe⟧,OU=Staff,DC=corp",
        ),
        counter_examples=(
            "uid=1000,gid=4",
            "CN=Domain Admins,CN=Users,DC=corp",
            "CN=kube-apiserver,O=Kubernetes",
            "cn=admin,dc=x",
        ),
    ),
    Rule(
        "user_id_output",
        Entity.USER,
        Copy.LOWER,
        ("uid=",),
        r"uid=\d{1,7}\((?P<x>[A-Za-z_][\w.-]{0,63})\)",
        check=named,
        why="as the command id writes it",
        examples=("uid=1000(⟦jdoe⟧) gid=100(users)",),
        counter_examples=("uid=0(root)",),
    ),
    Rule(
        "user_audit",
        Entity.USER,
        Copy.LOWER,
        ("uid=", 'uid\\\\?":'),
        r"UID(?:=|\\?\":[ ]?)\\?\"(?P<x>[A-Za-z_][\w.@-]{0,63})\\?\"",
        check=_check_enriched,
        why="as auditd writes who a number is",
        examples=('AUID="⟦jane⟧" UID="root"',),
        counter_examples=('uid="9f2c4e1ab0d84c7e"', 'AUID="unset"'),
    ),
)
"""User names in keys, tags, paths and directories."""
