"""Another distribution adds one of each kind by its entry points, or fails to and is warned of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from written_notebook import write_notebook

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "plugin_example"

LISTS = """
from lmkit.deploy.runtimes import RUNTIMES
from lmkit.deploy.techniques.base import TECHNIQUES, techniques
from lmkit.specs.models import MODELS
from lmkit.specs.optimizers import OPTIMIZERS
from lmkit.sweeping.engines import ENGINES
from lmkit.trackers.base import TRACKERS
import lmkit as lk
registries = [TECHNIQUES, RUNTIMES, MODELS, OPTIMIZERS, TRACKERS, ENGINES]
result = [registry.names() for registry in registries]
"""


def python(code: str, path: Path, *, warnings: str = "error") -> Any:
    """Execute code in a fresh process with a folder on its path, and return its variable ``result``."""
    code = f"import json, sys\nif __name__ == '__main__':\n    exec({code!r})\n    print(json.dumps(result))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"}
    done = subprocess.run(
        [sys.executable, "-W", f"{warnings}::UserWarning:lmkit", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_each_registry_lists_the_plugin_and_no_framework_is_imported() -> None:
    code = LISTS + (
        "from lmkit.experiment.schema import experiment_schema\n"
        "reader = experiment_schema()\n"
        "result += [reader.values('training.optimizer'), reader.values('model')]\n"
        "result += [sorted({'torch', 'tensorflow', 'lmkit_example.torch_parts'} & set(sys.modules))]\n"
    )
    *names, optimizers, models, loaded = python(code, EXAMPLE)
    for group, name in zip(names, ("weights-npz", "npz", "affine", "sign", "jsonl", "serial"), strict=True):
        assert name in group
    assert names[2:4] == [
        ["mlp", "cnn", "gcn", "transformer", "own", "affine"],
        ["adam", "sgd", "adamw", "sign"],
    ]
    assert "sign" in optimizers
    assert "affine" in models
    assert loaded == []


def test_a_program_may_import_the_plugin_first() -> None:
    code = "import lmkit_example.optimizer, lmkit_example.model\n" + LISTS
    assert "sign" in python(code, EXAMPLE)[3]


def test_a_run_trains_with_its_model_and_optimizer_and_is_tracked_and_deployed(tmp_path: Path) -> None:
    code = f"""
import lmkit as lk
experiment = lk.Experiment(data="wine", model="affine", training={{"optimizer": {{"name": "sign"}}, "epochs": 2}})
run = lk.train(experiment, runs={str(tmp_path)!r}).wait()
sent = lk.mirror(run, to="jsonl", wait=True)
comparison = lk.compare(run, ["weights-npz"], batches=(1,), rounds=2, tell=lambda *_: None)
result = [run.state, run.metrics, list(sent.places.values())]
result += [[[v.technique, v.state, v.metrics] for v in comparison]]
"""
    state, metrics, (file,), variants = python(code, EXAMPLE)
    assert state == "completed"
    records = [json.loads(line) for line in Path(file).read_text().splitlines()]
    assert records[-1] == {"state": "completed"}
    assert [r["step"] for r in records if r.get("name") == "epoch/val_loss"] != []
    assert [variant[:2] for variant in variants] == [["baseline", "measured"], ["weights-npz", "measured"]]
    assert variants[1][2]["accuracy"] == pytest.approx(metrics["accuracy"])


def test_a_framework_without_an_implementation_is_named(tmp_path: Path) -> None:
    code = f"""
import lmkit as lk
experiment = lk.Experiment(
    data="wine",
    framework="tensorflow",
    model={{"hidden": []}},
    training={{"optimizer": "sign", "epochs": 2, "readings": "off"}},
)
run = lk.train(experiment, inline=True, runs={str(tmp_path)!r})
refused = lk.train(experiment.override({{"model": "affine"}}), inline=True, runs={str(tmp_path)!r})
result = [run.state, refused.state, refused.status.reason]
"""
    state, refused, error = python(code, EXAMPLE)
    assert (state, refused) == ("completed", "failed")
    assert "TensorFlow has no model family Affine; expected one of CNN, Custom, GCN, MLP, Transformer" in error


def test_its_engine_executes_the_trials_of_a_sweep(tmp_path: Path) -> None:
    notebook = write_notebook(
        tmp_path / "signs.ipynb",
        "import lmkit as lk",
        "lk.record(length=lk.Experiment(training={'optimizer': 'sign'}).training.optimizer.lr * x)",
        parameters="x: int = 0",
    )
    code = f"""
import lmkit as lk
from pathlib import Path
sweep = lk.sweep(Path({str(notebook)!r}), grid={{"x": [1, 2]}}, engine="serial://", runs={str(tmp_path / "runs")!r})
sweep = sweep.wait()
result = [[trial.state, trial.values] for trial in sweep.trials]
"""
    assert python(code, EXAMPLE) == [["completed", {"length": 0.01}], ["completed", {"length": 0.02}]]


BROKEN = {
    "lmkit.techniques": "from lmkit.deploy.techniques.base import technique\n@technique('bad', 'odd')\ndef f(): 'F.'",
    "lmkit.runtimes": "raise OSError('no library')",
    "lmkit.models": "import lmkit as lk\nlk.Experiment",
    "lmkit.optimizers": (
        "from lmkit.specs.base import Spec\nfrom lmkit.specs.optimizers import OPTIMIZERS\n"
        "@OPTIMIZERS.register\nclass SGD(Spec):\n    name: str = 'sgd'\n"
    ),
    "lmkit.trackers": "TITLE = 'Bad'",
    "lmkit.engines": "import sys\nsys.exit(1)",
}
"""Group → the module of a plugin that cannot be used."""


def test_a_broken_plugin_of_each_kind_is_a_warning_that_names_it(tmp_path: Path) -> None:
    metadata = tmp_path / "bad_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    for group, code in BROKEN.items():
        (tmp_path / f"bad_{group[6:]}.py").write_text(code)
        with (metadata / "entry_points.txt").open("a") as file:
            file.write(f"[{group}]\nbad = bad_{group[6:]}\n")
    code = (
        "import warnings\nwith warnings.catch_warnings(record=True) as caught:\n    warnings.simplefilter('always')\n"
        + "".join(f"    {line}\n" for line in LISTS.splitlines())
        + "    experiment = lk.Experiment(model='mlp', training={'optimizer': 'sgd'})\n    techniques()\n"
        "messages = [str(w.message) for w in caught if 'bad-plugin' in str(w.message)]\n"
        "result = [[name for names in result for name in names], messages]\n"
    )
    names, messages = python(code, tmp_path, warnings="default")
    assert "bad" not in names
    assert {"mlp", "sgd", "baseline", "tensorboard", "threads"} <= set(names)
    assert sorted(message.partition(" of ")[0] for message in messages) == sorted(
        f"the {kind} 'bad'" for kind in ("technique", "runtime", "model family", "optimizer", "tracker", "engine")
    )
