"""Files for `ray up`: ours, and what is told of broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import main
from jobs.cluster.ray_up_file import LauncherFile, read_launcher_file
from jobs.common.errors import BadInputError

OURS = (Path(__file__).parents[3] / "cluster.yaml").read_text()


def test_the_file_of_the_project_is_well() -> None:
    """Its machines are read."""
    assert read_launcher_file(OURS) == LauncherFile("10.0.0.1", ("10.0.0.21", "10.0.0.22"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("cluster_name: lab", "cluster_nam: lab", "cluster_nam: unknown key; did you mean"),
        ("cluster_name: lab", "cluster_nam: lab", "the key cluster_name is missing"),
        ("type: local", "type: aws", "provider.type: unknown provider 'aws'"),
        ("  head_ip: 10.0.0.1 ", "  # ", "provider: the key head_ip is missing"),
        ("[10.0.0.21, 10.0.0.22]", "10.0.0.21", "provider.worker_ips: '10.0.0.21'"),
        ("[10.0.0.21, 10.0.0.22]", "[10.0.0.1]", "worker_ips[0]: '10.0.0.1' is listed twice"),
        ("head_ip: 10.0.0.1 ", "head_ip: 10.0.0.300 ", "head_ip: '10.0.0.300' is no address"),
        ("10.0.0.22]", "board_2]", "worker_ips[1]: 'board_2' is no address"),
        ("  ssh_user: lab", "  # ", "auth: the key ssh_user is missing"),
        ("525600 ", "soon ", "idle_timeout_minutes: 'soon'"),
        ("  ~/.ray/auth_token:", "  ~/.ssh/known_hosts:", "file_mounts: the token is missing"),
        (" --autoscaling-config=", " --other=", "head_start_ray_commands: no command has"),
        ("--address $RAY", "--head $RAY", "worker_start_ray_commands: no command has"),
        ("  type: local", "  type: [", "not YAML"),
    ],
)
def test_problems_are_told(old: str, new: str, told: str) -> None:
    """With the key, what stands there and what may."""
    assert old in OURS
    with pytest.raises(BadInputError) as caught:
        read_launcher_file(OURS.replace(old, new))
    assert any(told in str(problem) for problem in caught.value.problems), str(caught.value)


def test_machines_by_name_or_address() -> None:
    """Of both versions of IP; a name is not looked up."""
    text = OURS.replace("[10.0.0.21, 10.0.0.22]", "['fd00::1', board-2.lab]")
    assert read_launcher_file(text).workers == ("fd00::1", "board-2.lab")


@pytest.mark.parametrize("text", ["", "[]", "lab", "provider: [1]\nfile_mounts: 3\nauth: null\n"])
def test_what_is_no_such_file(text: str) -> None:
    """All that is missing, and no crash."""
    with pytest.raises(BadInputError):
        read_launcher_file(text)


def test_the_doctor_tells_all_at_once(tmp_path: Path) -> None:
    """Each with its line; a fail ends it with 1."""
    path = tmp_path / "c.yaml"
    path.write_text(OURS.replace("type: local", "type: aws").replace("ssh_user", "ssh_usr"))
    ended = CliRunner().invoke(main, ["doctor", "--cluster", str(path)])
    assert ended.exit_code == 1
    said = " ".join(ended.output.split())
    assert f"fail {path}:13: provider.type: unknown provider 'aws' -> allowed: local" in said
    assert f"fail {path}:18: auth: the key ssh_user is missing" in said
    path.write_text(OURS)
    said = " ".join(CliRunner().invoke(main, ["doctor", "--cluster", str(path)]).output.split())
    assert f"ok {path}: head 10.0.0.1; 10.0.0.21, 10.0.0.22" in said
