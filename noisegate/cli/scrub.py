"""The command scrub: a filter. Texts in, scrubbed texts out; nothing is stored."""

import json
import os
import re
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from noisegate.errors import InputError, SettingsError

if TYPE_CHECKING:
    from noisegate.scrub import Finding, Policy, Scrubber
    from noisegate.settings import ScrubSettings

CHUNK_BYTES = 1 << 20
"""Read at once, at most: memory does not grow with the input."""
LONGEST_BYTES = 1 << 26
"""The longest text: a text is scrubbed whole, so it must fit in memory."""
_SHOWN_CHARS = 40
_PLAIN = frozenset(string.punctuation + " ")
# Bytes that are no UTF-8 pass through as private characters, which no rule looks at. A text that
# holds such characters already gets U+FFFD for its bad bytes.
_TO_PRIVATE = {0xDC80 + byte: 0x10FF00 + byte for byte in range(128)}
_FROM_PRIVATE = {private: escaped for escaped, private in _TO_PRIVATE.items()}
_PRIVATE = re.compile("[\U0010ff00-\U0010ff7f]")
_SURROGATE = re.compile("[\udc80-\udcff]")


def scrub(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE|-]", help="Default: standard input.")
    ] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="TOML file with the tables [scrub]; its others are not looked at. "
            "Default: noisegate.toml and NOISEGATE_SCRUB__*.",
        ),
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One JSON string a line: for texts with line breaks.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what would change, by which rule and why.")
    ] = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="With --explain: show what was found, unmasked.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --explain: a JSON object for each text with finds.")
    ] = False,
    count: Annotated[
        bool, typer.Option("--count", help="Say on standard error how much was replaced.")
    ] = False,
) -> None:
    r"""Scrub personal data and secrets out of texts, one a line: a filter.

    Needs no database and stores nothing. All else stays byte for byte, also line ends and bytes
    that are no UTF-8. A pipe is answered at once.

    * `tail -f app.log | noisegate scrub` follows a log

    * `noisegate scrub --explain app.log | less` shows what would change, masked

    * `jq '.message' alerts.jsonl | noisegate scrub --jsonl` keeps line breaks inside texts

    * `noisegate scrub --settings scrub.toml FILE` tries other settings: treatments, patterns of
    your own, what is allowed (docs/privacy.md)
    """
    if (reveal or as_json) and not explain:
        raise SettingsError("scrub: --reveal and --json belong to --explain: add it")
    scrubber, settings = _load(settings_file)
    told = _Told()
    try:
        with _said() as say:
            for name in files or ["-"]:
                lines = _Lines(name, jsonl)
                if explain:
                    shown = name if len(files or []) > 1 else ""
                    _explain(lines, scrubber, settings, shown, reveal, as_json)
                else:
                    _filter(lines, scrubber, told, say)
    except BrokenPipeError:
        # Who read us has seen enough. Nothing is left to be written when Python ends, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    if count:
        typer.echo(told.line(), err=True)


def _load(path: Path | None) -> "tuple[Scrubber, ScrubSettings]":
    from noisegate.scrub.config import load_scrubber
    from noisegate.settings import load_scrub_settings, load_settings

    if path is None:
        settings = load_settings().scrub
        return load_scrubber(settings), settings
    settings = load_scrub_settings(path)
    return load_scrubber(settings, str(path)), settings


@dataclass(slots=True)
class _Told:
    """What was done so far."""

    texts: int = 0
    changed: int = 0
    entities: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        found = ", ".join(f"{n:,} {entity}" for entity, n in sorted(self.entities.items()))
        return f"{self.texts:,} texts, {self.changed:,} changed: {found or 'nothing found'}"


@contextmanager
def _said() -> Iterator[Callable[[int], None] | None]:
    """Says on a terminal how far it is, unless the texts themselves go there."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield None
        return
    from noisegate.cli.output import QUIET_S, counted, progress

    began = time.monotonic()
    with progress() as say:
        count = counted(say, "scrubbing")
        yield lambda rows: count(rows) if time.monotonic() - began > QUIET_S else None


@dataclass(slots=True)
class _Lines:
    """The lines of one file, in lists of those that are there."""

    file: str
    jsonl: bool
    first: int = 1
    """Number of the first line of the list that was read last."""

    @property
    def name(self) -> str:
        return "standard input" if self.file == "-" else self.file

    def read(self) -> Iterator[tuple[list[bytes], list[str], bytes]]:
        """Lists of lines as they came, of their texts, and what ends each: a newline or nothing.

        Raises:
            InputError: the file cannot be read, or a line of it is no text; all before it came.
        """
        for lines, end in self._lists():
            texts = _strings(lines) if self.jsonl else _decoded(lines)
            yield lines[: len(texts)], texts, end
            if len(texts) < len(lines):
                raise InputError(
                    f"{self.name}: line {self.first + len(texts):,} is no JSON string: "
                    r'write each text as one, such as "two\nlines", or leave out --jsonl'
                )
            self.first += len(lines)

    def _lists(self) -> Iterator[tuple[list[bytes], bytes]]:
        rest: list[bytes] = []
        held = 0
        with self._open() as stream:
            while chunk := _available(stream, self.name):
                *whole, last = chunk.split(b"\n")
                if whole:
                    whole[0] = b"".join([*rest, whole[0]])
                    rest, held = [], 0
                    yield whole, b"\n"
                rest.append(last)
                held += len(last)
                if held > LONGEST_BYTES:
                    raise InputError(
                        f"{self.name}: line {self.first:,} is over {LONGEST_BYTES >> 20} MB: "
                        "a text is scrubbed whole; break it into lines"
                    )
        if held:
            yield [b"".join(rest)], b""

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        if self.file == "-":
            yield sys.stdin.buffer
            return
        try:
            stream = Path(self.file).open("rb")  # noqa: SIM115 (its own errors only)
        except OSError as error:
            raise _unreadable(self.name, error) from None
        with stream:
            yield stream


def _available(stream: IO[bytes], name: str) -> bytes:
    """What can be read without waiting for more; nothing at the end."""
    try:
        return stream.read1(CHUNK_BYTES)  # type: ignore[attr-defined, no-any-return]
    except OSError as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(
        f"{name} cannot be read ({error.strerror}): name another file, or - for a pipe"
    )


def _decoded(lines: list[bytes]) -> list[str]:
    try:
        return b"\n".join(lines).decode().split("\n")
    except UnicodeDecodeError:
        return [_decoded_badly(line) for line in lines]


def _decoded_badly(line: bytes) -> str:
    text = line.decode(errors="surrogateescape")
    return line.decode(errors="replace") if _PRIVATE.search(text) else text.translate(_TO_PRIVATE)


def _encoded(text: str, line: bytes) -> bytes:
    """A text that was the line's, with the line's bad bytes."""
    if text.isascii():
        return text.encode()
    before = line.decode(errors="surrogateescape")
    if _PRIVATE.search(before) or not _SURROGATE.search(before):
        return text.encode()
    return text.translate(_FROM_PRIVATE).encode(errors="surrogateescape")


def _strings(lines: list[bytes]) -> list[str]:
    """The JSON strings up to the first line that is none; a blank line is an empty text."""
    texts: list[str] = []
    for line in lines:
        try:
            text = json.loads(line.decode()) if line.strip() else ""
        except (ValueError, RecursionError):
            break
        if not isinstance(text, str):
            break
        texts.append(text)
    return texts


def _filter(
    lines: _Lines, scrubber: "Scrubber", told: _Told, say: Callable[[int], None] | None
) -> None:
    """Write the lines with their texts scrubbed; one that does not change as it came."""
    for raw, texts, newline in lines.read():
        ends = [text.endswith("\r") and not lines.jsonl for text in texts]
        bare = [text[:-1] if end else text for text, end in zip(texts, ends, strict=True)]
        scrubbed, entities = scrubber.texts(bare)
        for place, (before, after, end) in enumerate(zip(bare, scrubbed, ends, strict=True)):
            if after is None or after == before:
                continue
            if lines.jsonl:
                raw[place] = json.dumps(after, ensure_ascii=False).encode()
            else:
                raw[place] = _encoded(after, raw[place]) + b"\r" * end
            told.changed += 1
        told.entities.update(entities)
        told.texts += len(texts)
        sys.stdout.buffer.write(b"".join([line + newline for line in raw]))
        sys.stdout.buffer.flush()
        if say is not None:
            say(told.texts)


def _explain(
    lines: _Lines,
    scrubber: "Scrubber",
    settings: "ScrubSettings",
    file: str,
    reveal: bool,
    as_json: bool,
) -> None:
    """Say of every find where it is, what becomes of it, and why."""
    from noisegate.scrub.config import load_policy

    policy = load_policy(settings)
    for _, texts, _ in lines.read():
        for number, text in enumerate(texts, lines.first):
            findings = scrubber.findings(text.removesuffix("\r"))
            told = [_as_json(one, text, policy, reveal) for one in findings]
            if as_json and told:
                where: dict[str, Any] = {"file": file} if file else {}
                typer.echo(json.dumps(where | {"line": number, "findings": told}))
            elif not as_json:
                for one in told:
                    at = f"{file + ':' if file else ''}{number}:{one['start'] + 1}-{one['end']}"
                    becomes = (
                        f"stays ({one['kept']})" if one["kept"] else one["becomes"] or "nothing"
                    )
                    why = f" ({one['why']})" if one["why"] else ""
                    typer.echo(f"{at}  {one['text']}  ->  {becomes}  by {one['rule']}{why}")
        sys.stdout.flush()


def _as_json(finding: "Finding", text: str, policy: "Policy", reveal: bool) -> dict[str, Any]:
    """A find as plain JSON; its text masked unless it is to be seen."""
    found = text[finding.start : finding.end]
    becomes = "" if finding.kept else policy.shown(finding.entity, finding.token)
    return {
        "start": finding.start,
        "end": finding.end,
        "text": found if reveal else masked(found),
        "entity": str(finding.entity),
        "rule": finding.rule,
        "why": finding.why,
        "kept": finding.kept,
        "becomes": becomes,
    }


def masked(text: str) -> str:
    """The shape of a text: letters as x, digits as 0, at most 40 characters of it."""
    shape = "".join(
        "0" if sign.isdigit() else "x" if sign.isalpha() else sign if sign in _PLAIN else "?"
        for sign in text[:_SHOWN_CHARS]
    )
    return shape + "..." * (len(text) > _SHOWN_CHARS)
