"""Append-only logs: torn lines, several writers at once, and what is read out of them."""

import subprocess
import sys
import warnings

from narrowing import require_value

from lmkit import Experiment
from lmkit.runfolder.events import Event
from lmkit.runfolder.folder import RunFolder
from lmkit.system.files import JsonLines

# -- several writers ------------------------------------------------------------------------------

APPEND = """
import sys
from pathlib import Path
from lmkit.system.files import JsonLines
log, who = JsonLines(Path(sys.argv[1])), int(sys.argv[2])
sys.stdin.readline()
for i in range(150):
    log.append({"who": who, "i": i, "text": "x" * (i * 97 % 9000)})
"""


def test_several_processes_append_at_once(tmp_path):
    path = tmp_path / "control.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(path), str(who)], stdin=subprocess.PIPE) for who in range(4)
    ]
    for writer in writers:  # all are ready before the first begins
        require_value(writer.stdin).write(b"go\n")
        require_value(writer.stdin).close()
    assert [writer.wait(60) for writer in writers] == [0] * 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = JsonLines(path).read()
    assert len(found) == 600
    for who in range(4):  # each one's lines are there, whole and in order
        mine = [r for r in found if r["who"] == who]
        assert [r["i"] for r in mine] == list(range(150))
        assert all(len(r["text"]) == r["i"] * 97 % 9000 for r in mine)


COMMAND = """
import sys
from lmkit.runfolder.commands import AddNote
from lmkit.runfolder.folder import RunFolder
folder = RunFolder(sys.argv[1])
sys.stdin.readline()
for i in range(100):
    folder.send(AddNote(text=f"{sys.argv[2]}-{i}"))
"""


def test_two_processes_write_commands_to_the_same_run(tmp_path):
    folder = RunFolder.create(Experiment(), tmp_path)
    people = [
        subprocess.Popen([sys.executable, "-c", COMMAND, str(folder.path), who], stdin=subprocess.PIPE) for who in "ab"
    ]
    for person in people:
        require_value(person.stdin).write(b"go\n")
        require_value(person.stdin).close()
    assert [person.wait(60) for person in people] == [0, 0]
    found, _ = folder.control.read()
    assert len(found) == 200
    for who, person in zip("ab", people, strict=True):
        mine = [r for r in found if r["by"] == person.pid]
        assert [r["text"] for r in mine] == [f"{who}-{i}" for i in range(100)]
        assert all(r["command"] == "note" for r in mine)


# -- events and history ---------------------------------------------------------------------------


def epoch(number, **data):
    return Event(0.0, "epoch", {"epoch": number, "step": 10 * number, **data})
