"""The source itself: nothing in it unpickles, evaluates or unpacks what a file says."""

from __future__ import annotations

import ast
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "marshal.loads",
    "shelve.open",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "os.system",
    "os.popen",
    "tarfile.open",
    "shutil.unpack_archive",
    "tempfile.mktemp",
}


def findings(text: str) -> list[str]:
    """What a source does that none of ours may."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        if name in FORBIDDEN or name.endswith((".extractall", ".read_pickle")):
            found.append(name)
        if name == "torch.load" and options.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if name.endswith(".load") and options.get("allow_pickle", "False") != "False":
            found.append("allow_pickle")
        if name == "yaml.compose" and options.get("Loader") != "_Loader":
            found.append("yaml.compose without SafeLoader")
        if options.get("shell", "False") != "False":
            found.append("a shell")
    return found


def test_the_source_runs_nothing_that_a_file_says() -> None:
    """All of gfnet, jobs and storage."""
    files = [
        file for name in ("gfnet", "jobs", "storage") for file in (REPOSITORY / name).rglob("*.py")
    ]
    assert len(files) > 100
    assert {str(file): found for file in files if (found := findings(file.read_text()))} == {}


def test_our_loader_is_the_safe_one() -> None:
    """It only counts brackets."""
    import yaml

    from jobs.common.yaml_document import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)
    assert _Loader.yaml_constructors == yaml.SafeLoader.yaml_constructors


def test_each_of_them_would_be_found() -> None:
    """The walk knows them when it sees them."""
    sources = [
        "eval(x)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(t)",
        "yaml.compose(t)",
        "subprocess.run(c, shell=True)",
        "archive.extractall()",
        "pickle.loads(b)",
    ]
    assert all(findings(source) for source in sources)
