"""What is told of the maker of a record: no secret, no home folder, nothing on request."""

from pathlib import Path

import pytest

from lmkit.system import privacy
from lmkit.system.environment import command, environment


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv(privacy.VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        ("lmkit train x.yaml -p lr 0.1", "lmkit train x.yaml -p lr 0.1"),
        ("lmkit run train -p hub_token s3cr3t -p epochs 3", "lmkit run train -p hub_token … -p epochs 3"),
        ("lmkit run train --password=s3cr3t -p api_key=s3cr3t", "lmkit run train --password=… -p api_key=…"),
        ("lmkit run train --api-key s3cr3t --tokens 200", "lmkit run train --api-key … --tokens 200"),
        ("lmkit run train -y 'apiKey: s3cr3t'", "lmkit run train -y 'apiKey: …'"),
        ("lmkit sweep train --engine dask://ada:s3cr3t@host:8786", "lmkit sweep train --engine dask://…@host:8786"),
        (
            "lmkit train -p data 'https://host/x.csv?token=s3cr3t&a=1'",
            "lmkit train -p data 'https://host/x.csv?token=…&a=1'",
        ),
        ("lmkit train -p note hf_s3cr3ts3cr3ts3cr3t", "lmkit train -p note …"),
        ("lmkit train /home/ada/x.yaml --runs=/home/ada", "lmkit train ~/x.yaml --runs=~"),
        ("lmkit train '/home/ada/a b.yaml' /home/adam/x", "lmkit train '~/a b.yaml' /home/adam/x"),
        ("lmkit train 'an open quote secret=s3cr3t", "lmkit train 'an open quote secret=…"),
    ],
)
def test_a_command_is_recorded_without_secrets_and_home(typed, recorded):
    assert privacy.redact_command(typed) == recorded
    assert privacy.redact_command(recorded) == recorded


def test_the_environment_of_a_run_is_recorded_that_way(monkeypatch):
    monkeypatch.setattr("lmkit.system.environment._git_commit", lambda: None)
    monkeypatch.setattr("platform.platform", lambda: "")
    monkeypatch.setattr("sys.argv", ["/home/ada/bin/go.py", "--token", "s3cr3t"])
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/ada/work"))
    monkeypatch.delenv("LMKIT_COMMAND", raising=False)
    assert command() == "~/bin/go.py --token …"
    assert {k: v for k, v in environment({}).items() if k in ("command", "folder")} == {
        "command": "~/bin/go.py --token …",
        "folder": "~/work",
    }
    monkeypatch.setenv("LMKIT_COMMAND", "lmkit train -p hub_token s3cr3t")
    assert environment({})["command"] == "lmkit train -p hub_token …"
    monkeypatch.setenv(privacy.VARIABLE, "on")
    assert (environment({})["command"], environment({})["folder"]) == ("", "")


def test_home_is_replaced_where_a_path_begins_with_it():
    for text in ("/home/adam", "x/home/ada/y", "AAA/home/ada/BBB=="):
        assert privacy.shorten_home(text) == text
    assert privacy.shorten_home("('/home/ada') /home/ada/x:/home/ada") == "('~') ~/x:~"


def test_folders_are_left_out_the_longest_first():
    folders = [Path("/data"), Path("/data/runs"), Path("/")]
    assert privacy.hide_folders("/data/runs/a /data/x.csv /dataset/y /etc", folders) == "a x.csv /dataset/y /etc"
