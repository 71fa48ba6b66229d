"""People's data in lines as services write them: just what is marked goes, the rest stays."""

import re

import pytest

from noisegate.scrub import Scrubber
from noisegate.scrub.national_rules import NATIONAL_RULES

SCRUBBER = Scrubber()
MARK = re.compile(r"⟦(\w+)\|(.*?)⟧")


def scrub(text: str) -> str | None:
    return SCRUBBER.texts([text])[0][0]


USERS = {
    "sshd, a name that is a word": "Invalid user ⟦USER|service⟧ from ⟦IPV4|192.0.2.1⟧ port 22",
    "sshd, not in AllowUsers": "User ⟦USER|jane⟧ from ⟦IPV4|192.0.2.1⟧ not allowed",
    "sshd, session": "Starting session: shell on pts/0 for ⟦USER|jane⟧ from ⟦IPV4|192.0.2.1⟧ x",
    "sshd, too many": "attempts exceeded for ⟦USER|jane⟧ from ⟦IPV4|192.0.2.1⟧ port 5",
    "pam": "pam_unix(sshd:session): session opened for user ⟦USER|jane⟧(uid=1001) by (uid=0)",
    "pam of su": "su: pam_unix(su:session): session opened for user root by ⟦USER|jane⟧(uid=1000)",
    "login": "FAILED LOGIN 1 FROM tty1 FOR ⟦USER|jane⟧, Authentication failure",
    "sudo, three wrong": "sudo:  ⟦USER|mike⟧ : 3 incorrect password attempts ; TTY=pts/0",
    "sudo, no sudoer": "sudo[17]:   ⟦USER|mike⟧ : user NOT in sudoers ; TTY=pts/0 ; PWD=/root",
    "su": "su: FAILED SU (to root) ⟦USER|jane⟧ on pts/0",
    "cron": "CRON[4242]: (⟦USER|jane⟧) CMD (/usr/bin/backup)",
    "logind": "systemd-logind[612]: New session 5 of user ⟦USER|jane⟧.",
    "polkit": "Registered agent for unix-session:2, owned by unix-user:⟦USER|jane⟧)",
    "auditd": 'acct="⟦USER|jane⟧" exe="/usr/sbin/sshd" AUID="⟦USER|jane⟧" UID="root"',
    "vsftpd": '[pid 2] [⟦USER|jane⟧] OK LOGIN: Client "⟦IPV4|192.0.2.9⟧"',
    "dovecot": "dovecot: imap(⟦USER|jane⟧): Error: quota",
    "dovecot, worker": "dovecot: auth-worker(24): pam(⟦USER|jane⟧,⟦IPV4|192.0.2.9⟧): unknown",
    "postfix": "client=unknown[⟦IPV4|192.0.2.9⟧], sasl_username=⟦USER|jane⟧",
    "exim": "535 Incorrect authentication data (set_id=⟦USER|dave⟧)",
    "samba": r"Auth: [SMB2,(null)] user [CORP]\[⟦USER|jane⟧] at [Fri] with [NTLMv2]",
    "mysql": "Access denied for user '⟦USER|app_ro⟧'@'⟦IPV4|192.0.2.9⟧' (using password: YES)",
    "mysql's slow log": "# User@Host: ⟦USER|jane[jane⟧] @ localhost []  Id: 7",
    "postgresql": 'FATAL:  role "⟦USER|jane⟧" does not exist',
    "mongodb": "SCRAM-SHA-1 authentication failed for ⟦USER|jane⟧ on admin from client",
    "elasticsearch": '{"event.action":"authentication_failed", "user.name":"⟦USER|jdoe⟧"}',
    "grafana": 'logger=context userId=2 uname=⟦USER|jane⟧ msg="Request Completed"',
    "keycloak": "type=LOGIN_ERROR, error=user_not_found, username=⟦USER|jane⟧",
    "vault": "path=auth/userpass/login/⟦USER|jane⟧ permission denied",
    "nextcloud": "Login failed: '⟦USER|jane⟧' (Remote IP: ⟦IPV4|192.0.2.9⟧)",
    "webmin": "miniserv.pl: Invalid login as ⟦USER|jane⟧ from ⟦IPV4|192.0.2.9⟧",
    "openvpn": "⟦USER|jane⟧/⟦IPV4|203.0.113.7⟧:51234 MULTI: primary virtual IP",
    "squid": "TCP_MISS/200 12 GET http://x/ ⟦USER|jdoe⟧ HIER_DIRECT/⟦IPV4|192.0.2.9⟧ text/html",
    "nginx": '3#0: *1 user "⟦USER|jane⟧": password mismatch, client: ⟦IPV4|192.0.2.9⟧',
    "apache": 'AH01617: user ⟦USER|jane⟧: authentication failure for "/x": Password Mismatch',
    "proftpd": "USER ⟦USER|jane⟧: Login successful.",
    "cisco asa": "AAA user authentication Rejected : reason = x : user = ⟦USER|jane⟧",
    "cisco asa, domain": r"to inside:⟦IPV4|10.1.2.3⟧/53 (LOCAL\⟦USER|jane⟧, 321)",
    "cisco ios": "Configured from console by ⟦USER|jane⟧ on vty0 (⟦IPV4|10.1.2.3⟧)",
    "cisco ios, login": "Login Success [user: ⟦USER|jane⟧] [Source: ⟦IPV4|10.1.2.3⟧]",
    "fortinet": 'subtype="vpn" srcuser="⟦USER|jane⟧" xauthuser="N/A" group="N/A"',
    "cef": "src=⟦IPV4|10.1.2.3⟧ suser=⟦USER|jane⟧ duser=⟦USER|bob⟧ act=deny",
    "windows": "Subject:\r\n\tAccount Name:\t\t⟦USER|jdoe⟧\r\n\tAccount Domain:\t\tCORP",
    "windows xml": "<Data Name='TargetUserName'>⟦USER|jdoe⟧</Data>",
    "windows path": r"C:\\Users\\⟦USER|jane.doe⟧\\AppData\\x.log",
    "windows domain": r"account CORP\⟦USER|jdoe⟧ was locked out",
    "windows domain in json": r'{"who":"CORP\\⟦USER|natalie⟧"}',
    "ldap": "conn=1 op=0 BIND dn=uid=⟦USER|jane⟧,ou=people,dc=example,dc=com",
    "ldap, a full name": "member CN=⟦USER|Jane Doe⟧,OU=Staff,DC=corp,DC=example",
    "kerberos": "TGS_REQ for ⟦USER|jane⟧/⟦EMAIL|admin@EXAMPLE.COM⟧ denied",
    "kubernetes": 'User "⟦USER|jane⟧" cannot list resource "pods" in API group ""',
    "kubernetes audit": '"user":{"username":"⟦USER|jane⟧","groups":["system:authenticated"]}',
    "cloudtrail": '"userIdentity":{"type":"IAMUser","userName":"⟦USER|jane⟧"}',
    "gcp": '"principalEmail":"⟦EMAIL|jane@example.com⟧"',
    "github": '"action":"completed","actor":"⟦USER|octocat⟧","repo":"acme/x"',
    "gitlab": '"username":"⟦USER|jane⟧","path":"/api/v4/projects"',
    "jira": "assignee=⟦USER|jdoe⟧ status=Open",
    "opsgenie": '"acknowledgedBy":"⟦USER|jane⟧","priority":"P2"',
    "alertmanager": 'createdBy: "⟦USER|jane⟧", comment: "upgrade"',
    "jenkins": "Started by user ⟦USER|Jane Doe⟧",
    "ci": "Deployed by ⟦USER|jane⟧ at 12:00",
    "slack": "silenced by @⟦USER|jdoe⟧ for 2h, cc @⟦USER|jane.doe⟧",
    "owner": "owner=⟦USER|jane⟧ team=payments",
    "spool": "crond: /var/spool/cron/⟦USER|jane⟧: bad file mode",
    "tilde": "cd ~⟦USER|jane⟧/bin failed",
    "home on nfs": "/nfs/home/⟦USER|jane⟧/x is stale",
    "ssh": "ssh ⟦USER|jane⟧@bastion exited with 255",
    "sudo -u": "sudo -u ⟦USER|deploy_1⟧ systemctl restart web",
    "chown": "chown -R ⟦USER|jane⟧:staff /srv/x",
    "useradd": "useradd -m -s /bin/bash ⟦USER|jane⟧",
    "znc": "[⟦USER|jane⟧] failed to login from ⟦IPV4|192.0.2.9⟧",
    "kafka": "Principal = User:⟦USER|jane⟧ is Denied operation = WRITE from host = ⟦IPV4|10.1.2.3⟧",
    "slurm": "job 7 UserId=⟦USER|jane⟧(3133) Partition=gpu",
    "hadoop": 'access=WRITE, inode="/user/⟦USER|jane⟧/out":hdfs:supergroup:drwxr-xr-x',
    "snowflake": "username or password was specified for ⟦USER|jane⟧ from ⟦IPV4|192.0.2.1⟧ (q)",
    "clickhouse": "DB::Exception: ⟦USER|jane⟧: Authentication failed: password is incorrect",
    "cassandra": "Provided username ⟦USER|jane⟧ and/or password are incorrect",
    "ticket": "Ticket OPS-1 reassigned from ⟦USER|jane.doe⟧ to ⟦USER|bob.roe⟧",
    "login as": "login as ⟦USER|mlopez⟧ failed 5 times, locking account",
    "started by": "run 7 started by ⟦USER|xqwert⟧ on srv82",
    "on call": "paging ⟦USER|jane.doe⟧ for incident 12",
    "account": "account ⟦USER|jdoe⟧ has been locked",
    "mysql's client": "mysql -h db-1 -u ⟦USER|jane⟧ app < dump.sql",
    "psql": "psql -h db-1 -U ⟦USER|jane⟧ -d app",
    "ssh -l": "ssh -p 22 -l ⟦USER|jane⟧ bastion",
    "rabbitmqctl": "rabbitmqctl set_user_tags ⟦USER|jane⟧ administrator",
    "sql": "ALTER ROLE ⟦USER|jane⟧ SET x = 1; GRANT SELECT ON t TO ⟦USER|bob⟧;",
    "id": "uid=1004(⟦USER|jane⟧) gid=1004(⟦USER|jane⟧) groups=1004(⟦USER|jane⟧),27(sudo)",
    "ls": "-rw-r--r-- 1 ⟦USER|jane⟧ staff 12 Oct 1 x.log",
    "passwd line": "⟦USER|jane⟧:x:1001:1001:x:/srv:/bin/sh",
    "jupyterhub": "302 GET /user/⟦USER|jane⟧/lab (⟦IPV4|192.0.2.1⟧)",
    "git over https": "remote: Permission to acme/x.git denied to ⟦USER|jane⟧.",
    "sudoers": "⟦USER|jane⟧ is not in the sudoers file.",
    "radius": "Login incorrect: [⟦USER|jane⟧] (from client nas port 0)",
    "mail": "postfix/pickup: 3F2: uid=1001 from=<⟦USER|jane⟧>",
    "terraform": "Lock Info: Who:       ⟦USER|jane⟧@laptop-7",
    "kubernetes with oidc": 'User "oidc:⟦USER|jane⟧" cannot list resource "pods"',
    "domain in small letters": r"contoso\⟦USER|jane.doe⟧ was locked out",
    "who": "⟦USER|jane⟧   pts/0        ⟦IPV4|192.0.2.9⟧     Mon 10:04",
}
ADDRESSES = {
    "port": "dial tcp ⟦IPV4|10.1.2.3⟧:9100: connect: connection refused",
    "range": "pool ⟦IPV4|10.1.2.3⟧-⟦IPV4|10.1.2.9⟧ exhausted",
    "prefix length stays": "route ⟦IPV4|10.1.0.0⟧/16 via ⟦IPV4|10.1.0.1⟧",
    "mapped": "from [⟦IPV6|::ffff:192.0.2.1⟧]:80",
    "zone and prefix stay": "inet6 ⟦IPV6|fe80::1c2:3ff:fe04:506⟧%eth0/64",
    "behind its name": "[IPv6:⟦IPV6|2001:DB8::1⟧] did not issue MAIL",
    "port of five digits": "haproxy: ⟦IPV6|2001:db8::1234⟧:58430 [14/Nov",
    "ninth group is a port": "⟦IPV6|2001:db8:1:2:3:4:5:6⟧:443 timed out",
    "eui-64": "neighbour ⟦MAC|00:14:22:ff:fe:04:25:37⟧ lost",
    "cisco's dots": "address ⟦MAC|0012.3456.789a⟧ flaps",
    "bare behind mac": '"mac":"⟦MAC|001a2b3c4d5e⟧"',
    "trailing dot": "mail to ⟦EMAIL|jane+x@example.co.uk⟧.",
    "mailto": "<mailto:⟦EMAIL|jane@example.com⟧?subject=x>",
    "quoted local part": 'to "⟦EMAIL|jane doe"@example.com⟧ bounced',
    "percent-encoded": "GET /u?m=⟦EMAIL|jane%40example.com⟧&x=1",
}
NUMBERS = {
    "iban with wrong digits, named": "Bank: IBAN ⟦IBAN|ES78207960410250085401⟧\nSWIFT: x",
    "card with wrong digits, named": "Card: ⟦CREDIT_CARD|4000-0000-0106-1234⟧ declined",
    "card on file": "card on file: ⟦CREDIT_CARD|4000-0000-0106-1234⟧ declined",
    "short iban, named": "IBAN destination: ⟦IBAN|GB96ABCD60068266⟧ rejected",
    "office": "reach us: ⟦PHONE|42 078 6381⟧-office",
    "extension": "⟦PHONE|001-846-853-9089x92556⟧ fax",
    "mobile": "or ⟦PHONE|2813882583⟧ mobile",
    "brazil": "cliente ⟦NATIONAL_ID|390.533.447-05⟧ bloqueado",
    "italy": "codice fiscale ⟦NATIONAL_ID|RSSMRA85T10A562S⟧",
    "switzerland": "insured ⟦NATIONAL_ID|756.9217.0769.85⟧ unknown",
    "finland": "asiakas ⟦NATIONAL_ID|131052-308T⟧",
    "france": "NIR ⟦NATIONAL_ID|2 95 10 99 126 111 93⟧ inconnu",
    "netherlands, named": "BSN: ⟦NATIONAL_ID|111222333⟧",
    "poland, named": "PESEL=⟦NATIONAL_ID|44051401359⟧",
    "spain, named": "DNI ⟦NATIONAL_ID|54362315K⟧",
    "united kingdom": "National Insurance number ⟦NATIONAL_ID|AB 12 34 56 C⟧",
    "any, named": "National ID: ⟦NATIONAL_ID|NID-838500868⟧\nPassport",
}
CLEAN = {
    "server's account": "session closed for user postgres; psql -U postgres x; su - nginx",
    "options of others": "git push -u origin main; journalctl -u sshd; ssh host ls -l data",
    "done by a program": "node drained by autoscaler on srv82, restarted by watchdog on node1",
    "work of machines": "partition reassigned from broker1 to broker2; pod assigned to node",
    "prose as": "rated as critical, run as expected on node-3, logged as error",
    "role": "GRANT SELECT ON t TO readonly; role based access; grant access to users",
    "warehouse": "/user/hive/warehouse and GET /user/orders/x",
    "range of versions": "requires >=1.4.2.0,<1.5.0.0; firmware version is old, minimum 4.21.0.151",
    "service account": 'User "system:serviceaccount:ns:app" cannot get resource "pods"',
    "arn": "User: arn:aws:iam::123456789012:user/x is not authorized",
    "sid": 'UserID="S-1-5-18"',
    "program": "[10.30 16:49:06] putty.exe - proxy:22 open",
    "team that owns": 'owner="payments" team="sre" assignee=""',
    "tool that did it": "deployed by argocd, triggered by timeout, owned by StatefulSet",
    "registry path": r"HKLM\Software\x and NT AUTHORITY\SYSTEM",
    "escape after a word": r"ERROR\nfailed to start\ntask",
    "certificate": "CN=kube-apiserver,O=Kubernetes",
    "directory group": "CN=Domain Admins,CN=Users,DC=corp",
    "user of prose": "High user CPU usage; user experience degraded for user traffic",
    "chown to root": "chown root:root /etc/x; sudo systemctl restart web; sudo -u root id",
    "debian version": "package 1.2~rc1/main is older",
    "mention of a group": "cc @oncall @here @channel",
    "cipher": "no matching cipher: chacha20-poly1305@openssh.com,aes256-gcm@openssh.com",
    "host name of an address": "ip-10-1-2-3.ec2.internal is NotReady",
    "five numbers": "oid 1.3.6.1.4 and 1.2.3.4.5; Oracle 11.2.0.4",
    "world-wide name": "wwn 50:06:01:60:3b:20:11:22 offline",
    "fingerprint": "RSA 01:67:32:d9:b3:20:5d:2d:5f:b4:35:c5:a5:8b:0a:5e",
    "hex without a word": "id 001a2b3c4d5e",
    "id of an incident": "see https://status.example.com/x#5660850647990272",
    "haproxy counters": "0/51536/1/48082/+99627 200 83285 - - ----",
    "garbage collector": "[GC 16777216K->8388608K(33554432K), 0.0123 secs]",
    "date and counter": "backup-20261123-0002 and 241123-0025 done",
    "package": "linux-image 10.240.100-12.el9 installed",
    "bsn that is none": "bsn 111222334 of 4 blocks; tax id lookup failed",
    "metric": 'rate(http_requests_total{user_agent=~"x",code="500"}[5m]) > 0.05',
}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=name)
        for table in (USERS, ADDRESSES, NUMBERS)
        for name, line in table.items()
    ],
)
def test_what_is_marked_goes_and_the_rest_stays(line: str) -> None:
    assert scrub(MARK.sub(r"\2", line)) == MARK.sub(r"<\1>", line)


@pytest.mark.parametrize("line", CLEAN.values(), ids=CLEAN.keys())
def test_a_line_without_people_stays(line: str) -> None:
    assert scrub(line) == line


def test_no_digit_of_a_national_id_can_change_unnoticed() -> None:
    """Where only check digits tell, one wrong digit makes it something else."""
    alone = Scrubber(rules=[rule for rule in NATIONAL_RULES if rule.id != "national_named"])
    found = [
        text
        for number in ("756.9217.0769.85", "2 95 10 99 126 111 93")
        for place, digit in enumerate(number)
        if digit.isdigit()
        for text in [f"{number[:place]}{(int(digit) + 1) % 10}{number[place + 1 :]}"]
        if alone.findings(text)
    ]

    assert found == []
