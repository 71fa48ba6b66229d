"""Rules for user names in the set phrases of systems and of people who work with tickets."""

import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, before, found, words
from noisegate.scrub.user_names import NAME, is_name, named, of_person

_ADDRESS_AFTER = re.compile(r"[ ](?:from|on|at|to|via)[ ]\[?(?=[\w:.-]{0,64}[\d.:])[A-Za-z\d]")
_AS_BEFORE = re.compile(
    r"(?:log(?:ged|ging)?[ -]?[io]n|connect(?:ed)?|authenticated?|sign(?:ed)?[ -]?in|logon"
    r"|bind|bound|impersonat(?:ed|ing)|exec(?:uted|uting)?|run|running|whoami:|operating)\Z"
)
_SURELY_AS = re.compile(r"log|auth|sign|impers|whoami")
_NO_ACCOUNT = re.compile(
    r"(?:storage|service|cloud|aws|azure|gcp|billing|machine|bank|the|an?)[ ]\Z"
)
_NO_HDFS = words("""
    hive spark history yarn hdfs oozie hbase mapred tez livy impala sqoop warehouse local share src
    lib bin sbin include settings profile login logout me self info admin orders
""")


def _check_as(match: re.Match[str]) -> Span | None:
    if match["x2"]:  # PostgreSQL's `role "jane" does not exist`
        return named(match)
    verb = _AS_BEFORE.search(before(match, 24))
    if verb is None:
        return None
    at_address = verb[0].startswith(("conn", "b")) and _ADDRESS_AFTER.match(
        match.string, match.end()
    )
    return named(match) if at_address or _SURELY_AS.match(verb[0]) else of_person(match)


def _check_account(match: re.Match[str]) -> Span | None:
    return None if _NO_ACCOUNT.search(before(match, 24)) else named(match)


def _check_directory(match: re.Match[str]) -> Span | None:
    return None if (match["x"] or "").lower() in _NO_HDFS else named(match)


def _check_group(match: re.Match[str]) -> Span | None:
    """A user's own group is called after the user: said before it, as `uid=1(jane)`."""
    near = before(match, 160)
    name = match.string[slice(*found(match))].lower()
    return named(match) if re.search(rf"uid=\d+\({re.escape(name)}\)", near) else None


def _check_who(match: re.Match[str]) -> Span | None:
    """Before `logged in` words of prose may stand, too: there only a person's name."""
    return of_person(match) if match["x1"] else named(match)


def _check_listing(match: re.Match[str]) -> Span | None:
    return found(match) if is_name(match["owner"]) else None


_NAME = r"[A-Za-z_][\w.-]{0,63}"
_TO_END = (
    r"(?=\s?\Z|\0|\n|[.,;()'\"]|[ ](?:from|on|via|at|with|\(|failed|in|for|using|but|and|was))"
)

USER_PHRASE_RULES = (
    Rule(
        "user_as",
        Entity.USER,
        Copy.LOWER,
        (" as:? [0-9a-z_\"'\\\\]", 'role "'),
        r"""(?i:[ ]as):?[ ](?:user[ ])?(?:\\?["'](?P<x3>[A-Za-z_][\w.-]{0,63})(?=\\?["'])"""
        r"""|(?P<x1>[A-Za-z_][\w.-]{0,63})""" + _TO_END + r""")"""
        r"""|(?i:role)[ ]\\?"(?P<x2>[A-Za-z_][\w.-]{0,63})\\?\""""
        r"""(?:[ ](?:does not|is not|has no)|\s?\Z|\0|\n)""",
        check=_check_as,
        why="who somebody logs in as",
        examples=(
            "logged in as ⟦jdoe⟧ from 192.0.2.1",
            "login as ⟦jdoe⟧ failed 5 times",
            "authenticated as '⟦jane⟧' using x",
            "connected as ⟦jane⟧ on db-3",
            'FATAL: role "⟦jane⟧" does not exist',
        ),
        counter_examples=(
            "logged in as root",
            "rated as critical",
            'role "x" is bound',
            "run as expected on node-3 x",
            "running as daemon",
        ),
    ),
    Rule(
        "user_authentication",
        Entity.USER,
        Copy.LOWER,
        ("uth",),
        r"(?:(?P<x1>[A-Za-z_][\w.@-]{0,63}):[ ](?i:auth)entication[ ](?i:failed|failure)"
        r"(?=[^\n\0]{0,40}(?:password|no such user|no user|credential))"
        r"|(?i:auth)entication[ ]of[ ][\[\"'](?P<x2>[A-Za-z_][\w.@-]{0,63})[\]\"'])",
        head=r"(?i:a)(?:[ ]:[\w.@-]{1,64})?",
        check=named,
        why="before or behind what is said of an authentication",
        examples=(
            "DB::Exception: ⟦jane⟧: Authentication failed: password is incorrect",
            "Authentication of [⟦jane⟧] was terminated",
        ),
        counter_examples=("proxy: Authentication failed", "Authentication of clients"),
    ),
    Rule(
        "user_mailbox",
        Entity.USER,
        Copy.LOWER,
        ("from=<[a-z_]", "to=<[a-z_]"),
        r"(?<![\w.-])(?:from|(?:orig_)?to)=(?:<(?P<x1>NAME)(?:@[A-Za-z][\w-]{0,62})?>"
        r")".replace("NAME", _NAME),
        head="(?:_giro)?",
        check=named,
        why="a mailbox of this host in a line of a mail server",
        examples=(
            "pickup: uid=1001 from=<⟦jane⟧>",
            "to=<⟦jane⟧@web1>, orig_to=<root>",
        ),
        counter_examples=("from=<>", "to=<root>", "from=now-1h&to=now"),
    ),
    Rule(
        "user_account",
        Entity.USER,
        Copy.LOWER,
        ("account ['\"a-z]",),
        r"(?i:account)[ ](?:\\?[\"'](?P<x1>[A-Za-z_][\w.-]{0,63})\\?[\"'](?=[ ](?i:is|was|has|does"
        r"|locked|disabled|expired|not|could|cannot|from|failed|denied))"
        r"|(?P<x2>[A-Za-z_][\w.-]{1,63})[ ](?i:(?:is |was |has been |has |got )?"
        r"(?:locked|disabled|expired|unlocked|suspended|compromised|deactivated|terminated)\b))",
        check=_check_account,
        why="an account that is said to be locked or the like",
        examples=(
            "account ⟦jdoe⟧ has been locked",
            "Account '⟦jane⟧' is disabled",
            "account ⟦jane.doe⟧ locked out",
        ),
        counter_examples=(
            "account is locked",
            "account has been locked",
            "storage account x1 is disabled",
            "account lockout",
        ),
    ),
    Rule(
        "user_assigned",
        Entity.USER,
        Copy.LOWER,
        ("assign", "owner"),
        r"(?:(?i:assigned|assignee[ ]changed|owner[ ]changed|ownership[ ]transferred)[ ]from[ ]@?"
        r"(?P<x1>[A-Za-z][\w.-]{1,63})(?=[ ]to[ ])"
        r"|(?i:assigned)[ ]to:?[ ]@?(?P<x2>[A-Za-z][\w.-]{1,63}))(?![\w/@:])",
        check=of_person,
        why="a person to whom work is given or from whom it is taken",
        examples=(
            "Ticket OPS-1 reassigned from ⟦jane.doe⟧ to bob.roe",
            "incident assigned to ⟦jane.doe⟧.",
        ),
        counter_examples=(
            "partition reassigned from broker1 to broker2",
            "pod assigned to node",
        ),
    ),
    Rule(
        "user_assigned_next",
        Entity.USER,
        Copy.LOWER,
        ("assign", "owner"),
        r"(?i:assigned|assignee[ ]changed|owner[ ]changed|ownership[ ]transferred)[ ]from[ ]"
        r"@?[\w.-]{1,64}[ ]to[ ]@?(?P<x>[A-Za-z][\w.-]{1,63})(?![\w/@:])",
        check=of_person,
        why="a person to whom work is given",
        examples=("reassigned from jane.doe to ⟦bob.roe⟧",),
        counter_examples=("reassigned from broker1 to broker2",),
    ),
    Rule(
        "user_principal",
        Entity.USER,
        Copy.LOWER,
        ("user", "principal", "display"),
        r"(?:(?<![\w./])User:(?P<x1>(?!:|arn:)" + NAME + r")"
        r"|principal[ ]\\?[\"'\[]?(?:User:)?(?P<x2>[A-Za-z_][\w.-]{0,63})"
        r"(?=@|/[\w.-]{1,64}@|\\?[\"'\]])"
        r"|(?i:display_?name)\\?\":[ ]?\\?\"(?:ldap|userpass|oidc|okta|github|radius|kerberos|jwt)-"
        r"(?P<x3>[A-Za-z_][\w.@-]{0,63})\\?\""
        r"|(?i:user(?:id)?):\[\d{1,3}\][ ]\\?[\"'](?P<x4>[A-Za-z_][\w.$-]{0,63})\\?[\"']"
        r"|(?i:principalid)\\?\":[ ]?\\?\"A[A-Z]{3}[0-9A-Z]{12,20}:(?P<x6>[A-Za-z_][\w.@-]{0,63})"
        r"|(?i:user[ ]slice[ ]of)[ ](?P<x5>(?!UID\b)[A-Za-z_][\w.-]{0,63}))",
        check=named,
        why="behind how a system marks a principal",
        examples=(
            "Principal = User:⟦jane⟧ is Denied operation",
            "client principal ⟦jane⟧@CORP expired",
            '"display_name":"ldap-⟦jane⟧"',
            '"principalId":"AROAEXAMPLEEXAMPLE12:⟦jane.doe⟧"',
            'CLIENT USER:[4] "⟦jane⟧"',
            "Created slice User Slice of ⟦jane⟧.",
        ),
        counter_examples=(
            "User:ANONYMOUS is Denied",
            "User Slice of UID 1000",
            '"display_name":"ldap-"',
            "principal component",
        ),
    ),
    Rule(
        "user_directory_path",
        Entity.USER,
        Copy.LOWER,
        ("user/", "acls to: "),
        r"(?:(?:(?<=[ =\"':(\[]/)|(?<=\d/))user/(?P<x>[A-Za-z_][\w.-]{0,63})(?=/|\\?[\"']"
        r"|[\s,)\]:]|\Z|\0)|acls[ ]to:[ ](?P<x1>[A-Za-z_][\w.-]{0,63}))",
        check=_check_directory,
        why="a user's own directory in HDFS or server of JupyterHub",
        examples=(
            'inode="/user/⟦jane⟧/out":hdfs',
            "hdfs://nn1:8020/user/⟦jane⟧/x",
            "302 GET /user/⟦jane⟧/lab (1.2.3.4)",
            "Changing view acls to: ⟦jane⟧",
        ),
        counter_examples=("/user/hive/warehouse", "GET /user/orders/x", "/run/user/1000/x"),
    ),
    Rule(
        "user_groups",
        Entity.USER,
        Copy.LOWER,
        ("gid=[1-9][0-9]{3}", "groups="),
        r"(?:gid=\d{1,9}\((?P<x1>[A-Za-z_][\w.-]{0,63})\)"
        r"|groups=(?:[0-9]{1,3}\([\w.-]{1,64}\),){0,16}\d{4,9}\((?P<x2>[A-Za-z_][\w.-]{0,63})\))",
        check=_check_group,
        why="a user's own group, as the command id writes it",
        examples=("uid=1004(jane) gid=1004(⟦jane⟧) groups=27(sudo),1004(⟦jane⟧)",),
        counter_examples=("uid=1(x) gid=100(users)",),
    ),
    Rule(
        "user_told",
        Entity.USER,
        Copy.LOWER,
        ("on-call ", "pag(?:ing|ed) ", "notified ", "handed ", "scalat(?:ing|ed) to "),
        r"(?i:on-call|paging|paged|notified|handed[ ](?:over|off)[ ]to|scalat(?:ing|ed)[ ]to)[ ]"
        r"(?:(?i:engineer|person|user|for[ ][\w-]{1,32}[ ]is|is)[ ])?@?"
        r"(?P<x>[A-Za-z]{1,32}(?:[._-][A-Za-z]{2,32})?)(?![\w@:/-]|\.\w)",
        check=of_person,
        why="a person who is told of an incident",
        examples=(
            "paging ⟦jane.doe⟧ for incident 12",
            "on-call engineer ⟦mlopez⟧ did not respond",
            "handed over to ⟦jane_doe⟧",
            "escalated to @⟦jane.doe⟧",
        ),
        counter_examples=("escalated to secondary", "on-call rotation", "notified by mail"),
    ),
    Rule(
        "user_said",
        Entity.USER,
        Copy.LOWER,
        (
            "login",
            "logged ",
            "denied to ",
            "group: name=",
            r"\) (?:list|replace|begin edit|end edit) \(",
            "-name ",
            "thin:",
        ),
        r"(?:login[ ](?:failure|failed|denied|success\w{0,6}):?[ ](?P<x1>NAME)[ ](?=\d{1,3}\.)"
        r"|(?i:logged)[ ](?:in|out):[ ](?P<x2>NAME)(?=[\s.,;(]|\Z)"
        r"|(?<=\.git )denied[ ]to[ ](?P<x3>NAME)(?=[.,]?(?:\s|\Z|\0))"
        r"|group:[ ]name=(?P<x4>NAME)(?=,[ ]GID=\d{4})"
        r"|\)[ ](?:LIST|REPLACE|BEGIN[ ]EDIT|END[ ]EDIT)[ ]\((?P<x5>NAME)\)"
        r"|(?<=-user)-name[ ](?P<x6>NAME)(?![\w/.])"
        r"|login[ ](?P<x8>NAME)(?=[ ]{1,4}password[ ])|thin:(?P<x7>NAME)/)".replace("NAME", _NAME),
        check=named,
        why="behind the words that say who logged in, was refused, or is in a group",
        examples=(
            "login failure: ⟦xqwert⟧ 192.0.2.1 tty0",
            "User logged in: ⟦jane⟧",
            "Permission to a/x.git denied to ⟦jane⟧.",
            "new group: name=⟦jane⟧, GID=1005",
            "(root) LIST (⟦jane⟧)",
            "machine git.example.com login ⟦jane⟧ password x",
            "jdbc:oracle:thin:⟦jane⟧/x@//db1:1521/x",
            "aws iam create-access-key --user-name ⟦jane⟧",
        ),
        counter_examples=(
            "users logged in",
            "access denied to resource",
            "new group: name=docker, GID=999",
            "login failed: bad 12",
        ),
    ),
    Rule(
        "user_who",
        Entity.USER,
        Copy.LOWER,
        (
            "login",
            "logged ",
            "' to (?:shadow )?group",
            "krbtgt",
            "to root on",
            ":root",
            ": no such user",
        ),
        r"(?:(?P<x1>NAME)[ ](?:is[ ]now[ ])?log(?:in[ ](?:failed|success|attempt)"
        r"|ged[ ](?:in|out|on))"
        r"|'(?P<x2>NAME)'[ ]to[ ](?:shadow[ ])?group"
        r"|(?P<x3>NAME)@[A-Z][\w.-]{1,63}[ ]for[ ]krbtgt"
        r"|(?P<x4>NAME)(?:[ ]to[ ]root[ ]on[ ]|:root(?=\s?\Z))"
        r"|(?P<x5>NAME):[ ]no[ ]such[ ]user)".replace("NAME", _NAME),
        head=r"(?:[ ]rof[ ][\w.-]{1,64}@[\w.-]{1,64}|(?:[ ]won[ ]si)?[ ][\w.-]{1,64}"
        r"|[\w.-]{1,64}'?)",
        check=_check_who,
        why="before the words that say who logged in, became root, or joined a group",
        examples=(
            "[INFO] ⟦jane⟧ is now logged in",
            "Administrator ⟦jane⟧ login failed from ssh",
            "usermod[1]: add '⟦jane⟧' to group 'docker'",
            "NEEDED_PREAUTH: ⟦jane⟧@CORP for krbtgt/CORP",
            "BAD SU ⟦jane⟧ to root on /dev/pts/0",
            "su: + /dev/pts/0 ⟦jane⟧:root",
            "id: ⟦jane⟧: no such user",
        ),
        counter_examples=("users logged in", "last login failed", "'x' to", "chown x:root /x"),
    ),
    Rule(
        "user_listing",
        Entity.USER,
        Copy.LOWER,
        ("rw[-xs][r-][w-]",),
        r"[-dlbcps](?:[r-][w-][xsStT-]){3}[.+@]?[ ]{1,4}\d{1,6}[ ]{1,4}"
        r"(?P<x>(?P<owner>[A-Za-z_][\w.-]{0,31})(?:[ ]{1,8}(?P=owner))?)(?=[ ])",
        head="[-dlbcps]",
        check=_check_listing,
        why="the owner of a file, as the command ls writes it",
        examples=(
            "-rw-r--r-- 1 ⟦jane⟧ staff 12 Oct",
            "drwxr-xr-x. 2 ⟦jane jane⟧ 4096 x",
        ),
        counter_examples=("-rw-r--r-- 1 root root 12 Oct", "mode -rw-r--r-- on x"),
    ),
)
"""User names in phrases that systems always write alike, and in those of tickets."""
