"""Rules for addresses: e-mail, IPv4, IPv6, MAC."""

import ipaddress
import re

from noisegate.scrub.policy import Entity
from noisegate.scrub.rule import START, Copy, Rule, Span, before, found, words

_UNITS = words("service socket timer target mount slice scope path device swap")
_FILES = words("png jpg jpeg gif svg webp css js tgz gz zip jar whl rpm deb apk so")
_SHARED = frozenset({"git", "hg", "svn"})
_CIPHERS = words("openssh.com libssh.org ssh.com lysator.liu.se")  # zlib@openssh.com and the like

_VERSION_WORDS = tuple(
    words("""
    version ver rev revision release firmware fw build oid bios driver kernel package pkg
    patch semver tag section sections chapter clause oracle weblogic websphere
""")
)
_AT_LEAST = re.compile(r"\b(?:minimum|least|required|requires|needs|latest|expected|than|found) \Z")
_NUMBERED = ("version", "firmware", "release", "driver", "package")
_PRODUCTS = tuple(words("chrome/ safari/ edg/ edga/ edge/ opr/ version/ firefox/ opera/ chromium/"))
_PACKAGE_TAIL = re.compile(
    r"-[A-Za-z]|[-_.](?:amd64|x86|arm|noarch|el\d|fc\d|tar|zip|rpm|deb|apk|jar|whl|exe|msi|dll|so)\b"
    r"|[+~]"
)


def _check_email(match: re.Match[str]) -> Span | None:
    local, domain = match["local"].lower(), match["domain"].lower()
    last = domain.rpartition(".")[2]
    if last in _UNITS or last in _FILES or local in _SHARED or domain in _CIPHERS:
        return None
    return found(match)


def _check_ipv4(match: re.Match[str]) -> Span | None:
    parts = match["x"].split(".")
    if any((len(part) > 1 and part[0] == "0") or int(part) > 255 for part in parts):
        return None
    if parts[0] == "127" or parts == ["0"] * 4 or _is_netmask(parts):
        return None
    return None if _is_version(match, parts) else found(match)


def _is_version(match: re.Match[str], parts: list[str]) -> bool:
    """Whether four numbers are a version: a word for it before, a package's name around."""
    context = before(match, 40)
    last = context[-1:]
    if "grade" in context and context.endswith(("from ", "to ")):
        return True
    if last == "-":
        tail = match.string[match.end() : match.end() + 8]
        return context[-2:-1].isalpha() and _PACKAGE_TAIL.match(tail) is not None
    if last == "/":  # Chrome/136.0.0.0: browsers make the last three up
        return context.endswith(_PRODUCTS) or (parts[1:] == ["0"] * 3 and context[-2:-1].isalpha())
    if last == "~" or context.endswith((">=", "<=", "~=", ",<", ",>", " <", " >")):
        return last != "<" or match.string[match.end() : match.end() + 1] != ">"
    if _AT_LEAST.search(context) and any(word in before(match, 96) for word in _NUMBERED):
        return True
    words = context.rstrip(" \t:=\"'([")
    return words.endswith(_VERSION_WORDS) and re.split(r"[^a-z]", words)[-1] in _VERSION_WORDS


def _is_netmask(parts: list[str]) -> bool:
    if parts[0] != "255" or parts[3] == "255":
        return False
    bits = "".join(f"{int(part):08b}" for part in parts)
    return "01" not in bits


# A port that cannot be a group: the ninth, or of five digits.
_PORT = re.compile(
    r"((?=(?:[0-9A-Fa-f]{1,4}:){8}\d{1,5}\Z|[0-9A-Fa-f:]{2,40}:\d{5}\Z)[0-9A-Fa-f:]{2,40}):\d{1,5}"
)
_PAIRS = re.compile(r"(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}")


def _check_ipv6(match: re.Match[str]) -> Span | None:
    start, end = match.span("x")
    text = match.string[start:end]
    if text.endswith(":") and not text.endswith("::"):
        text = text[:-1]
    text = text.rstrip(".")
    if port := _PORT.fullmatch(text):
        text = port[1]
    if _PAIRS.fullmatch(text):
        return None  # the name of a port of a storage network, or a MAC address
    if not 2 < len(text) <= 45 or text.count(":") < 2:
        return None
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified or (mapped and mapped.is_loopback):
        return None
    groups = [group for group in text.split(":") if group]
    if not any(letter.isdigit() for letter in text):
        return None
    known = re.match(r"[23][0-9a-fA-F]{3}:|[fF][c-eC-E][0-9a-fA-F]{2}:|64:", text)
    if len(groups) < 3 and text[0] != ":" and not known and not re.match(r"\w{2,4}::\w*\d", text):
        return None
    return start, start + len(text)


def _check_mac(match: re.Match[str]) -> Span | None:
    digits = re.sub(r"[^0-9A-Fa-f]", "", match["x"])
    if len(set(digits)) == 1 and digits[0] in "0fF":
        return None  # nobody's, or everybody's
    if "-" in match["x"] and digits.isdigit() and "mac" not in before(match, 24):
        month, day, hour, minute = (int(digits[i : i + 2]) for i in (2, 4, 6, 8))
        if 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60:
            return None  # a time stamp
    return found(match)


NETWORK_RULES = (
    Rule(
        "email",
        Entity.EMAIL,
        Copy.TEXT,
        ("@",),
        r"[^\w\0]{0,8}(?P<x>(?P<local>\w[\w.+'&-]{0,127}|(?<=\")[\w.+ -]{1,64}\")@"
        r"(?P<domain>(?:\w[\w-]{0,62}\.){1,8}(?:xn--[0-9A-Za-z-]{2,59}|[^\W\d_]{2,24})))"
        r"(?![\w@]|-[\w-]|\.\d)",
        head=r"(?:\"[\w.+ -]{1,64}|[\w.+'&-]{1,128})",
        check=_check_email,
        examples=(
            "to=<⟦jane.doe@example.com⟧>",
            "⟦o'hara+x@a.example.org⟧;",
            "⟦zoë@exämple.de⟧",
            '"⟦jane doe"@example.com⟧',
        ),
        why="has the form of an address, and is no unit, file, shared account or cipher",
        counter_examples=(
            "git@github.com:a/b.git",
            "chacha20-poly1305@openssh.com",
            "getty@tty1.service",
            "@channel",
            "a@b",
            "icon@2x.png",
            "image@sha256:abcd",
        ),
    ),
    Rule(
        "mac",
        Entity.MAC,
        Copy.TEXT,
        (
            ":[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}:",
            "-[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-",
            r"\.[0-9A-Fa-f]{4}\.",
        ),
        r"(?<![:-])"
        + START
        + r"(?P<x>[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5}"
        r"|(?::[0-9A-Fa-f]{2}){2}:(?i:ff:fe)(?::[0-9A-Fa-f]{2}){3}"
        r"|(?<=(?i:mac=)..)(?::[0-9A-Fa-f]{2}){13})|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4})"
        r"(?![0-9A-Za-z_]|[:.-][0-9A-Za-z])",
        head=r"[0-9A-Fa-f]{2}(?:[0-9A-Fa-f]{2})?",
        check=_check_mac,
        why="six pairs of hex digits, and neither a time nor an address of all or none",
        examples=(
            "from ⟦00:1A:2B:3C:4D:5E⟧ via",
            "⟦0012.3456.789a⟧",
            "mac ⟦00-14-22-04-25-37⟧.",
            "eui ⟦00:14:22:ff:fe:04:25:37⟧",
        ),
        counter_examples=(
            "20-26-11-23-15-36-12",
            "26-11-23-15-36-12",
            "00:00:00:00:00:00",
            "50:06:01:60:3b:20:11:22",
        ),
    ),
    Rule(
        "mac_bare",
        Entity.MAC,
        Copy.LOWER,
        ("mac[ _:=a\"']", "hwaddr"),
        r"(?i:(?<![0-9a-z])(?:mac(?:[ _-]?addr(?:ess)?)?|hwaddr))(?:\\?[\"'])?[ ]?[:=]?[ ]?"
        r"(?:\\?[\"'])?"
        r"(?P<x>[0-9A-Fa-f]{12})(?![\w.:-])",
        check=_check_mac,
        why="twelve hex digits behind a word for a MAC address",
        examples=("mac=⟦001a2b3c4d5e⟧ joined", '"mac_address": "⟦001A2B3C4D5E⟧"'),
        counter_examples=("mac 000000000000", "imac 001a2b3c4d5e", "id 001a2b3c4d5e"),
    ),
    Rule(
        "ipv6",
        Entity.IPV6,
        Copy.TEXT,
        ("::", ":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:"),
        r"(?:(?<=(?i:ipv))6:|(?<![:.])"
        + START
        + r")(?P<x>[0-9A-Fa-f:]{2,48}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3}|(?<=[0-9])(?:\.\d{1,3}){3})?)"
        r"(?![0-9A-Za-z_:]|\.\d)",
        head=r"[0-9A-Fa-f:]{0,40}",
        check=_check_ipv6,
        whole=True,
        examples=(
            "[⟦2001:db8::8a2e:370:7334⟧]:443",
            "from ⟦2001:DB8:0:0:8:800:200C:417A⟧ port",
            "⟦::ffff:192.0.2.1⟧",
            "⟦fe80::1⟧%eth0",
            "[IPv6:⟦2001:DB8::1⟧] did not",
            "haproxy: ⟦2001:db8::1234⟧:58430 [",
            "⟦2001:db8:1:2:3:4:5:6⟧:443",
        ),
        why="parses as an address that is neither loopback nor unspecified",
        counter_examples=(
            "12:34:56",
            "a::b",
            "dead::beef::cafe",
            "::1",
            "Foo::Bar",
            "fe80::1text",
            "::ffff:256.0.0.1",
            "x[-2::-1]",
            "wwn 50:06:01:60:3b:20:11:22",
        ),
    ),
    Rule(
        "ipv4",
        Entity.IPV4,
        Copy.SHAPE,
        (r"\.0{1,3}\.",),
        r"(?<![0-9A-Za-z]\.)(?<!\.)"
        + START.replace("_", "")
        + r"(?P<x>\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(?![0-9A-Za-z]|\.\d)",
        head=r"\d{1,3}",
        check=_check_ipv4,
        why="four numbers up to 255 that are no version, netmask or loopback address",
        examples=(
            "connection from ⟦10.1.2.3⟧ refused",
            "Lost ⟦198.51.100.23⟧.",
            "TCP/⟦172.20.4.9⟧/5",
        ),
        counter_examples=(
            "kubelet v1.29.3.1",
            "1.2.3.4.5",
            "version 203.0.113.9",
            "requires >=1.4.2.0,<1.5.0.0)",
            "firmware version 1.2.3.x is outdated, minimum 24.21.0.151",
            "127.0.0.1",
            "libssl-3.0.13.1-r0.apk",
            "amd64~~6.1.1.2",
            "Chrome/136.0.0.0 Safari",
            "255.255.255.0",
            "300.1.1.1",
            "0.0.0.0",
        ),
    ),
)
