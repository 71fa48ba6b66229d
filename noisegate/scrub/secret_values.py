"""What the name of a key promises, and whether a value looks like a secret."""

import math
import re
from collections import Counter
from enum import IntEnum
from functools import lru_cache

from noisegate.scrub.rule import words
from noisegate.scrub.vendor_tokens import MAKERS


class Promise(IntEnum):
    """How much the name of a key promises of its value."""

    NOTHING = 0
    KEY = 1
    """Some key; most are names of rows: only what is drawn at random is a secret."""
    LIKELY = 2
    """A secret or the name of one: what looks random is a secret."""
    NAMED = 3
    """A secret of a named kind, such as `api_key`."""
    PASSWORD = 4
    """Any word may be one."""


_WORDS = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+|\d+")
_PASSWORD = words("""
    password passwd passphrase passwort passcode pwd pass pw pswd psk presharedkey dbpass userpass
    mysqlpwd sshpass authpass pgpass requirepass masterauth keypass storepass rootpw adminpw bindpw
""")
_PASSWORD_ENDS = ("password", "passwd", "passphrase", "passwort", "pwd", "pass")
_NO_PASSWORDS = words("bypass compass encompass surpass trespass overpass cwd multipass firstpass")
_BEFORE_KEY = words("""
    api access secret private account auth encryption signing master shared license licence
    client app application session hmac consumer storage subscription webhook integration
    routing service bot refresh bearer id csrf xsrf jwt oauth security vault deploy personal
    registry admin root db database cookie fernet unseal recovery preshared ingest hapi goog apim
    decryption cipher aes sas wifi wpa wep join bootstrap
""")
_JOINED = words("""
    apikey accesskey secretkey privatekey accountkey authkey sharedaccesskey apitoken hapikey
    authtoken accesstoken refreshtoken clientsecret appsecret sessiontoken licensekey appkey
    apisecret idtoken encryptionkey signingkey masterkey bottoken sharedsecret usertoken
    subscriptionkey webhooksecret consumersecret consumerkey secrettoken secretaccesskey geniekey
    phpsessid jsessionid sessid aspsessionid
""")
_KEY_ENDS = ("apikey", "accesskey", "secretkey", "privatekey")
_NOUNS = words("key token secret credential credentials pat creds")
_MANY = words("tokens apikeys")
_ALONE = words("secret token credential credentials signature sig sas auth creds pat hmac jwt")
_SPOKEN_SECRETS = words("client jwt app session webhook consumer signing shared oauth hmac cookie")
_TRAILING = words("""
    base hash value enc encrypted b64 base64 plain text old new raw data string header current
    previous primary secondary default prod production staging stage dev test live sandbox
""")
_NO_TOKENS = words("""
    page next continuation cancellation cancel sync pagination cursor resume prompt max min total
    num count end start eos bos pad unk stop change delta watch
""")
_DEEDS = words("""
    change reset forgot expire rotate verify check validate is has no use allow enable disable show
    hide need needs require requires required with without missing invalid valid min max num count
    get update put create delete list describe generate import download upload assume revoke
""")
_NO_KEYS = words("""
    sort partition primary foreign unique natural cache idempotency dedup dedupe deduplication group
    row hash range shard object blob file s3 map record message event job lock mutex socket
    websocket accept public pub rsa dsa ecdsa ed25519 hot shortcut index idx order translation i18n
    msg label metric series alert incident issue query search template config setting feature
    flag param field column region product sku lookup surrogate composite compound business entity
    redis memcached bucket item node topic stream queue parent child doc document min max start end
    first last prev next map sec fingerprint tag category trace span request correlation
""")


def key_words(key: str) -> list[str]:
    """The words of a key in camel or snake case, in lower case."""
    return [word.lower() for word in _WORDS.findall(key)]


@lru_cache(maxsize=4096)
def promise_of(key: str) -> Promise:
    """How much a key's name promises."""
    parts = key_words(key)
    while len(parts) > 1 and (parts[-1] in _TRAILING or parts[-1].isdigit()):
        parts.pop()
    if not parts or (len(parts) > 1 and parts[0] in _DEEDS):
        return Promise.NOTHING
    last, previous = parts[-1], parts[-2] if len(parts) > 1 else ""
    if last in _PASSWORD or (last.endswith(_PASSWORD_ENDS) and last not in _NO_PASSWORDS):
        return Promise.PASSWORD
    if last in _JOINED or last.endswith(_KEY_ENDS) or _made_by(last):
        return Promise.NAMED
    if (
        previous == "public"
        or "public" in parts[-3:]
        or (last == "token" and previous in _NO_TOKENS)
    ):
        return Promise.NOTHING
    if last in _NOUNS and (previous in _BEFORE_KEY or _of_maker(last, parts)):
        return Promise.NAMED
    if last in _ALONE or last.endswith(("secret", "token")) or last in _MANY:
        return Promise.LIKELY
    return Promise.KEY if last == "key" and previous not in _NO_KEYS else Promise.NOTHING


def promise_said(lead: str, word: str) -> Promise:
    """How much a word of a sentence promises: `token`, after `next`, or `key`, after `api`."""
    joined = promise_of(f"{lead}_{word}")
    if joined is Promise.NOTHING and lead.lower() in _DEEDS:
        return promise_of(word)
    return joined


def _made_by(word: str) -> bool:
    """Whether a word is a maker's name and `key`, as in `GITHUBKEY`."""
    return word.endswith("key") and word[:-3] in MAKERS


def _of_maker(last: str, parts: list[str]) -> bool:
    """Whether a key's words name a maker: any of a token's, the one before `key`."""
    return not MAKERS.isdisjoint(parts[-2:-1] if last == "key" else parts)


KNOWN_FORM = re.compile(
    r"[\w-]*(?:\.[\w-]+){1,8}(?::\d+)?|[~./\\].*|\w+://.*|[\d.,:TZ+-]+"  # host, path, URL, number
    r"|[a-z]+(?:[-_/:.][a-z0-9]{1,10})*"  # a resource's name
    r"|[A-Z]+(?:_[A-Z]+)*"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)*"  # an e-mail
)
_CHANGES = re.compile(r"\d[A-Za-z]|[A-Za-z]\d")
_INSIDE = re.compile("[a-z](?=[A-Z])")
_KINDS = tuple(map(re.compile, ("[a-z]", "[A-Z]", "[0-9]", r"[^\w.:/-]")))
_PUBLIC_KEYS = ("MIGfMA0G", "MIIBIjAN", "MIICIjAN", "MFkwEwYH", "MCowBQYD", "AAAA")  # as DER
_HEX = re.compile(r"[0-9a-f-]+|[0-9A-F-]+")
_PROSE_WITH_DIGITS = re.compile(
    r"(?:sha|md|aes|rsa|hs|rs|es|base|oauth|argon|bcrypt|pbkdf|scrypt|utf|v|http|ipv|s)[/-]?[\d.]+\w{0,3}|0x[\da-f]+\W?",
    re.IGNORECASE,
)


_JOIN_TOKEN = re.compile(r"[a-z0-9]{6}\.(?=[a-z]*\d)[a-z0-9]{16}")  # kubeadm's


def _entropy_bits(text: str) -> float:
    """Shannon's entropy of a text's characters, bits a character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())


def _kinds(text: str) -> int:
    return sum(kind.search(text) is not None for kind in _KINDS)


def known_form(text: str) -> bool:
    """Whether a value is a host, a path, a URL, a number or a name of words."""
    if KNOWN_FORM.fullmatch(text) is None:
        return False
    if text[0] in "~./\\" or "://" in text:
        return True
    if _JOIN_TOKEN.fullmatch(text) or (len(text) >= 16 and _kinds(text) >= 3):
        return False
    return not any(
        re.search("[0-9]", run) and re.search("[A-Za-z]", run)
        for run in re.findall(r"[0-9A-Za-z]{20,64}", text)
    )


def looks_random(text: str) -> bool:
    """Whether a value looks drawn at random rather than written: mixed, long, and no known form."""
    if len(text) < 8 or " " in text or known_form(text):
        return False
    some = re.search("[0-9]", text) or (len(text) >= 16 and _kinds(text) >= 2)
    return bool(some) and _kinds(text) >= 2 and _entropy_bits(text) >= 2.2


def surely_random(text: str) -> bool:
    """Whether a value is one that no name, no digest and no id looks like.

    Of capitals, small letters and digits all three, 20 or more; or letters of one case beyond f
    with digits among them, 24 or more, in one piece.
    """
    if not 20 <= len(text) <= 256 or not re.fullmatch(r"[0-9A-Za-z_+-]+={0,2}", text):
        return False
    if _HEX.fullmatch(text) or text.startswith(_PUBLIC_KEYS) or len(re.findall("[_-]", text)) > 3:
        return False
    digits, changes = len(re.findall(r"\d", text)), len(_CHANGES.findall(text))
    if re.search("[A-Z]", text) and re.search("[a-z]", text):
        return digits >= 2 and changes >= 3 and _entropy_bits(text) >= 3.5
    return len(text) >= 24 and changes >= 4 and text.isalnum() and _entropy_bits(text) >= 3.2


def mixed(text: str) -> bool:
    """Whether a value holds what words do not: digits, many capitals inside, other signs."""
    return re.search(r"[0-9]|[^\w./:-]", text) is not None or len(_INSIDE.findall(text)) > 2


def told(text: str) -> bool:
    """Whether a word after `password` or `token` in a sentence is one: with a digit in it."""
    return (
        re.search(r"[0-9]", text) is not None
        and re.search(r"[A-Za-z]", text) is not None
        and not known_form(text)
        and _PROSE_WITH_DIGITS.fullmatch(text) is None
    )


def spoken(key: str) -> bool:
    """Whether the secret of this key is often a phrase, as that of `client_secret`."""
    parts = key_words(key)
    return len(parts) > 1 and parts[-1] == "secret" and parts[-2] in _SPOKEN_SECRETS
