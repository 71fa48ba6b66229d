"""Rules for user names in commands: of shells, of clients of databases and services, of SQL."""

import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import Copy, Rule, Span, before, found, words
from noisegate.scrub.user_names import is_name, named

_CLIENTS = {
    "u": r"mysql\w*|mariadb[\w-]*|mycli|xtrabackup|mongo\w*|(?:docker|podman|nerdctl|skopeo|buildah"
    r"|registry|oras|auth|oc|cf|argocd|tsh) login|az|cqlsh|snowsql|sqlcmd|clickhouse-client"
    r"|ansible[\w-]*|lftp|ncftp\w*|curl|mosquitto_\w+|snmp\w+|rabbitmqadmin|influx|couchbase-cli"
    r"|cbq|ps|pgrep|pkill|killall|lsof|id|psexec\w*|winexe|evil-winrm|knife|quota|edquota"
    r"|setquota|pdbedit|rdesktop|netexec|crackmapexec|squeue|sacct|scancel|squota|qstat|bjobs",
    "U": r"psql|pg_\w+|createdb|dropdb|vacuumdb|reindexdb|clusterdb|pgbench|smbclient|rpcclient"
    r"|sqlcmd|osql|isql|tsql|bcp|ipmitool|net|smbget|ldapsearch|wmic|impacket-\w+|pkill|pgrep|ps",
    "l": r"hydra|medusa|su|rsh|rlogin|slogin|plink|lastlog|passwd|chage",
}
_CLIENT_BEFORE = {
    option: re.compile(rf"(?:^|[\s/'\"(`+$])(?:{clients})(?:\.exe)?(?:[ ][^|;&\n]*)?\Z")
    for option, clients in _CLIENTS.items()
}
_SSH_BEFORE = re.compile(r"\b(?:ssh|scp|sftp|sshfs)(?:[ ]-\w{1,8}(?:[ ](?!-)[^\s;|&]{1,64})?)*\Z")
_OPTION_BEFORE = re.compile(r"(?:\A|[\s'\"\[(,`])--?(?:[a-z]+[_-]){0,3}\Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")
_NO_ACCOUNTS = words("""
    if not exists public current_user session_user current_role only role database schema table
    group with add remove delete list show info create update modify passwd mod all mapping for
    id ids name names agent namespace readonly readwrite read_only read_write
    reader writer reporting replication monitoring app application analysts developers
""")


def _check_option(match: re.Match[str]) -> Span | None:
    """`-u jane` is a user to some commands only; the last one on the line says which."""
    option = match["option"]
    line = before(match, 200).rpartition("\n")[2]
    line = line[max(map(line.rfind, "|;&")) + 1 :]
    client = _CLIENT_BEFORE[option].search(line)
    if client is None and not (option == "l" and _SSH_BEFORE.search(line)):
        return None
    return None if _UUID.match(match["x"]) else named(match)


def _check_long_option(match: re.Match[str]) -> Span | None:
    if match[0].startswith("--"):
        return None if "kubectl" not in before(match, 96) else named(match)
    return named(match) if _OPTION_BEFORE.search(before(match, 48)) else None


def _check_account(match: re.Match[str]) -> Span | None:
    """A name where the grammar of a command has one, and no other word of its grammar."""
    start, end = found(match)
    return None if match.string[start:end].lower() in _NO_ACCOUNTS else named(match)


def _check_hash(match: re.Match[str]) -> Span | None:
    start, end = found(match)
    name = match.string[start:end]
    key = re.search(r"pass|hash|secret|crypt|pw\Z|key\Z", name.lower())
    return (start, end) if is_name(name) and not key else None


_QUOTE = r"""(?:\\?["'`\[])?"""
_ACCOUNT = r"[A-Za-z_][\w.-]{0,63}"
_PRIVILEGE = r"(?i:all|select|insert|update|delete|execute|usage|connect|create|alter|drop|super)"

USER_COMMAND_RULES = (
    Rule(
        "user_command",
        Entity.USER,
        Copy.LOWER,
        ("user", "sudo", "cron", "chown ", "su - "),
        r"(?<![\w/.-])(?:(?:user(?:add|mod|del)|adduser)(?:[ ]-[A-Za-z]{1,2}(?:[ ](?!-)"
        r"[\w,/-]{1,32}(?=[ ][\w-]))?){0,4}[ ](?P<x1>[a-z_][\w.-]{0,63})"
        r"|chown(?:[ ]-[A-Za-z]{1,3}){0,2}[ ](?P<x2>[a-z_][\w.-]{0,63})"
        r"|(?:sudo|crontab)(?:[ ]-[A-Za-tv-z]){0,2}[ ]-u[ ](?P<x3>[a-z_][\w.-]{0,63})"
        r"|su[ ]-[ ](?P<x4>[a-z_][\w.-]{0,63}))(?![\w./=({[])",
        head="(?:dda)?",
        check=named,
        why="the user that a command is run for or on",
        examples=(
            "sudo -u ⟦jane⟧ restart failed",
            "chown -R ⟦jane⟧:staff /srv",
            "usermod -aG docker ⟦jane⟧",
            "su - ⟦jane⟧",
        ),
        counter_examples=("sudo -u root id", "chown root:root /x", "sudo systemctl restart nginx"),
    ),
    Rule(
        "user_option",
        Entity.USER,
        Copy.TEXT,
        (r" -(?:[acpuwAPUX]|-user |-proxy-user )", " -l [0-9A-Za-z_]"),
        r"[ ]-(?P<option>[uUl])[ ]?\\?[\"']?(?P<x>" + _ACCOUNT + r")(?![\w.:/=(\\$]|[ ]?[=(])",
        check=_check_option,
        why="this option of this command takes a user",
        examples=(
            "mysql -h db.internal -u ⟦jane⟧ -p x < dump.sql",
            "docker login -u ⟦jane_d⟧ registry",
            "psql -h db -U '⟦jane⟧' x",
            "ssh -p 22 -l ⟦jane⟧ bastion",
            "curl -s -u ⟦jane⟧ https://x",
            "mysqldump -u⟦jane⟧ x",
        ),
        counter_examples=(
            "git push -u origin main",
            "journalctl -u nginx",
            "ssh host ls -l data",
            "mysql -h db | sort -u names",
            "psql -U postgres_exporter:x",
            "docker run -u node x",
        ),
    ),
    Rule(
        "user_long_option",
        Entity.USER,
        Copy.LOWER,
        ("user", "login", "--as[ =]"),
        r"(?:user(?:[_-]?name)?[ ]|login[ ]|--as[ =])\\?[\"']?(?P<x>"
        + _ACCOUNT
        + r")(?![\w.:/=(\\%$])",
        check=_check_long_option,
        why="an option that is called after users",
        examples=(
            "kubectl config set --username ⟦jane⟧ x",
            "redis-cli --user ⟦jane⟧ --pass x",
            "vault login -method=ldap -username ⟦jane⟧",
            "run --db-user '⟦jane⟧'",
            "kubectl get pods --as=⟦jane⟧",
        ),
        counter_examples=(
            "run --user 1000:1000",
            "--user-agent curl",
            "run --user root",
            "a-user x",
        ),
    ),
    Rule(
        "user_tool",
        Entity.USER,
        Copy.LOWER,
        ("rabbitmqctl ", "passwd ", "user", "kinit "),
        r"(?<![\w.-])(?i:rabbitmqctl(?:[ ]-[^\s\0]{1,64}){0,3}[ ](?:add_user|change_password"
        r"|delete_user|authenticate_user|clear_password|set_user_tags|list_user_permissions"
        r"|set_permissions(?:[ ]-p[ ][^\s\0]{1,64})?)[ ]\\?[\"']?(?P<x1>NAME)"
        r"|(?:htpasswd|mosquitto_passwd|smbpasswd|htdigest|chpasswd|gpasswd|passwd)"
        r"(?:[ ]-[a-z]{1,5}){0,3}(?:[ ][\w.-]{0,64}/[^\s\0]{1,128})?[ ](?P<x2>NAME)"
        r"(?=[ ]{0,8}(?:\Z|\0|\n"
        r"|[|;&'\"]|[ ]\S))"
        r"|kinit(?:[ ]-[\w+-]{1,24}){0,4}[ ](?P<x3>NAME)(?=[ @/]|\Z|\0|\n)"
        r"|(?:create|drop|set|get|del|remove|delete)user[ ](?P<x4>NAME)"
        r"(?=[ ]{0,8}(?:\Z|\0|\n|[ ][-+>~&|]))"
        r"|user[ ](?P<x6>NAME)(?=(?:[ ][^\s/]\S{0,64})?[ ]/(?:add|del|active|domain))"
        r"|user[ ](?:add|del|mod|delete|create|remove|show|info|passwd|disable|enable|lock|unlock"
        r"|resetpassword)[ ](?P<x5>NAME)(?=[ ]{0,8}(?:\Z|\0|\n|[ ]-)))"
        r"(?![\w./=(])".replace("NAME", _ACCOUNT),
        head=r"\w{0,16}",
        check=_check_account,
        why="the user that a tool's command is about",
        examples=(
            "rabbitmqctl change_password ⟦jane⟧ 'x'",
            "rabbitmqctl set_permissions -p / ⟦jane⟧ '.*'",
            "htpasswd -b /etc/nginx/.htpasswd ⟦jane⟧ x",
            "kinit ⟦jane⟧@CORP",
            "createuser ⟦jane⟧ --pwprompt",
            "net user ⟦jane⟧ x /add",
            "ipa user add ⟦jane⟧ --first=x",
        ),
        counter_examples=("rabbitmqctl list_users", "passwd: bad", "user add failed", "kinit -k"),
    ),
    Rule(
        "user_sql",
        Entity.USER,
        Copy.LOWER,
        ("user", "role ", "owner", "grant ", "revoke "),
        r"(?:(?<=CREATE )(?:USER|ROLE)[ ](?:IF[ ](?:NOT[ ])?EXISTS[ ])?QUOTE(?P<x1>NAME)"
        r"|(?<=DROP )(?:USER|ROLE)[ ](?:IF[ ]EXISTS[ ])?QUOTE(?P<x4>NAME)"
        r"|(?<=ALTER )(?:USER|ROLE)[ ](?:IF[ ]EXISTS[ ])?QUOTE(?P<x5>NAME)"
        r"|(?i:(?<=create )|(?<=alter ))(?i:user|role)[ ]QUOTE(?P<x6>NAME)(?=\\?[\"'`]?[ ]"
        r"(?i:with|identified|password|set|rename|login)\b)"
        r"|(?i:owner[ ]to[ ]QUOTE(?P<x2>NAME)(?=\\?[\"'`;]|\s?\Z|\0|\n))"
        r"|(?i:(?<![\w-])(?:grant|revoke)[ ]PRIVILEGE(?:[ ,]{1,2}[a-z]{2,16}){0,8}"
        r"(?:[ ]on[ ][^;\n\0]{1,96}?)?[ ](?:to|from)[ ](?:role[ ]|user[ ])?QUOTE(?P<x3>NAME)"
        r"(?=\\?[\"'`;,@]|[ ]with[ ]|\s?\Z|\0|\n)))(?![\w.\\-]|[ ]AUTH)".replace("NAME", _ACCOUNT)
        .replace("QUOTE", _QUOTE)
        .replace("PRIVILEGE", _PRIVILEGE),
        check=_check_account,
        why="the user that a statement of SQL is about",
        examples=(
            "CREATE USER ⟦jane⟧ WITH PASSWORD 'x'",
            "statement: ALTER ROLE ⟦jane⟧ SET x = 1",
            "ALTER TABLE x OWNER TO ⟦jane⟧;",
            "GRANT SELECT, INSERT ON public.x TO ⟦jane⟧;",
            'REVOKE ALL PRIVILEGES ON DATABASE x FROM "⟦jane⟧"',
        ),
        counter_examples=(
            "grant access to users",
            "ALTER USER IF EXISTS",
            "GRANT ALL ON x TO PUBLIC;",
            "create user failed",
            "the role based",
        ),
    ),
    Rule(
        "user_hash",
        Entity.USER,
        Copy.TEXT,
        (r":\$(?:2|1|5|6|y|apr1|argon2|7)[abxyi]?d?\$", r":\{(?:SSHA|SHA|CRYPT|SMD5|MD5|PBKDF2)"),
        r"(?<![\w.=-])(?P<x>[A-Za-z_][\w.@-]{0,63}):",
        head=r"[\w.@-]{1,64}",
        check=_check_hash,
        why="before the hash of a password, as in htpasswd and shadow",
        examples=(
            "⟦jane⟧:$2b$12$abc in .htpasswd",
            "⟦jane_d⟧:$6$x",
            "⟦jane⟧:{SSHA}abc",
        ),
        counter_examples=("root:$6$x", "password_hash:$2b$12$abc", "price:$100"),
    ),
    Rule(
        "user_passwd_line",
        Entity.USER,
        Copy.SHAPE,
        (":a:0000",),
        r"(?<![\w./-])(?P<x>[A-Za-z_][\w.-]{0,63}):x:\d{4,9}:\d{1,9}:",
        head=r"[\w.-]{1,64}",
        check=named,
        why="a line of passwd",
        examples=("⟦jane⟧:x:1001:1001:Jane:/srv:/bin/sh",),
        counter_examples=("nginx:x:101:101:x", "a:b:1001:1"),
    ),
)
"""User names in commands; each rule reads the grammar of some."""
