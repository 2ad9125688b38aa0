"""The command line: help, exit codes, streams, and what it loads."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result

from jobs.cli import base, main


def _named(group: click.Group, prefix: str = "") -> Iterator[str]:
    """Every command as it is called: `submit`, `node`, `node start`."""
    for name, command in group.commands.items():
        yield f"{prefix}{name}"
        if isinstance(command, click.Group):
            yield from _named(command, f"{prefix}{name} ")


COMMANDS = sorted(_named(main))
REPOSITORY = Path(__file__).parents[3]


def gfjobs(*arguments: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def root(ladder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A results root with the run `first` of a small grid."""
    threads = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("cli")
    grid = folder / "small.yaml"
    grid.write_text(
        f"models: ['{ladder}/flat.safetensors', '{ladder}/dynn.safetensors']\n"
        "datasets: [{name: digits, limit: 12}]\nthresholds: [0.5]\nthreads: [1]\n"
        "latency: {rounds: 2, warmup_images: 2}\n"
    )
    done = gfjobs("submit", grid, "--inline", "--run", "first", "--results", folder / "results")
    assert done.exit_code == 0, done.output
    yield folder / "results"
    torch.set_num_threads(threads)


def test_help_loads_nothing_heavy() -> None:
    """Neither torch, ray nor duckdb: so it answers at once."""
    code = (
        "import sys\n"
        "from jobs.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'duckdb', 'pyarrow', 'numpy', 'yaml', 'altair', 'jinja2'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Maintenance:" in done.stdout


def test_planning_loads_neither_torch_nor_ray(root: Path) -> None:
    """A plan is made on a machine that never loads a model."""
    code = (
        "import sys\n"
        "from jobs.cli import main\n"
        f"try: main(['plan', {str(root.parent / 'small.yaml')!r}])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'ray'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["submit", "small.yaml"], "reading small.yaml"),
        (["resume", "first"], "reading run first"),
        (["eval", "digits-dynn", "--data", "digits"], "reading digits-dynn"),
    ],
)
def test_the_first_message_does_not_wait_for_torch(
    root: Path, command: list[str], said: str
) -> None:
    """Torch and Ray take seconds to load: by then it is known that the command was understood."""
    code = (
        "import sys\n"
        "from jobs.cli import base, evaluation, main, runs\n"
        "def narrate(text):\n"
        "    print(text, *({'torch', 'ray'} & set(sys.modules)))\n"
        "    sys.exit(7)\n"
        "runs.narrate = evaluation.narrate = narrate\n"
        f"main({[*command, '--results', str(root)]!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=root.parent,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stdout.strip()) == (7, said), done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    """And the README or a page of the docs names it."""
    result = gfjobs(*command.split(), "--help")
    assert result.exit_code == 0
    assert re.search(rf"^ +(eval \"\$\()?gfjobs {command}\b", result.output, re.MULTILINE)
    assert max(map(len, result.output.splitlines())) <= 80
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    assert any(re.search(rf"gfjobs {command}\b", page.read_text()) for page in pages)


def test_submit_ends_with_ladder_histogram_place_and_next_steps(root: Path) -> None:
    """Rows on stdout, narration on stderr; a finished run is shown again."""
    grid = root.parent / "small.yaml"
    result = gfjobs("submit", grid, "--inline", "--run", "first", "--results", root)
    assert result.exit_code == 0
    assert "acc@1" in result.stdout
    assert "dynn at 0.5 on digits: exits" in result.stdout
    assert f"{root}/runs/first" in result.stderr
    commands = re.findall(r"^  gfjobs .*$", result.stderr, re.MULTILINE)
    assert len(commands) == 2


@pytest.mark.parametrize(
    ("measure", "next_query"),
    [("profile", None), ("exit_costs", "select model, exit_block, forward_ms from exit_means")],
)
def test_a_run_without_a_ladder_says_so_and_is_not_asked_for_it(
    ladder: Path, tmp_path: Path, measure: str, next_query: str | None
) -> None:
    """What to try next has rows."""
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        f"models: ['{ladder}/dynn.safetensors']\ndatasets: [{{name: digits, limit: 3}}]\n"
        f"threads: [1]\nlatency: {{rounds: 1, warmup_images: 1}}\nmeasure: [{measure}]\n"
    )
    result = gfjobs("submit", grid, "--inline", "--results", tmp_path / "results")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == (
        "the ladder is empty: its grid measures neither accuracy nor latency"
    )
    queries = re.findall(r'^  gfjobs sql "(.*)"', result.stderr, re.MULTILINE)
    assert [query.partition(" join")[0] for query in queries] == [*filter(None, [next_query])]
    for query in queries:
        shown = gfjobs("sql", query, "--format", "csv", "--results", tmp_path / "results")
        assert len(shown.stdout.splitlines()) > 1, shown.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs"], "first"),
        (["status", "latest"], "run first is done: 4 done"),
        (["summary", "first"], "acc@1"),
        (["summary"], "acc@1"),
        (["status"], "run first is done"),
        (["sql", "select model, forward_ms from ladder"], "dynn"),
    ],
)
def test_reading_commands(arguments: list[str], words: str, root: Path) -> None:
    """Each shows its rows on stdout and ends with 0."""
    result = gfjobs(*arguments, "--results", root)
    assert result.exit_code == 0, result.output
    assert words in result.stdout


def test_resuming_a_finished_run(root: Path) -> None:
    """Nothing is shown twice: that nothing is missing, and where the figures are."""
    result = gfjobs("resume", "latest", "--inline", "--results", root)
    assert result.exit_code == 0, result.output
    assert "run first is done: nothing is missing" in result.stderr
    assert "its figures: gfjobs summary first" in result.stderr
    assert result.stdout == ""


def test_results_root_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$GFJOBS_RESULTS serves where --results is not given."""
    monkeypatch.setenv("GFJOBS_RESULTS", str(root))
    assert "first" in gfjobs("runs").stdout


def test_sql_formats(root: Path) -> None:
    """The same rows as table, csv, json, parquet and Markdown."""
    query = "select model, count(*) n, any_value(threshold) t from records group by all order by 1"
    outputs = {
        form: gfjobs("sql", query, "--format", form, "--results", root).stdout_bytes
        for form in ("table", "csv", "json", "parquet", "md")
    }
    expected = [{"model": "dynn", "n": 24, "t": 0.5}, {"model": "flat", "n": 24, "t": None}]
    assert json.loads(outputs["json"]) == expected
    assert pq.read_table(io.BytesIO(outputs["parquet"])).to_pylist() == expected
    rows = list(csv.DictReader(io.StringIO(outputs["csv"].decode())))
    assert rows == [{"model": "dynn", "n": "24", "t": "0.5"}, {"model": "flat", "n": "24", "t": ""}]
    assert outputs["md"].decode().splitlines()[2] == "| dynn | 24 | 0.5 |"
    assert outputs["table"].decode().splitlines()[-1].split() == ["flat", "24", "–"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "none.yaml"], "none.yaml: there is no such file"),
        (["plan", "none.yaml"], "none.yaml: there is no such file"),
        (["status", "nope"], "there is no run 'nope'"),
        (["resume", "frist"], "first"),
        (["summary", "../x"], "there is no run"),
        (["summary", "first", "--profile"], "run first has no profile; set measure:"),
        (["rm", "nope"], "there is no run 'nope'"),
        (["sql", "selec 1"], "syntax error"),
        (["sql", ""], "'' has no statement; a query is, for example, 'from ladder'"),
        (["sql", "/* only a comment */", "--format", "csv"], "has no statement"),
        (["sql", "select model from ladde"], "ladder"),
        (["sql", "select modle from ladder"], "model"),
        (["sql", "select 1", "--format", "xml"], "'xml' is not one of"),
        (["runs", "--resluts", "x"], "--results"),
        (["sumit"], "submit"),
    ],
)
def test_bad_input_ends_with_2_and_says_what_to_do(
    arguments: list[str], words: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message on stderr, nothing on stdout, no traceback."""
    monkeypatch.setenv("GFJOBS_RESULTS", str(root))
    result = gfjobs(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_no_results_yet(tmp_path: Path) -> None:
    """Asking before the first run says how to make one."""
    for arguments in (["runs"], ["status", "latest"], ["sql", "select 1"]):
        result = gfjobs(*arguments, "--results", tmp_path / "none")
        assert result.exit_code == 2
        assert "gfjobs submit" in result.stderr


def test_failed_work_ends_with_1(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing cell is named, the others' figures are shown, and the way on is told."""
    from jobs.machine import devices

    monkeypatch.setattr(devices, "local_devices", lambda: ("any", "cuda"))
    monkeypatch.setattr("jobs.runs.target.local_devices", lambda: ("any", "cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    grid = root.parent / "cuda.yaml"
    text = (root.parent / "small.yaml").read_text()
    grid.write_text(text + "devices: [cuda, any]\nexclude: [{model: flat, device: any}]\n")
    result = gfjobs("submit", grid, "--inline", "--run", "cuda", "--results", root)
    assert result.exit_code == 1
    assert "sees no device 'cuda'" in " ".join(result.stderr.split())
    assert "gfjobs resume cuda" in result.stderr
    assert "dynn" in result.stdout
    assert gfjobs("rm", "cuda", "--results", root).exit_code == 0
    assert "cuda" not in gfjobs("runs", "--results", root).stdout


def test_models_lists_the_bundled_checkpoints() -> None:
    """Name, family, parameters, exits."""
    result = gfjobs("models")
    assert result.exit_code == 0
    for name in ("digits-gfnet", "digits-distil", "digits-dynn"):
        assert name in result.stdout


def test_train_reports_epochs_and_prints_the_checkpoint(tmp_path: Path) -> None:
    """One line an epoch on stderr, the path on stdout; a bad recipe writes nothing."""
    recipe = (REPOSITORY / "examples" / "train" / "digits-gfnet.yaml").read_text()
    recipe = re.sub(r"(?m)^epochs: .*$", "epochs: 2", recipe)
    recipe = re.sub(r"(?m)^warmup_epochs: .*$", "warmup_epochs: 1", recipe)
    recipe = re.sub(r"embed_dim: \d+, depth: \d+", "embed_dim: 4, depth: 1", recipe)
    (tmp_path / "r.yaml").write_text(recipe)
    result = gfjobs("train", tmp_path / "r.yaml", "-o", tmp_path / "m.safetensors")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "m.safetensors")
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["model 1/2", "model 2/2"]
    assert re.fullmatch(r".* is trained: .* holds epoch [12], with [0-9.]+ % on .*", lines[2])
    assert lines[-1] == "  gfjobs plan GRID"
    assert "images/s" in lines[0]
    before = (tmp_path / "m.safetensors").read_bytes()
    for option, code, said in (
        ("--resume", 0, "is finished: "),
        ("--device=any", 2, "--resume"),  # nothing that says what to do with it
    ):
        again = gfjobs("train", tmp_path / "r.yaml", "-o", tmp_path / "m.safetensors", option)
        assert (again.exit_code, said in again.stderr) == (code, True), again.output
    both = gfjobs("train", tmp_path / "r.yaml", "--resume", "--force")
    assert (both.exit_code, "give one of them" in both.stderr) == (2, True)
    assert (tmp_path / "m.safetensors").read_bytes() == before
    (tmp_path / "r.yaml").write_text(recipe.replace("seed", "sead"))
    result = gfjobs("train", tmp_path / "r.yaml", "-o", tmp_path / "other.safetensors")
    assert result.exit_code == 2
    assert "did you mean 'seed'?" in result.stderr
    assert not (tmp_path / "other.safetensors").exists()


@pytest.mark.parametrize("value", ["s3://bucket/prefix", "", "~nobody-of-that-name/x"])
def test_roots_that_are_no_folder(value: str, root: Path) -> None:
    """A URL does not become a folder that looks like it."""
    result = gfjobs("submit", root.parent / "small.yaml", "--inline", "--results", value)
    assert result.exit_code == 2
    assert "results root" in result.stderr
    assert not Path("s3:").exists()


def test_a_root_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable: the option was not given."""
    monkeypatch.setenv("GFJOBS_RESULTS", "~nobody-of-that-name/x")
    assert "Invalid value for $GFJOBS_RESULTS: results root ~nobody" in gfjobs("runs").stderr


def test_columns_of_one_name_and_values_that_python_lacks(root: Path) -> None:
    """Every column is shown, and a date beyond Python's years as text."""
    query = "select 1 a, 2 a, date '20000-01-01' d, 'infinity'::timestamp t"
    for form in ("table", "md", "json", "csv"):
        result = gfjobs("sql", query, "--format", form, "--results", root)
        assert result.exit_code == 0, (form, result.exception)
        for words in ("a_1", "20000-01-01"):
            assert words in result.stdout
    result = gfjobs("sql", "select interval '1 month' i", "--format", "parquet", "--results", root)
    assert result.exit_code == 2
    assert "cast" in result.stderr


def test_long_tables_are_cut_with_a_word(root: Path) -> None:
    """A table for people has 1,000 rows; csv has all."""
    result = gfjobs("sql", "from range(2500)", "--results", root)
    assert "1,000 of 2,500 rows" in result.stderr
    result = gfjobs("sql", "from range(2500)", "--format", "csv", "--results", root)
    assert len(result.stdout.splitlines()) == 2501


def test_help_is_laid_out_as_written() -> None:
    """Examples keep their lines, and no control sign is shown."""
    text = gfjobs("--help").stdout
    assert "\n    gfjobs submit examples/quickstart.yaml\n" in text
    assert "\\b" not in text


def test_help_lists_every_command_in_one_group_and_whole() -> None:
    """By what it is for; no line is cut off at 80 columns."""
    listed = [name for names in base.COMMANDS.values() for name in names]
    assert sorted(listed) == sorted(main.commands)
    text = gfjobs("--help").stdout
    for words in ([], ["node"], ["power"], ["schedule"]):
        lines = gfjobs(*words, "--help").stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert not [line for line in lines if line.endswith("...") and line[0] == " "]
    for name in main.commands:
        assert re.search(rf"^  {name} +[A-Z].*\.$", text, re.MULTILINE), name


def test_commands_to_copy_work_where_the_program_is_not_on_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`make run` ends with commands, and .venv/bin is on nobody's PATH yet."""
    monkeypatch.setattr(sys, "argv", [str(Path.cwd() / ".venv" / "bin" / "gfjobs")])
    monkeypatch.setenv("PATH", "/nowhere")
    assert base.program() == ".venv/bin/gfjobs"
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert base.program() == "gfjobs"


def test_errors_fit_a_terminal() -> None:
    """Broken at the ends of words; paths, commands to copy and what fits stay as they are."""
    names = ", ".join(f"name_{number}" for number in range(40))
    path = "/a/" + 12 * "long-folder/"
    text = f"gfjobs: no such table\n\n    allowed: {names}\nsee {path} there\n  gfjobs sql {names}"
    fitted = base.fitted(text, 80)
    lines = fitted.splitlines()
    assert lines[:2] == ["gfjobs: no such table", ""]
    assert lines[-1] == f"  gfjobs sql {names}"
    assert any(path in line for line in lines)
    assert all(len(line) <= 80 for line in lines[:-1] if path not in line)
    assert " ".join(fitted.split()) == " ".join(text.split())
    assert lines[3].startswith("    name_"), "what goes on stands below"


@pytest.mark.parametrize("wait", ["", "s", "10", "1.5m", "-1s", "8785h", f"{'9' * 5000}s", "²s"])
def test_a_wait_that_is_none(wait: str) -> None:
    """A year at most: a thread that were to wait for centuries would fail at once."""
    done = gfjobs("submit", "grid.yaml", "--wait", wait)
    assert done.exit_code == 2
    assert "such as 90s, 10m or 2h, at most 8784h" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "20"), "--at is a rate for --max-p99-ms"),
        (("--max-p99-ms", "50", "--max-drop", "1"), "leave out --max-drop"),
        (("--max-p99-ms", "50", "--write", "x.safetensors"), "--write needs one choice"),
        (("--max-p99-ms", "0"), "x>0"),
        (("--max-p99-ms", "50", "--at", "20"), "has no response with --model dynn at 20/s"),
    ],
)
def test_choices_by_response_that_cannot_be_made(
    arguments: tuple[str, ...], said: str, root: Path
) -> None:
    """The run was neither served nor were its exit costs measured."""
    models = ("--model", "dynn") if said.startswith("has no") else ()
    done = gfjobs("choose", "first", *arguments, *models, "--results", root)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split()) + str(done.exception)


def test_load_is_asked_for_alone(root: Path) -> None:
    """Its format is of nothing else, and a run without says what to do."""
    done = gfjobs("summary", "first", "--load", "--profile", "--results", root)
    assert done.exit_code == 2
    done = gfjobs("summary", "first", "--format", "json", "--results", root)
    assert "--format is of --load" in done.output
    done = gfjobs("summary", "first", "--load", "--results", root)
    assert "measures no load" in done.output + str(done.exception)


def test_commands_do_without_pandas(root: Path) -> None:
    """Pyarrow would import it for its first conversion, which takes half a second.

    Only a process that is the command's own is kept from it: tests are not. Others than pyarrow
    find it: torch looks for it before it exports a graph.
    """
    code = (
        "import sys\nfrom jobs.cli import main\n"
        f"sys.argv = ['gfjobs', 'runs', '--results', {str(root)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "import storage\nstorage.image_digest(storage.open_images('digits').read(range(3)))\n"
        "assert 'pandas' not in sys.modules\n"
        "import importlib.util\nsys.exit(importlib.util.find_spec('pandas') is None)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
