"""Runs from elsewhere: reading them runs nothing, and what would run their code is refused until they are trusted."""

import contextlib
import hashlib
import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from written_sweep import written_sweep, written_trial

import lmkit as lk
from lmkit.commands import cli
from lmkit.commands.verbs import VERBS
from lmkit.custom import objects
from lmkit.custom.trust import find_untrusted, list_code
from lmkit.finders import trial
from lmkit.runfolder.folder import RunFolder

pytestmark = pytest.mark.usefixtures("here")

MODULE = "import pathlib\npathlib.Path({marker!r}).touch()\ndef call(*values, **options): return None\n"
"""A module that leaves a mark when it is imported."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A plain run, whose folder each test takes a copy of."""
    root = tmp_path_factory.mktemp("trained")
    return lk.train(data="wine", model={"hidden": [4]}, epochs=1, inline=True, runs=root).path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "data"))
    yield tmp_path
    for name in ("stranger", "shapes"):
        sys.modules.pop(name, None)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "PWNED"


class Payload:
    """An object whose pickle leaves a mark when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def kept(root, marker):
    """Write a pickle as a stranger would, and return the reference that fits it."""
    content = pickle.dumps(Payload(marker))
    reference = f"kept:Net-{hashlib.sha256(content).hexdigest()[:12]}"
    file = objects.pickle_path(reference, root)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return reference


KINDS = ("command", "module", "pickle", "loss", "metric", "data")


@pytest.fixture(params=KINDS)
def received(request, trained, tmp_path, marker):
    """The folder of a completed run from elsewhere, whose experiment names code."""
    root = tmp_path / "mail"
    folder = Path(shutil.copytree(trained, root / trained.name))
    (tmp_path / "stranger.py").write_text(MODULE.format(marker=str(marker)))
    values = yaml.safe_load((folder / "experiment.yaml").read_text())
    if request.param == "command":
        call = {"cmd": f"touch {marker}"}
        values["model"] = {"family": "own", "builder": "subprocess:getoutput", "arguments": call}
    elif request.param == "module":
        values["model"] = {"family": "own", "builder": "stranger:call"}
    elif request.param == "pickle":
        values["model"] = {"family": "own", "builder": kept(root, marker)}
    elif request.param == "loss":
        values["training"]["loss"] = "stranger:call"
    elif request.param == "metric":
        values["training"]["metrics"] = ["stranger:call"]
    else:
        values["data"] = {"source": "object:stranger:call"}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(values))
    return folder


def stopped(folder):
    """The run, as if it could be resumed."""
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "stopped"}))
    return lk.attach(folder)


READERS = {
    "attach": lambda f: lk.attach(f),
    "repr": lambda f: repr(lk.attach(f)),
    "runs": lambda f: lk.runs(f.parent),
    "experiment": lambda f: str(lk.attach(f).experiment),
    "history": lambda f: lk.attach(f).history,
    "steps": lambda f: lk.attach(f).steps,
    "events": lambda f: lk.attach(f).events,
    "metrics": lambda f: lk.attach(f).metrics,
    "predictions": lambda f: lk.attach(f).predictions,
    "preprocessing": lambda f: lk.attach(f).preprocessing,
    "environment": lambda f: lk.attach(f).environment,
    "status": lambda f: lk.attach(f).status,
    "summary": lambda f: lk.tables.summary(lk.attach(f)),
    "environment table": lambda f: lk.tables.environment(lk.attach(f)),
    "learning curves": lambda f: lk.charts.learning_curves(lk.attach(f)),
    "describe the run": lambda f: lk.describe(f),
    "describe the file": lambda f: lk.describe(f / "experiment.yaml"),
    "plan the run": lambda f: lk.plan(f, calibrate=False),
    "plan the file": lambda f: lk.plan(f / "experiment.yaml", calibrate=False),
    "configure the run": lambda f: lk.configure(f),
    "configure the file": lambda f: lk.configure(f / "experiment.yaml"),
    "comparison": lambda f: lk.comparison(f),
    "monitor": lambda f: lk.monitor(f),
}
"""What looks at a run or at its experiment's file, and never runs what it names."""


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("received", ["command", "module", "pickle", "data"], indirect=True)
def test_reading_never_runs_code(reader, received, marker):
    try:
        READERS[reader](received)
    except lk.LmkitError:
        assert reader.startswith(("describe", "plan", "comparison"))
    assert not marker.exists()
    assert "stranger" not in sys.modules


def _type(*words):
    """Call a verb as the command line does."""
    parser = cli._parser()
    args = parser.parse_args(words)
    return VERBS[args.verb].call(args)


RUNNERS = {
    "predict": lambda f: lk.attach(f).predict([[0.0] * 13]),
    "model": lambda f: lk.attach(f).model,
    "compare": lambda f: lk.compare(f, ["onnx"], limits=False),
    "bundle": lambda f: lk.bundle(f, "onnx", "out"),
    "resume": lambda f: stopped(f).resume(),
    "train the run": lambda f: lk.train(f, inline=True),
    "train the file": lambda f: lk.train(f / "experiment.yaml", inline=True),
    "train the loaded file": lambda f: lk.train(lk.Experiment.load(f / "experiment.yaml"), inline=True),
    "train the experiment": lambda f: lk.train(lk.attach(f).experiment.override({"epochs": 2}), inline=True),
    "run the template": lambda f: _type("run", "train", "-f", str(f / "experiment.yaml")),
    "train on the command line": lambda f: _type("train", str(f / "experiment.yaml")),
    "sweep the template": lambda f: _type("sweep", "train", "-f", str(f / "experiment.yaml"), "--grid", "lr=0.1"),
    "sweep": lambda f: lk.sweep(f, grid={"lr": [0.1]}, wait=True),
}
"""What would run it."""


@pytest.mark.parametrize("runner", RUNNERS)
def test_what_would_run_code_says_what_and_how_to_trust_it(runner, received, marker, request):
    kind = request.node.callspec.params["received"]
    if runner in ("predict", "model") and kind in ("loss", "metric", "data"):
        pytest.skip("the trained model needs neither")
    with pytest.raises(lk.UntrustedCode) as refused:
        RUNNERS[runner](received)
    text = str(refused.value)
    named = {"command": f"subprocess:getoutput with cmd='touch {marker}'", "pickle": "kept:Net-"}
    assert named.get(kind, "stranger:call") in text
    assert f"lmkit trust {received}" in text
    assert f"lk.attach({str(received)!r}, trust=True)" in text
    assert not marker.exists()
    assert "stranger" not in sys.modules
    assert not (received / "variants").exists()


@pytest.mark.parametrize("received", ["metric"], indirect=True)
def test_a_conversion_would_run_a_metric(received, marker):
    with pytest.raises(lk.UntrustedCode, match="stranger:call"):
        lk.convert(received, "tensorflow")
    assert not marker.exists()


@pytest.mark.parametrize("received", ["command", "module", "pickle"], indirect=True)
@pytest.mark.parametrize("allow", [lambda f: lk.attach(f, trust=True), lk.trust], ids=["attach", "trust"])
def test_trusted_code_runs(received, marker, allow):
    allow(received)
    with pytest.raises(lk.LmkitError, match=r"model\.builder"):  # none of them builds a model
        lk.attach(received).predict([[0.0] * 13])
    assert marker.exists()


@pytest.mark.parametrize("received", ["pickle"], indirect=True)
def test_trust_is_of_the_content_and_not_of_the_name(received, marker):
    (code,) = list_code(lk.attach(received, trust=True).experiment)
    pickle_path = objects.pickle_path(code.reference, received.parent)
    pickle_path.write_bytes(pickle_path.read_bytes() + b" ")
    with pytest.raises(lk.UntrustedCode):
        lk.attach(received).predict([[0.0] * 13])
    assert not marker.exists()


@pytest.mark.parametrize("received", ["pickle"], indirect=True)
def test_a_pickle_that_comes_later_is_not_permitted_by_its_absence(received, marker):
    (code,) = list_code(lk.attach(received).experiment)
    file = objects.pickle_path(code.reference, received.parent)
    content = file.read_bytes()
    file.unlink()
    run = lk.attach(received)
    with pytest.raises(lk.ConfigError, match="is not in this folder of runs"):
        run.predict([[0.0] * 13])
    file.write_bytes(content)
    with pytest.raises(lk.UntrustedCode):
        objects.resolve(code.reference, code.path, received.parent)
    with pytest.raises(lk.UntrustedCode):
        run.predict([[0.0] * 13])
    assert not marker.exists()


def test_a_worker_refuses_too(received, marker):
    from lmkit.training.train import train

    train(RunFolder(received))
    assert lk.attach(received).state == "failed"
    assert "has not run on this machine before" in lk.attach(received).status.reason
    assert not marker.exists()


SHAPES = "import torch\ndef build(features, outputs, width=4): return torch.nn.Linear(features, outputs)\n"


@pytest.fixture
def begin_session(monkeypatch):
    """Forget what this process has permitted, as a session that begins."""

    def begin():
        for name in ("_passed", "_permitted"):
            monkeypatch.setattr(objects, name, set())

    return begin


def train_shapes(folder):
    (folder / "shapes.py").write_text(SHAPES)
    run = lk.train({"data": "wine", "model": {"builder": "shapes:build"}, "training": {"epochs": 1}}, inline=True)
    assert run.state == "completed", run.status.reason
    return run


def test_ones_own_run_needs_no_word_in_another_session_and_one_on_another_machine(here, begin_session, monkeypatch):
    rows = [[0.0] * 13]
    moved = train_shapes(here).path.rename(here / "renamed")
    begin_session()
    assert lk.attach(moved).predict(rows).shape == (1,)
    monkeypatch.setenv("LMKIT_DATA", str(here / "elsewhere"))
    begin_session()
    with pytest.raises(lk.UntrustedCode, match="has not run on this machine before: model"):
        lk.attach(moved).predict(rows)
    assert lk.trust(moved).rows == (("model.builder", "shapes:build"),)
    assert lk.attach(moved).predict(rows).shape == (1,)
    text = (moved / "experiment.yaml").read_text()
    (moved / "experiment.yaml").write_text(text.replace("arguments: {}", "arguments: {width: 5}"))
    with pytest.raises(lk.UntrustedCode, match="shapes:build with width=5;"):
        lk.attach(moved).predict(rows)


def test_a_home_that_cannot_be_written_is_no_obstacle(here, begin_session, monkeypatch):
    (here / "file").touch()
    monkeypatch.setenv("LMKIT_DATA", str(here / "file" / "data"))
    monkeypatch.setenv("LMKIT_TRUSTED", "")
    run = train_shapes(here)
    begin_session()  # of a process that this one starts, which inherits the environment
    assert run.predict([[0.0] * 13]).shape == (1,)


def test_a_text_in_a_call_is_described_without_a_call(here, marker):
    for source in ("object:os:system", "object:os:getcwd"):
        with pytest.raises(lk.UntrustedCode, match="pass the object itself, or train"):
            lk.describe({"source": source})
        with pytest.raises(lk.UntrustedCode):
            lk.describe(source)
    (here / "stranger.py").write_text(MODULE.format(marker=str(marker)))
    (here / "mail.yaml").write_text("data: {source: 'object:stranger:call'}\nmodel: {builder: 'stranger:call'}\n")
    for reader in (lk.describe, lk.configure, lambda file: lk.plan(file, calibrate=False)):
        with contextlib.suppress(lk.LmkitError):
            reader("mail.yaml")
    assert not marker.exists()


# -- files of experiments ---------------------------------------------------------------------------

FILE_RUNNERS = {
    "train": lambda file: lk.train(file, inline=True),
    "train the experiment": lambda file: lk.train(lk.Experiment.load(file), inline=True),
    "train it changed": lambda file: lk.train(lk.Experiment.load(file).override({"epochs": 2}), inline=True),
    "the form": lambda file: lk.configure(lk.Experiment.load(file)).experiment and lk.train(lk.Experiment.load(file)),
    "train on the command line": lambda file: _type("train", str(file)),
    "run the template": lambda file: _type("run", "train", "-f", str(file)),
    "find a learning rate": lambda file: lk.find_learning_rate(file),
    "sweep": lambda file: lk.sweep(file, grid={"lr": [0.1]}, wait=True),
    "sweep the template": lambda file: _type("sweep", "train", "-f", str(file), "--grid", "lr=0.1"),
}
"""What would run the code that a file names."""


@pytest.fixture
def mailed(here, request, marker):
    """A file from elsewhere whose experiment names code; the library's module lies outside of the project."""
    library = here.parent / f"{here.name}-library"
    library.mkdir()
    (library / "stranger.py").write_text(MODULE.format(marker=str(marker)))
    sys.path.append(str(library))
    builder = {"command": "subprocess:getoutput", "library": "stranger:call"}.get(request.param)
    arguments = {"cmd": f"touch {marker}"} if request.param == "command" else {}
    model = {"family": "own", "builder": builder or kept(here / "runs", marker), "arguments": arguments}
    (here / "mail.yaml").write_text(yaml.safe_dump({"data": "wine", "model": model}))
    yield Path("mail.yaml")
    sys.path.remove(str(library))


@pytest.mark.parametrize("runner", FILE_RUNNERS)
@pytest.mark.parametrize("mailed", ["command", "library", "pickle"], indirect=True)
def test_code_that_a_file_names_is_asked_for(runner, mailed, marker):
    with pytest.raises(lk.UntrustedCode) as refused:
        FILE_RUNNERS[runner](mailed)
    assert "lmkit trust mail.yaml, or lk.train('mail.yaml', trust=True)" in str(refused.value)
    assert not marker.exists()
    assert "stranger" not in sys.modules


ALLOW = {
    "in the call": lambda file: lk.train(file, inline=True, trust=True),
    "on the command line": lambda file: _type("train", str(file), "--trust").wait(),
    "before": lambda file: lk.trust(file) and lk.train(file, inline=True),
    "before, on the command line": lambda file: _type("trust", str(file)) and lk.train(file, inline=True),
    "as a mapping of one's own": lambda file: lk.train(yaml.safe_load(file.read_text()), inline=True),
}


@pytest.mark.parametrize("allow", ALLOW)
@pytest.mark.parametrize("mailed", ["command"], indirect=True)
def test_trusted_files_run(allow, mailed, marker):
    with contextlib.suppress(lk.LmkitError):  # it builds no model
        ALLOW[allow](mailed)
    assert marker.exists()


@pytest.fixture
def project(here):
    """A project with a module and files that name what is in it."""
    (here / "shapes.py").write_text(
        f"import subprocess\nfrom os import system\nfrom subprocess import getoutput\n{SHAPES}\n"
    )

    def write(builder, **arguments):
        model = {"builder": builder, "arguments": arguments}
        (here / "own.yaml").write_text(yaml.safe_dump({"data": "wine", "model": model, "training": {"epochs": 1}}))
        return here / "own.yaml"

    return write


def test_a_file_that_names_a_function_of_the_project_runs_unasked(project, begin_session):
    file = project("shapes:build", width=3)
    for source in (file, lk.Experiment.load(file)):
        begin_session()
        assert lk.train(source, inline=True).state == "completed"


def test_a_finder_runs_functions_of_the_project_unasked(project, here, monkeypatch):
    monkeypatch.setattr(trial, "Process", lambda *_, **__: contextlib.nullcontext())
    experiment = lk.Experiment.load(project("shapes:build", width=3))
    with trial.open_trial(experiment, here / "runs", trial.Cancel()):
        assert not find_untrusted(list_code(experiment), owner="own.yaml")


@pytest.mark.parametrize(
    "reference", ["shapes:getoutput", "shapes:system", "shapes:subprocess.getoutput", "shapes:build.__class__"]
)
def test_what_a_module_of_the_project_only_imports_is_not_the_projects(project, reference, marker):
    with pytest.raises(lk.UntrustedCode, match=reference):
        lk.train(project(reference, cmd=f"touch {marker}"), inline=True)
    assert not marker.exists()


def test_what_is_installed_in_the_folder_is_not_the_projects(project, here, monkeypatch):
    monkeypatch.setattr("lmkit.custom.project._installed", lambda: (str(here),))
    with pytest.raises(lk.UntrustedCode, match="shapes:build"):
        lk.train(project("shapes:build"), inline=True)
    assert "shapes" not in sys.modules


def test_another_folder_is_another_project(project, here, monkeypatch):
    file = project("shapes:build")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    with pytest.raises(lk.UntrustedCode, match="shapes:build"):
        lk.train(file, inline=True)


@pytest.mark.parametrize("received", ["command"], indirect=True)
def test_a_sweep_is_trusted_as_its_trials_are(received, trained, marker):
    sweep = written_sweep(received.parent, grid={"lr": [0.1, 0.2]})
    for number, run in enumerate((received, trained)):
        written_trial(sweep, {"lr": 0.1 * (number + 1)}, run=run)
    for source in (sweep, sweep.path):
        (row,) = lk.trust(source).rows
        assert row == ("model.builder", f"subprocess:getoutput with cmd='touch {marker}'")
    lk.attach(received).require_trust()
    assert not marker.exists()


def test_a_program_is_trusted_and_a_bundle_of_data_needs_no_trust(here):
    golden = Path(__file__).parents[2] / "golden" / "bundle"
    bundle = Path(shutil.copytree(golden, here / "mail"))
    assert lk.trust(bundle).rows == ()
    record = json.loads((bundle / "artefact" / "artefact.json").read_text())
    (bundle / "artefact" / "model.pt2").write_bytes(b"program")
    record |= {"runtime": "torch", "entry": "model.pt2", "files": {"model.pt2": "0" * 64}}
    (bundle / "artefact" / "artefact.json").write_text(json.dumps(record))
    files = [p for p in sorted(bundle.rglob("*")) if p.is_file() and p.name != "checksums.txt"]
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(bundle).as_posix()}\n" for p in files]
    (bundle / "checksums.txt").write_text("".join(lines))
    with pytest.raises(lk.LmkitError, match=f"is a program .* lmkit trust {bundle}"):
        lk.load_bundle(bundle)
    assert lk.trust(bundle).rows == (("artifact", "model.pt2 for torch"),)
    with pytest.raises(lk.LmkitError, match=r"torch cannot load model\.pt2"):
        lk.load_bundle(bundle)


def test_what_cannot_be_trusted_is_named(here):
    with pytest.raises(lk.RunNotFound, match="nor is it a sweep, the folder of a bundle or an experiment's file"):
        lk.trust("nothing")
