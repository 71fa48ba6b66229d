"""YAML documents with their lines: each value is read strictly, each refusal says where it stands.

Nodes are composed, never constructed: what YAML 1.1 would make of `no`, `1:30` or `012` is
refused, and an alias is not followed, so that a small file cannot become a large document.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import yaml

MOST_BYTES = 1_000_000
"""Size of the largest file that is read."""

_TAG = "tag:yaml.org,2002:"
_TAGS = ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?")
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UNIT_S = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What is wrong with a file, or worth knowing (a remark), on one line."""

    file: Path
    line: int
    """From 1."""
    message: str
    remark: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {'remark: ' if self.remark else ''}{self.message}"


@dataclass(slots=True)
class Source:
    """One file that is being read, and what was found in it."""

    file: Path
    findings: list[Finding] = field(default_factory=list)
    _read: set[int] = field(default_factory=set)

    def note(self, line: int, message: str, *, remark: bool = False) -> None:
        """Add a finding; what a terminal would obey or break at is taken out of it."""
        shown = "".join(c if c.isprintable() else " " for c in message)
        self.findings.append(Finding(self.file, line, shown, remark))

    def documents(self) -> list[yaml.Node]:
        """The documents of the file; none, and a finding, where it is no YAML."""
        try:
            data = self.file.read_bytes()
            if len(data) > MOST_BYTES:
                self.note(1, f"has {len(data)} bytes: a file of specs has at most {MOST_BYTES}")
                return []
            text = data.decode("utf-8-sig")
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            found = [node for node in yaml.compose_all(text, Loader=loader) if node is not None]
            if not found:
                self.note(1, "holds no document: nothing is read from it", remark=True)
            return found
        except OSError as error:
            self.note(1, f"cannot be read ({error.strerror}): give a readable file")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.note(line, f"byte {data[error.start]:#04x} is not UTF-8: save the file as UTF-8")
        except yaml.YAMLError as error:
            self.note(*_syntax(error, text))
        return []

    def first_use(self, node: yaml.Node) -> bool:
        """Whether a node is read for the first time: an alias is the same node again."""
        if id(node) in self._read:
            return False
        self._read.add(id(node))
        return True


def _syntax(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Line and message of a syntax error."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        what = ", ".join(filter(None, (getattr(error, p, "") for p in ("context", "problem"))))
        hint = ": indent with spaces, not tabs" if "cannot start any token" in what else ""
        return mark.line + 1, f"is no YAML: {what} (column {mark.column + 1}){hint}"
    line = text.count("\n", 0, getattr(error, "position", 0)) + 1
    return line, f"is no YAML: {getattr(error, 'reason', 'unreadable')}: take the character out"


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest; empty if none is near."""
    return next(iter(difflib.get_close_matches(name, tuple(known), n=1, cutoff=0.7)), "")


def near(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` where a known name is near, else the known names."""
    names = sorted(known)
    if close := closest(name, names):
        return f"did you mean {close}?"
    listed = ", ".join(names[:12])
    return f"known {'is' if len(names) == 1 else 'are'} {listed}" + (
        f" and {len(names) - 12} more" if len(names) > 12 else ""
    )


class Fields:
    """A mapping of a document. Getters note what is wrong and return a value that is usable."""

    def __init__(
        self, source: Source, node: yaml.Node | None, path: str, known: Iterable[str] = ()
    ) -> None:
        """Read the keys.

        Args:
            source: takes the findings.
            node: None: missing, which was noted already; every getter is then silent.
            path: of the mapping in its document, for messages; "" for the document itself.
            known: the keys that may occur; empty: any (see `only`).
        """
        self.source, self.path = source, path
        self.line = 0 if node is None else node.start_mark.line + 1
        self.silent = True
        """It is missing or no mapping."""
        self._values: dict[str, yaml.Node] = {}
        self._lines: dict[str, int] = {}
        self._noted: set[str] = set()
        if node is None or not self._usable(node, path or "the document"):
            return
        if not isinstance(node, yaml.MappingNode):
            source.note(self.line, f"{path or 'the document'} is no mapping: write `key: value`")
            return
        self.silent = False
        self._keys(node)
        if known := tuple(known):
            self.only(*known)

    def _usable(self, node: yaml.Node, path: str) -> bool:
        line = node.start_mark.line + 1
        if node.tag.removeprefix(_TAG) not in _TAGS:
            self.source.note(line, f"{path} has the tag {node.tag[:60]}: take it away")
            return False
        return True

    def _keys(self, node: yaml.MappingNode) -> None:
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name in self._lines:
                first = self._lines[name]
                self.source.note(
                    line, f"{self._path(name)} stands in line {first} already: keep one"
                )
            else:
                self._lines[name] = line
                if self._is_new(value, self._path(name)):
                    self._values[name] = value

    def _is_new(self, node: yaml.Node, path: str) -> bool:
        if new := self.source.first_use(node):
            return new
        line = node.start_mark.line + 1
        self.source.note(line, f"{path} repeats by an alias what stands here: write it out")
        return False

    def only(self, *known: str) -> None:
        """Refuse all other keys, by name."""
        for name in [name for name in self._values if name not in known]:
            merge = "merge keys are not read, write it out"
            self.refuse(name, f"is not known: {merge if name == '<<' else near(name, known)}")
            del self._values[name]
            self._noted.add(closest(name, known))

    def _path(self, key: str) -> str:
        return ".".join(filter(None, (self.path, key[:60])))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def line_of(self, key: str) -> int:
        """Line of a key, else of the mapping."""
        return self._lines.get(key, self.line)

    def refuse(self, key: str, message: str) -> None:
        """Note what is wrong with a key's value, or with all ("")."""
        if not self.silent:
            self.source.note(self.line_of(key), f"{self._path(key)} {message}")

    def _missing(self, key: str, way: str) -> None:
        # A key that was noted already (misspelt, an alias) is one problem, not two.
        if key not in self._lines and key not in self._noted:
            self.refuse(key, f"is missing: {way}")

    def one_of(self, *keys: str) -> str:
        """The one of these keys that is given; empty, and noted, if none or several are."""
        given = [key for key in keys if key in self]
        if len(given) == 1:
            return given[0]
        if given or not self._noted.intersection(keys):
            self.refuse("", f"must hold {' or '.join(keys)}: give one of them")
        return ""

    def unsupported(self, ways: Mapping[str, str]) -> None:
        """Refuse keys that OpenSLO knows and that are not read here; each with its way out."""
        for key, way in ways.items():
            if key in self:
                self.refuse(key, f"is not supported: {way}")

    def _scalar(self, key: str, want: str, required: bool) -> yaml.ScalarNode | None:
        node = self._values.get(key)
        if node is None:
            if required:
                self._missing(key, f"give {want}")
            return None
        if not self._usable(node, self._path(key)):
            return None
        if not isinstance(node, yaml.ScalarNode):
            self.refuse(key, f"is not one value: give {want}")
        elif node.tag == f"{_TAG}null" or not node.value.strip():
            self.refuse(key, f"is empty: give {want}")
        else:
            return node
        return None

    def text(self, key: str, want: str = "text", default: str | None = None) -> str:
        """A string; required without a default."""
        node = self._scalar(key, want, default is None)
        if node is None:
            return default or ""
        if node.tag != f"{_TAG}str":
            kind = node.tag.removeprefix(_TAG)
            self.refuse(key, f"{node.value[:60]} is read by YAML as {kind}: put it in quotes")
            return ""
        return str(node.value)

    def choice(self, key: str, choices: Mapping[str, str], default: str | None = None) -> str:
        """One of the choices whose way out is empty; the others are known, and not supported."""
        good = [name for name, way in choices.items() if not way]
        value = self.text(key, " or ".join(good), default)
        if choices.get(value):
            self.refuse(key, f"{value} is not supported: {choices[value]}")
        elif value and value not in choices:
            self.refuse(key, f"{value[:60]} is not known: {near(value, good)}")
        return value if value in good else good[0]

    def name(self, key: str = "name") -> str:
        """A required name as OpenSLO wants it: RFC 1123, at most 63 characters."""
        value = self.text(key, "a name such as checkout-api")
        if value and not _NAME.fullmatch(value):
            self.refuse(
                key, f"{value[:70]} is no name: give a-z, 0-9 and - inside, at most 63 of them"
            )
        return value

    def number(self, key: str, want: str, default: str = "") -> Decimal:
        """A plain decimal number; required without a default."""
        node = self._scalar(key, want, not default)
        usable = Decimal(default or "0.5")  # within all bounds: one problem is told once
        if node is None:
            return usable
        if node.style:
            self.refuse(key, f"{node.value[:60]!r} is text: write the number without quotes")
        elif not _NUMBER.fullmatch(node.value):
            self.refuse(key, f"{node.value[:60]} is not a plain decimal number: give {want}")
        else:
            return Decimal(node.value)
        return usable

    def duration(self, key: str) -> float:
        """Seconds of a required duration in OpenSLO's shorthand."""
        node = self._scalar(key, "a duration such as 30d", True)
        seconds = parse_duration(node.value) if node else 86_400.0
        if node and seconds is None:
            self.refuse(key, f"{node.value[:60]} is {bad_duration(node.value)}")
        return seconds or 86_400.0

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false, written so."""
        node = self._scalar(key, "true or false", default is None)
        if node is None:
            return bool(default)
        if node.value not in ("true", "false") or node.tag != f"{_TAG}bool":
            self.refuse(key, f"{node.value[:60]} is not a truth value: write true or false")
        return bool(node.value == "true")

    def child(self, key: str, known: Iterable[str], *, required: bool = True) -> "Fields":
        """A mapping below; silent where it is missing."""
        node = self._values.get(key)
        if node is None and required:
            self._missing(key, f"it holds {', '.join(known)}")
        return Fields(self.source, node, self._path(key), known)

    def children(self, key: str, known: Iterable[str]) -> list["Fields"]:
        """The mappings of a list; none where it is missing."""
        node = self._values.get(key)
        if node is None or not self._usable(node, self._path(key)):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.refuse(key, "is not a list: begin each item with `- `")
            return []
        known = tuple(known)
        return [
            Fields(self.source, item, f"{self._path(key)}[{index}]", known)
            for index, item in enumerate(node.value)
            if self._is_new(item, f"{self._path(key)}[{index}]")
        ]


def parse_duration(value: str) -> float | None:
    """Seconds of a duration such as 5m, 12h, 30d, 4w; None where it is none."""
    match = _DURATION.fullmatch(value)
    return int(match[1]) * _UNIT_S[match[2]] if match else None


def bad_duration(value: str) -> str:
    """Why a text is no duration, and the way out."""
    if re.fullmatch(r"[0-9]+[MQY]", value):
        return "of no fixed length: count it in days, such as 30d"
    if re.fullmatch(r"[0-9]+s", value):
        return "in seconds, which OpenSLO has not: count it in minutes, such as 5m"
    return "not a duration: give a whole number and m, h, d or w, such as 30d"
