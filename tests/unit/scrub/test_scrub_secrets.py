"""Secrets as alerts and logs hold them, and what only looks like one."""

import re

import pytest

from noisegate.scrub import Scrubber
from noisegate.scrub.secret_rules import SECRET_RULES
from noisegate.scrub.secret_values import (
    Promise,
    known_form,
    looks_random,
    promise_of,
    surely_random,
)

MARKED = re.compile("⟦(.*?)⟧", re.DOTALL)
# In two parts, so that no scanner takes them for real.
HEX, MIXED, UUID = (
    "8f2b8a7c9d1e4f6a" * 2,
    "kW8zR2vT5yB9" + "nM1qE4uI7oP0",
    "7f9a2c4e-55aa-41bb-92cc-0123456789ab",
)
AWS_ID = "AKIA" + "2E0A8F3B244C9986"
PEM = "-----BEGIN EC PRIV" + "ATE KEY-----"

FOUND = {
    "Go's map": "map[user:x password:⟦hunter2⟧ job:y]",
    "Go's struct": "Config{Host:db, Password:⟦g0Lang!⟧, SSL:off}",
    "Java's toString": "Credentials(name=svc, password=⟦j4va⟧, roles=[A])",
    "Python's bytes": "{'passwd': b'⟦py-byt3s⟧', 'db': 'x'}",
    "Ruby's hash": '{"email"=>"x", "password"=>"⟦r4ils⟧"}',
    "PHP's dump": '["password"]=> string(8) "⟦phpArr4y⟧"',
    "a tuple": "[('X-Api-Key', '⟦9f8b7c6d5e⟧'), ('Accept', '*')]",
    "JSON in JSON in JSON": rf"\\\"client_secret\\\":\\\"⟦{MIXED}⟧\\\"}}",
    "a pair of name and value": '{"name":"SMTP_PASSWORD","value":"⟦p0stfix⟧"}',
    "a pair in YAML": "- name: DB_PASSWORD\n  value: ⟦x9kd⟧\n",
    "a pair in XML": '<property name="password" value="⟦H1bern8⟧"/>',
    "an element": f"<apiKey>⟦{MIXED}⟧</apiKey>",
    "an element with attributes": '<wsse:Password Type="#Text">⟦s0ap-pw⟧</wsse:Password>',
    "a value inside an object": f'"secret":{{"value":"⟦{MIXED}⟧"}}',
    "a list": f'"tokens":["⟦{MIXED}⟧"]',
    "a plan of Terraform": 'password: "" => "⟦t3rraf0rm⟧"',
    "SQL": "ALTER LOGIN sa WITH PASSWORD = N'⟦Mssql#1x⟧', CHECK_POLICY = ON",
    "an ODBC string": "Uid=svc;Pwd=⟦adO.n3t⟧;Encrypt=yes",
    "an account key of Azure": f"AccountKey=⟦{MIXED}{MIXED}==⟧;EndpointSuffix=core.windows.net",
    "a signed URL": f"https://x/y?X-Amz-Date=1&X-Amz-Signature=⟦{HEX}⟧",
    "a SAS": f"/b/db.bak?sv=2022-11-02&sp=r&sig=⟦{MIXED}%3D⟧",
    "a password with signs of URLs": "pg://⟦app:Vq9!tLm2#x/y⟧@db:5432/orders",
    "an authorization code": f"GET /cb?code=⟦4/0{MIXED}⟧&state=x",
    "a maker's key": f"mailgun_key=⟦{HEX}⟧",
    "any key's value drawn at random": f"upwave_key=⟦{MIXED}⟧",
    "words after client_secret": "client_secret=⟦correct-horse-battery⟧",
    "a session of PHP": f"PHPSESSID=⟦{HEX}⟧ rejected",
    "any scheme of Authorization": f"Authorization: Splunk ⟦{UUID}⟧",
    "a digest's response": f'Authorization: Digest uri="/", response="⟦{HEX}⟧"',
    "SASL": "AUTH PLAIN ⟦AGpvZQBo" + "dW50ZXIyMg==⟧",
    "Redis's AUTH": '"AUTH" "default" "⟦acl-pw9⟧"',
    "FTP": "USER joe PASS ⟦ftp-pw-1⟧",
    "netrc": "machine h.example login bob password ⟦kd93kd⟧",
    "mysql": "mysql -u root -p⟦R00t-pw⟧ -h db",
    "two options of one command": "snmpget -v3 -A ⟦authP4ss⟧ -X ⟦privP4ss⟧ host",
    "curl": "curl -sS -u ⟦deploy:Tz9-aa⟧ https://x",
    "docker login": "docker login -u ci -p ⟦dGhpc2lz⟧ reg.example.com",
    "a password piped": "echo ⟦Gr8Pass⟧ | docker login -u x --password-stdin",
    "htpasswd": "htpasswd -bc /etc/x admin ⟦Wsx3edC4⟧",
    "net use": r"net use Z: \\fs\s /user:svc ⟦Sp4cebar⟧",
    "openssl": "openssl rsa -in k -passin pass:⟦keyphr4se⟧",
    "an option": f"run --client-secret ⟦{MIXED}⟧ -v",
    "a directive": "requirepass ⟦n3w-red1s⟧",
    "a router": "username x password 7 ⟦0822455D0A16⟧",
    "crypt": f"root:⟦$6$kd93kdkf${MIXED}⟧:19000:0",
    "a password told": "the temporary password is ⟦Tmp-4821-zx⟧.",
    "a password told after a name": "Default password for user admin was set to ⟦Adm1n-99⟧",
    "a password told after a colon": "Password for the elastic user (reset with x): ⟦q(Xk9mm>aa1⟧",
    "a token told": f"invalid token '⟦{MIXED}⟧' given",
    "an unseal key": f"Unseal Key 1: ⟦{MIXED}{MIXED}⟧",
    "an AppRole's secret": f'"role_id":"{UUID}","secret_id":"⟦{UUID}⟧"',
    "a client's secret that is a UUID": f"client_secret=⟦{UUID}⟧",
    "base64 after Grafana's prefix": "use ⟦gl" + f"c_aB3/{MIXED}==⟧ now",
    "a community of SNMP": "snmp-server community ⟦privnet⟧ RO 10",
    "a community of snmpwalk": "snmpwalk -v2c -c ⟦monitor-ro⟧ sw1 1.3.6",
    "a key of ISAKMP": "crypto isakmp key ⟦1sakmp-k3y⟧ address 10.0.0.2",
    "a neighbour's password": "neighbor 10.0.0.1 password 7 ⟦bgp-pw⟧",
    "pgpass": "bad line: db.example.com:5432:orders:app:⟦pgPassw0rd⟧",
    "sqlplus": "sqlplus -s ⟦system/manager1⟧@ORCL @x.sql",
    "Oracle's thin driver": "jdbc:oracle:thin:⟦scott/tiger⟧@//dbhost:1521/ORCL",
    "Oracle's easy connect": "connect ⟦hr/Pw2024x⟧@//db1:1521/HR failed",
    "IMAP": "C: a001 LOGIN joe ⟦im4p-pw⟧",
    "IMAP in quotes": 'A1 LOGIN "joe@example.com" "⟦im4p pw⟧"',
    "POP": "C: PASS ⟦letmein⟧",
    "SMTP's LOGIN": "AUTH LOGIN ⟦am9lQGV4" + "YW1wbGUuY29t⟧",
    "a line of Redis": "AUTH ⟦r3dis-pw9⟧",
    "a setting of Redis": '"CONFIG" "SET" "requirepass" "⟦foobared⟧"',
    "a honeypot": "login attempt [root/⟦x4dm1n⟧] failed",
    "a honeypot's bytes": "login attempt [b'root'/b'⟦1234⟧'] succeeded",
    "user%password with a domain": r"smbclient -U '⟦CORP\bob%Win-ter9⟧' //fs/share",
    "openssl's key": "openssl enc -aes-256-cbc -k ⟦s3cretK⟧ -in a",
    "net use without an option": r"net use Z: \\fs\s ⟦Pa55w0rdx⟧ /user:svc",
    "a phrase as an option": "gpg --batch --passphrase '⟦correct horse battery⟧' -d x",
    "a phrase": "passphrase: ⟦correct horse battery staple⟧",
    "SET PASSWORD": "SET PASSWORD FOR 'bob'@'h' = '⟦hunter2⟧';",
    "a user of RabbitMQ": "rabbitmqctl add_user bob ⟦r4bbit⟧",
    "a call of PHP": "mysqli_connect('db','root','⟦sqli-pw⟧')",
    "a new cluster's password": "PASSWORD elastic = ⟦kd93kdkfj39f⟧",
    "a one-time password": "OTP ⟦483920⟧ sent",
    "a verification code": "Your verification code is ⟦123456⟧.",
    "a code as a field": '"mfa_code":"⟦918273⟧"',
    "a cookie": "cookie=⟦sid=abc123; csrf=Zx8⟧",
}
KEPT = {
    "a commit": f"Deployed commit {HEX} to prod",
    "an image digest": f"registry.example.com/app@sha256:{HEX}{HEX}",
    "an ETag": f'ETag: "{HEX}"',
    "a trace": f"trace_id={HEX} span_id=00f067aa0ba902b7",
    "a request": f"x-amzn-RequestId: {UUID} took 3.2s",
    "a token that makes a request count once": f'"clientToken": "{UUID}"',
    "a token of pages": f"nextPageToken: {MIXED}",
    "tokens of a model": "max_tokens=4096 exceeded by prompt_tokens=5120",
    "a cache key": f"cache_key=views.page.GET.{HEX}.en-us",
    "a key of alerts": f"dedup_key: {HEX}",
    "a key of idempotency": f"Idempotency-Key: {MIXED}",
    "an object's key": "s3_key=backups/pg/base_00000001000000A9000000FE/data.tar.br",
    "a key's id": "api_key_id=12 kms_key_id: alias/prod-s3",
    "a violated key": "Key (order_id)=(10045) already exists",
    "a public key": f"public_key=AAAAC3{MIXED} publicKeyToken=b77a5c561934e089",
    "a name of a secret": 'secret "tls-cert" not found, secretName: app-tls-2024',
    "a secret's ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf",
    "a policy": "password policy violated: minimum length 12",
    "a count of tests": "pass=12 fail=3 pass: 98.2 %",
    "a working directory": "PWD=/home/x OLDPWD=/tmp",
    "a file of passwords": "--password-file /run/secrets/pw POSTGRES_PASSWORD_FILE=/run/s",
    "a variable": "password=${{ secrets.DB }} token=$TOKEN key={{ .Values.key }}",
    "code": "password=self.password token = get_token(x) auth = ^[^[]*",
    "an empty value": "password= user_id=4 secret:\n",
    "PAM": "pam_unix(gdm-password:session): session closed",
    "a package": "status half-installed base-passwd:amd64 3.5.33",
    "a program": "inbound/pass1: mail-88-66.reachmail.net[",
    "a Java object": "Bad activity token: android.os.BinderProxy@2bd79ce",
    "an action": '"iam:UpdateAccessKey","lightsail:DownloadDefaultKeyPair"',
    "names of columns": '["user", "password", "e-mail2x"] is missing',
    "a certificate": "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
    "a scheme": "token_type=Bearer expires_in=3600 WWW-Authenticate: Bearer realm",
    "an actor's name": "spark://CoarseGrainedScheduler@node:48069",
    "an option of another command": "ssh -p 2222 db -u jane",
    "a user without a password": "curl -u admin https://x",
    "prose with digits": "password sha256 hashing, token v2 endpoint, password is required",
    "the ids beside an AppRole's secret": f"role_id={UUID} token_id={UUID} cache_key={UUID}",
    "the name of a secret behind its id": "secret_id=prod/db/main-2",
    "a sentence about a community": "snmp-server community string is not configured",
    "a peer without a key": "crypto isakmp key not found for peer 10.0.0.2",
    "fields between colons": "10.0.0.1:5432:timeout:retry:3 redis:6379:queue:jobs:42",
    "a connection without a login": "sqlplus / as sysdba; jdbc:oracle:thin:@//db:1521/x",
    "a login that failed": "a001 LOGIN failed; user LOGIN event received",
    "results of tests": "--- PASS TestX1 (0.1s)\nPASS: suite-1\nPASS 12 tests",
    "what a server offers": "250-AUTH LOGIN PLAIN\nAUTH required",
    "a count of attempts": "login attempt [3/5] failed",
    "a version of OTP": "Erlang/OTP 26 started, erlang otp 250000, OTP 300000 processes",
    "other codes": "error code is 500123, exit code 137137, status code: 404404",
    "a code that expired": "verification code expired after 300 s, otp=3600",
    "a message about a passphrase": "passphrase: bad decrypt of the key",
    "options of other commands": "openssl s_client -k x, curl -k https://x, ssh -K host",
    "a signature of a method": "signature: (Ljava/lang/String;)V signature=invalid",
}


@pytest.mark.parametrize("text", FOUND.values(), ids=FOUND.keys())
def test_a_secret_is_scrubbed_to_its_ends(text: str) -> None:
    (scrubbed,), _ = Scrubber(rules=SECRET_RULES).texts([MARKED.sub(r"\1", text)])

    assert scrubbed is not None
    assert re.sub("<[A-Z_]+>", "<>", scrubbed) == re.sub("<[A-Z_]+>", "<>", MARKED.sub("<>", text))


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT.keys())
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert Scrubber(rules=SECRET_RULES).findings(text) == []


def test_every_rule_for_secrets_says_why() -> None:
    assert [rule.id for rule in SECRET_RULES if not rule.why] == []


def test_the_scope_of_a_signed_request_stays() -> None:
    text = f"Authorization: AWS4-HMAC-SHA256 Credential={AWS_ID}/20261124/eu/s3/aws4_request"

    assert Scrubber().texts([text])[0] == [text.replace(AWS_ID, "<AWS_KEY>")]


def test_nothing_of_a_private_key_in_json_is_left_and_the_json_stays() -> None:
    text = f'{{"private_key": "{PEM}\\nMIIE\\n-----END EC PRIVATE KEY-----\\n", "id": 1}}'

    assert Scrubber().texts([text])[0] == ['{"private_key": "<PRIVATE_KEY>\\n", "id": 1}']


@pytest.mark.parametrize(
    ("key", "promise"),
    [
        ("DB_PASSWORD", Promise.PASSWORD),
        ("mysqlPwd", Promise.PASSWORD),
        ("bypass", Promise.NOTHING),
        ("api_key", Promise.NAMED),
        ("clientSecret2", Promise.NAMED),
        ("GITHUBKEY", Promise.NAMED),
        ("STRIPE_SECRET_LIVE", Promise.NAMED),
        ("token", Promise.LIKELY),
        ("jwtsecret", Promise.LIKELY),
        ("upwave_key", Promise.KEY),
        ("cache_key", Promise.NOTHING),
        ("next_token", Promise.NOTHING),
        ("reset_password", Promise.NOTHING),
        ("publicKeyToken", Promise.NOTHING),
        ("api_key_id", Promise.NOTHING),
    ],
)
def test_the_name_of_a_key_promises(key: str, promise: Promise) -> None:
    assert promise_of(key) is promise


@pytest.mark.parametrize(
    ("value", "random", "surely"),
    [
        (MIXED, True, True),
        (HEX, True, False),
        (UUID, True, False),
        ("checkout-7c9d8b5f4-x2lqp", False, False),
        ("db-01.prod.example.com:5432", False, False),
        ("/run/secrets/db1", False, False),
        ("2026-11-24T10:00:00Z", False, False),
        ("s.kd93kdkfj39fkdkf93kdkfj3", True, False),
        ("Microsoft", False, False),
        ("MIGfMA0GCSqGSIb3DQEBAQUAA4GN", True, False),
        ("wdvnousa87acfxp9ioasrea4tbeasrfa", True, True),
    ],
)
def test_a_value_looks_random(value: str, random: bool, surely: bool) -> None:
    assert (looks_random(value), surely_random(value)) == (random, surely)
    assert known_form(value) <= (not random)
