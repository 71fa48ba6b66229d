"""The filter: what goes in comes out byte for byte but for the finds, at once, line by line."""

import io
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import noisegate.cli
from noisegate.cli import scrub as command

Filter = Callable[..., tuple[int, bytes, str]]
SETTINGS = """
[scrub.treatment]
MAC = "keep"

[[scrub.patterns]]
id = "employee"
token = "EMPLOYEE"
pattern = 'EMP-\\d{6}'
"""


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Filter:
    """Run `noisegate scrub` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, given: bytes = b"") -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["noisegate", "scrub", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        with pytest.raises(SystemExit) as left:
            noisegate.cli.main()
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return int(left.value.code or 0), out, err.decode()

    return call


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(b"to a@example.com\n", b"to <EMAIL>\n", id="a line"),
        pytest.param(b"to a@example.com", b"to <EMAIL>", id="no line end at the end"),
        pytest.param(b"a@example.com\r\nb \r\n", b"<EMAIL>\r\nb \r\n", id="Windows' line ends"),
        pytest.param(b"\n\n \n", b"\n\n \n", id="empty lines"),
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"a\rb a@example.com\r", b"a\rb <EMAIL>\r", id="a lone carriage return"),
        pytest.param(
            b"\0\x01\x0b\x0c\x1c\xc2\x85\n", b"\0\x01\x0b\x0c\x1c\xc2\x85\n", id="controls"
        ),
        pytest.param(b"M\xfc \xff at 10.0.0.1\n", b"M\xfc \xff at <IPV4>\n", id="no UTF-8"),
        pytest.param(
            b"\xff \xf4\x8f\xbd\xbf 10.0.0.1\n",
            "\ufffd \U0010ff7f <IPV4>\n".encode(),
            id="no UTF-8, beside the characters that stand for it",
        ),
        pytest.param(
            "\U0010ff7f 10.0.0.1\n".encode(), "\U0010ff7f <IPV4>\n".encode(), id="private ones"
        ),
        pytest.param("zoë@exämple.de – é\n".encode(), "<EMAIL> – é\n".encode(), id="UTF-8"),
        pytest.param(b"\xef\xbb\xbf10.0.0.1\n", b"\xef\xbb\xbf<IPV4>\n", id="a byte order mark"),
    ],
)
def test_all_but_the_finds_comes_out_as_it_went_in(
    given: bytes, expected: bytes, run: Filter
) -> None:
    assert run(given=given) == (0, expected, "")


def test_pieces_and_lines_do_not_depend_on_how_they_are_read(
    run: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "".join(f"{n} ü a{n}@example.com\n" for n in range(50)).encode() + b"\xff 10.0.0.1"
    whole = run(given=given)
    for size in (1, 7):
        monkeypatch.setattr(command, "CHUNK_BYTES", size)
        assert run(given=given) == whole
    assert whole[1].count(b"<EMAIL>") == 50


def test_several_files_come_one_after_the_other(run: Filter, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"a 10.0.0.1\n")
    (tmp_path / "b.log").write_bytes(b"b EMP-123456\n")
    (tmp_path / "s.toml").write_text(SETTINGS)

    code, out, err = run("--settings", "s.toml", "--count", "a.log", "-", "b.log", given=b"c\n")

    assert (code, out) == (0, b"a <IPV4>\nc\nb <EMPLOYEE>\n")
    assert err == "3 texts, 2 changed: 1 CUSTOM, 1 IPV4\n"


def test_json_strings_keep_their_line_breaks_and_unchanged_ones_their_spelling(
    run: Filter,
) -> None:
    given = b'"one\\ntwo a@example.com \\u00fc"\n "\\u00fc"\r\n\n"\\ud800 10.0.0.1"'
    code, out, err = run("--jsonl", given=given)
    assert (code, err) == (0, "")
    first, second, third, last = out.split(b"\n")
    assert json.loads(first) == "one\ntwo <EMAIL> ü"
    assert (second, third) == (b' "\\u00fc"\r', b"")
    assert json.loads(last) == "\ufffd <IPV4>"


@pytest.mark.parametrize("bad", [b'{"a": 1}', b"10.0.0.1", b'"', b'"\xff"', b"[" * 100_000])
def test_a_line_that_is_no_json_string_is_named_and_all_before_it_is_out(
    bad: bytes, run: Filter
) -> None:
    code, out, err = run("--jsonl", given=b'"a"\n"b 10.0.0.1"\n' + bad + b'\n"c"\n')
    assert (code, out) == (3, b'"a"\n"b <IPV4>"\n')
    assert err.startswith("noisegate: standard input: line 3 is no JSON string: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(["none.log"], 3, "none.log cannot be read (No such file", id="no file"),
        pytest.param(["."], 3, ". cannot be read (Is a directory)", id="a folder"),
        pytest.param(["--settings", "none.toml"], 2, "none.toml cannot be read", id="no settings"),
        pytest.param(["--reveal"], 2, "belong to --explain", id="an option by itself"),
    ],
)
def test_what_cannot_be_is_one_line_with_a_code_of_its_own(
    arguments: list[str], code: int, says: str, run: Filter
) -> None:
    left, out, err = run(*arguments)
    assert (left, out) == (code, b"")
    assert says in err
    assert err.count("\n") == 1


def test_a_line_too_long_for_memory_is_refused_not_cut(
    run: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "CHUNK_BYTES", 100)
    monkeypatch.setattr(command, "LONGEST_BYTES", 1_000)
    code, out, err = run(given=b"a\n" + b"x" * 2_000)
    assert (code, out) == (3, b"a\n")
    assert "line 2 is over" in err


def test_the_settings_are_those_of_the_folder(run: Filter, tmp_path: Path) -> None:
    (tmp_path / "noisegate.toml").write_text(SETTINGS)
    assert run(given=b"EMP-123456 00:1A:2B:3C:4D:5E\n")[1] == b"<EMPLOYEE> 00:1A:2B:3C:4D:5E\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisegate.toml"]


GIVEN = b"fine\nmail zo\xc3\xab@example.com from 00:1A:2B:3C:4D:5E\r\nEMP-123456"


def test_explain_shows_what_would_change_and_why_but_nothing_personal(
    run: Filter, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(SETTINGS)
    code, out, err = run("--settings", "s.toml", "--explain", given=GIVEN)
    assert (code, err) == (0, "")
    first, second, third = out.decode().splitlines()
    assert first.startswith("2:6-20  xxx@xxxxxxx.xxx  ->  <EMAIL>  by email")
    assert second.startswith("2:27-43  00:0x:0x:0x:0x:0x  ->  stays (policy)  by mac")
    assert third.startswith("3:1-10  xxx-000000  ->  <EMPLOYEE>  by employee (")
    assert r"EMP-\d{6}" in third


def test_explain_tells_machines_one_object_for_each_text(run: Filter, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SETTINGS)
    (tmp_path / "a.log").write_bytes(GIVEN)
    options = ["--settings", "s.toml", "--explain", "--json", "--reveal"]
    lines = run(*options, "a.log", "-", given=b"10.0.0.1")[1].splitlines()
    told = [json.loads(line) for line in lines]
    assert [(one["file"], one["line"]) for one in told] == [("a.log", 2), ("a.log", 3), ("-", 1)]
    (email, mac), (employee,), (address,) = (one["findings"] for one in told)
    assert (email["text"], email["start"], email["end"]) == ("zoë@example.com", 5, 20)
    assert (mac["kept"], mac["becomes"]) == ("policy", "")
    assert (employee["entity"], employee["rule"], employee["becomes"]) == (
        "CUSTOM",
        "employee",
        "<EMPLOYEE>",
    )
    assert address["becomes"] == "<IPV4>"


def test_a_found_text_is_masked_whole_and_cut() -> None:
    assert command.masked("Zoë-7 \x1b[2J") == "xxx-0 ?[0x"
    assert command.masked("a" * 50) == "x" * 40 + "..."


def test_a_pipe_is_answered_line_by_line_and_may_be_left(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NOISEGATE_")}
    arguments = [sys.executable, "-c", "from noisegate.cli import main; main()", "scrub"]
    with subprocess.Popen(
        arguments,
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for _ in range(2):  # the next line goes in only once this one is out
            process.stdin.write(b"from 10.0.0.1\nhal")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 60)[0]
            assert process.stdout.readline().endswith(b"from <IPV4>\n")
        process.stdout.close()
        process.stdin.write(b"f\n")
        process.stdin.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
