"""Private files named by mistake: no message has any of their content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import main
from jobs.common.errors import BadInputError
from jobs.machine.power.replay import Replay

MARK = "zq"
"""In every word of the private files, and in none of ours."""

FILES = {
    "passwords": b"zqroot:$6$zqsalt$zqhash/zq.:19000:0:99999:7:::\nzqroot:*:19000:0:99999:7:::\n"
    b"zqdaemon:*:1\nzqdaemon:*:1\n",
    "key": b"-----ZQBEGIN ZQKEY-----\nzqb3BlbnNzaC1rZXktdjEA==\n-----ZQEND ZQKEY-----\n",
    "environment": b"ZQTOKEN=zqsecret\nexport ZQ_KEY='zqother'\n",
    "settings": b"[zqdefault]\nzqaccess_key = ZQIA\nzqsecret = %zq\n",
    "one-line": b"zqtoken",
    "number": b"zq0123456789,zq9876543210\n",
    "table": b"zqurl,zquser,zqpassword\nzq.example.org,zqme,zqsecret\n",
    "semicolons": b"zqurl;zquser;zqpassword\nzq.example.org;zqme;zqsecret\n",
    "other-yaml": b"zqVersion: zq1\nzqdata: {zqpassword: zqsecret}\n? [zqa]\n: zqb\n",
    "json": b'{"zqtype": "zqaccount", "zqkey": "zq\\nzq"}\n',
    "list": b"- zqfirst\n- {zqsecond: zqthird}\n",
    "alias": b"zqkey: *zqsecret\n",
    "anchor": b"[&zqsecret zqa, &zqsecret zqb]\n",
    "tag": b"!zqhandle!zqtag zqvalue\n",
    "escape": b'zqkey: "zq\\zqsecret"\n',
    "directive": b"%ZQ zqdirective\n--- zq\n--- zq\n",
    "bytes": b"zqhead\xff\xfezqtail\x00\n",
    "nul": b"zqhead\x00zqtail\n",
    "long-line": b"zq" * 100_000,
    "sixty-kilobytes": b"zqsecret " * 6000,
}


@pytest.fixture(params=list(FILES))
def private(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One private file, under a name that every reader takes."""
    path = tmp_path / "file.safetensors"
    path.write_bytes(FILES[request.param])
    return path


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with a run."""
    return made_run(tmp_path_factory.mktemp("private-root") / "results", kinds=("latency",))


COMMANDS = (
    ("plan", "FILE"),
    ("plan", "GRID"),
    ("submit", "FILE", "--inline"),
    ("train", "FILE"),
    ("schedule", "add", "FILE", "--ledger", "nights.sqlite"),
    ("doctor", "--cluster", "FILE"),
    ("power", "import", "FILE", "--run", "made"),
    ("power", "import", "FILE", "--run", "made", "--decimal", "comma"),
    ("power", "import", "FILE", "--run", "made", "--format", "tegrastats", "--zone", "UTC"),
    ("import", "FILE", "-o", "out.safetensors"),
    ("import", "none.pth", "-o", "out.safetensors", "--classes", "FILE"),
    ("sql", "from read_csv('FILE')"),
    ("sql", "-f", "FILE"),
)


def test_no_message_quotes_a_private_file(
    private: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that the file is none of the kind, and what is expected."""
    monkeypatch.setenv("GFJOBS_RESULTS", str(root))
    monkeypatch.chdir(tmp_path)
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        f"models: ['{private}']\n"
        f"datasets: ['parquet:{private}', 'folder:{private.parent}', 'folder:{private}']\n"
    )
    for words in COMMANDS:
        files = (word.replace("FILE", str(private)).replace("GRID", str(grid)) for word in words)
        done = CliRunner().invoke(main, [*files])
        assert done.exit_code == (1 if words[0] == "doctor" else 2), (words, done.output)
        assert isinstance(done.exception, SystemExit), words
        assert MARK not in done.output.lower(), (words, done.output)


def test_replayed_power_quotes_none_either(private: Path) -> None:
    """Its path comes from the environment of a node."""
    with pytest.raises(BadInputError) as refused:
        Replay(private)
    assert MARK not in str(refused.value).lower()


def test_class_names_that_a_file_gives_twice_are_told_by_their_lines(tmp_path: Path) -> None:
    """Names given on the command line are the user's own words."""
    path = tmp_path / "classes.txt"
    path.write_text("cat\n\nzqsecret\ndog\nzqsecret\n")
    done = CliRunner().invoke(main, ["import", "none.pth", "--classes", str(path)])
    assert (done.exit_code, MARK in done.output) == (2, False)
    assert "lines 3 and 5" in done.output
    done = CliRunner().invoke(main, ["import", "none.pth", "--classes", "cat,dog,cat"])
    assert "a class twice: cat" in done.output


def test_a_file_that_is_otherwise_a_grid_is_quoted(tmp_path: Path) -> None:
    """Whoever mistypes a key or a value sees it; so does one who mistypes the only key."""
    grid = tmp_path / "grid.yaml"
    for text, said in (
        ("models: [digits-dyn]\ndatasets: [digits]\nthread: [1]\n", "'digits-dyn'; did you mean"),
        ("modles: [digits-dynn]\n", "modles: unknown key; did you mean 'models'?"),
    ):
        grid.write_text(text)
        done = CliRunner().invoke(main, ["plan", str(grid)])
        assert (done.exit_code, said in done.output) == (2, True), done.output
