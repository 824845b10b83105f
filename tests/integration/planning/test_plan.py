"""The plan, held to what the frameworks count and keep themselves, to the files of runs, and to published numbers."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from flop_counters import rows_of, tensorflow_flops, torch_flops
from narrowing import require_value

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.commands.cli import main
from lmkit.display.figure import Plot
from lmkit.exceptions import ConfigError, DataError, LmkitError, RunNotFound
from lmkit.planning import calibration, sharding
from lmkit.planning.counting import SIZES, costs
from lmkit.planning.devices import Device, parse_bytes
from lmkit.planning.measured_usage import measure_usage
from lmkit.planning.memory import estimate_memory
from lmkit.planning.plan import Plan, estimate
from lmkit.planning.timing import Speed, seconds_per_step
from lmkit.runfolder.journal import JOURNAL
from lmkit.specs.signature import Signature

IMAGE, LANGUAGE = Signature((8, 8, 1), 10), Signature((32,), 100, "language", 100)
GQA = {"kv_heads": 2, "activation": "swiglu", "normalization": "rms", "positions": "rotary", "tied": False}
MODELS: dict[str, tuple[dict[str, Any], Signature]] = {
    "mlp": ({"family": "mlp", "hidden": [48, 32]}, IMAGE),
    "mlp-norm": ({"family": "mlp", "hidden": [40, 40], "normalization": "layer", "residual": True}, IMAGE),
    "mlp-gelu": ({"family": "mlp", "hidden": [48, 32], "activation": "gelu"}, IMAGE),
    "mlp-dropout": ({"family": "mlp", "hidden": [48, 32], "activation": "tanh", "dropout": 0.2}, IMAGE),
    "cnn": ({"family": "cnn", "channels": [8, 16], "dense": [20]}, IMAGE),
    "cnn-residual": (
        {"family": "cnn", "channels": [16, 32], "convolutions": 2, "residual": True, "normalization": "group"},
        Signature((16, 16, 3), 10),
    ),
    "cnn-sequence": (
        {"family": "cnn", "channels": [8, 16], "convolutions": 2, "pooling": "average"},
        Signature((32, 3), 4),
    ),
    "decoder": ({"family": "transformer", "width": 64, "depth": 2, "heads": 4}, LANGUAGE),
    "decoder-grouped": ({"family": "transformer", "width": 64, "depth": 2, "heads": 4, **GQA}, LANGUAGE),
    "encoder": ({"family": "transformer", "width": 64, "depth": 2, "patch": 2}, IMAGE),
}
ROWS = 16
HERE = Device("cpu", "a machine", 10**10)


def spec_of(name: str, **changes: Any) -> tuple[lk.Experiment, Signature]:
    model, signature = MODELS[name]
    return lk.Experiment(data="digits", model=model).override({"data.batch_size": ROWS, **changes}), signature


def plan_of(name: str, device: Device = HERE, speed: Speed | None = None, **changes: Any) -> Plan:
    spec, signature = spec_of(name, **changes)
    return estimate(spec, signature, 1000, device, speed)


# -- counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_operations_are_those_that_pytorch_counts(name: str) -> None:
    import torch

    from lmkit.backends.torch import models

    spec, signature = spec_of(name)
    with torch.device("meta"):
        built = models.build(spec.model, signature)
    plan = plan_of(name)
    assert plan.parameters == sum(p.numel() for p in built.parameters())
    assert plan.flops_per_step == pytest.approx(torch_flops(spec.model, signature, ROWS), rel=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_operations_are_those_that_tensorflow_counts(name: str) -> None:
    spec, signature = spec_of(name)
    built = get_backend("tensorflow").build(spec.model, signature, "float32")
    plan = plan_of(name, framework="tensorflow")
    assert plan.parameters == built.count_params()
    assert plan.flops_per_step == pytest.approx(tensorflow_flops(spec.model, signature, ROWS), rel=0.01)


def test_operations_of_a_graph_are_its_products() -> None:
    spec = lk.Experiment(data="karate_club", model={"family": "gcn", "hidden": [16]})
    plan = lk.plan(spec, calibrate=False)
    graph = plan.signature.graph
    assert graph is not None
    (nodes, features), edges = graph.features.shape, graph.edges.shape[1]
    first = nodes * features * 16 + (edges + nodes) * 16
    second = nodes * 16 * plan.signature.outputs + (edges + nodes) * plan.signature.outputs
    assert plan.flops_per_step == 2 * (2 * first + 3 * second)


@pytest.mark.parametrize("name", MODELS)
def test_what_pytorch_keeps_for_the_way_back(name: str) -> None:
    import torch
    from torch.nn import functional as F

    spec, signature = spec_of(name)
    built: Any = get_backend("torch").build(spec.model, signature, "float32").train()
    X, y = (torch.as_tensor(a) for a in rows_of(signature, ROWS))
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        z = built(X)
        loss = F.cross_entropy(z.flatten(0, -2), y.flatten())
    assert loss.requires_grad
    mine = {p.untyped_storage().data_ptr() for p in built.parameters()}
    measured = sum(storage.nbytes() for at, storage in kept.items() if at not in mine)
    found = costs(spec.model.layers(signature), signature, ROWS, "torch", "float32", getattr(spec.model, "heads", 0))
    assert sum(cost.saved_activations for cost in found) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd"},
        {"name": "sgd", "momentum": 0.9},
        {"name": "sgd", "momentum": 0.9, "nesterov": True},
        {"name": "adam", "beta1": 0.0},
        {"name": "adamw"},
    ],
)
def test_weights_gradients_and_optimizer_are_what_pytorch_holds_after_a_step(
    optimizer: dict[str, Any], precision: str
) -> None:
    import torch

    spec = lk.Experiment(
        data="digits", model={"hidden": [12, 6]}, training={"optimizer": optimizer, "precision": precision}
    )
    model: Any = get_backend("torch").build(spec.model, Signature((9,), 2), precision)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    settings = {k: v for k, v in optimizer.items() if k in ("momentum", "nesterov")}
    stepper = kinds[optimizer["name"]](model.parameters(), lr=0.1, **settings)
    model(torch.ones(3, 9, dtype=getattr(torch, precision))).sum().backward()
    stepper.step()

    def size(tensors: Any) -> int:
        return sum(t.numel() * t.element_size() for t in tensors)

    state = [v for s in stepper.state.values() for v in s.values() if torch.is_tensor(v) and v.ndim]
    found = costs(spec.model.layers(Signature((9,), 2)), Signature((9,), 2), 3, "torch", precision)
    kept = estimate_memory(found, Signature((9,), 2), spec, {}, True, 1000)
    assert kept["weights"] == size(model.parameters())
    assert kept["gradients"] == size(p.grad for p in model.parameters())
    assert kept["optimizer"] == size(state)
    assert kept["total"] == sum(n for kind, n in kept.items() if kind != "total")


# -- held to a run --------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_checkpoint_is_as_large_as_planned_and_the_run_tells_so(framework: str, optimizer: str) -> None:
    spec = lk.Experiment(
        framework=framework,
        data="wine",
        model={"family": "mlp", "hidden": [30, 20], "dropout": 0.1, "normalization": "layer"},
        training={"epochs": 2, "optimizer": {"name": optimizer, "lr": 0.01}},
    )
    run = lk.train(spec, inline=True)
    plan = lk.plan(run, calibrate=False)
    found = measure_usage(run)
    files = sum(f.stat().st_size for f in (run.path / "checkpoints" / "last").glob("*.safetensors"))
    assert found["checkpoint_bytes"] == files
    assert plan.checkpoint_bytes == pytest.approx(files, rel=0.01)
    assert found["parameters"] == plan.parameters
    assert plan.steps == run.status.steps
    assert (found["memory_bytes"] or 0) >= run.status.memory > 0
    table = {row[0]: row[1:] for row in lk.tables.planned(run).rows}
    assert table["parameters"] == (f"{plan.parameters:,}", f"{plan.parameters:,}", 1.0)
    assert table["time per step"][0] is None, "this machine was not measured"


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_memory_at_the_peak_of_a_worker(framework: str) -> None:
    spec = lk.Experiment(
        framework=framework,
        data={"source": "digits", "batch_size": 64},
        model={"family": "mlp", "hidden": [3000, 3000]},
        training={"steps": 4, "optimizer": "adam"},
    )
    run = lk.train(spec, wait=True)
    assert run.state == "completed", run.status.reason
    total = lk.plan(run, calibrate=False).memory_bytes["total"]
    assert run.status.peak_memory == pytest.approx(total, rel=0.2)


def test_a_run_that_never_came_to_have_a_model_has_nothing_to_compare(tmp_path: Path) -> None:
    from lmkit.run.run import Run
    from lmkit.runfolder.folder import RunFolder

    run = Run(RunFolder.create(lk.Experiment(), tmp_path))
    assert lk.tables.planned(run).rows == ()


# -- time -----------------------------------------------------------------------------------------

SPEED = Speed(
    step=1e-4,
    layer=1e-5,
    memory=3 * 10**8,
    products=((1e6, 2e-11), (1e9, 1e-11)),
    element=1e-9,
    parameter=1e-9,
    convolution=3e-11,
    attention=5e-11,
    epoch=0.01,
    start=0.5,
    start_layer=0.1,
)


def test_time_is_the_sum_of_what_the_layers_take() -> None:
    plan = plan_of("mlp", speed=SPEED)
    first, second, last = (2 * ROWS * n for n in (2 * 64 * 48, 3 * 48 * 32, 3 * 32 * 10))
    layers = 3 + 3 / 3  # with weights, and two activations and the loss
    arithmetic = 2e-11 * (first + second + last) + 0.3e-9 * ROWS * (48 + 32) + 1e-9 * ROWS * 10
    assert plan.seconds_per_step == pytest.approx(1e-4 + layers * 1e-5 + arithmetic + 1e-9 * plan.parameters)
    steps = 100 * math.ceil(600 / ROWS)
    assert plan.steps == steps
    assert plan.seconds_total is not None
    assert plan.seconds_total > steps * require_value(plan.seconds_per_step) + 100 * 0.01 + 0.5


def test_a_large_product_runs_at_the_rate_of_the_largest_measured() -> None:
    assert SPEED.product(1e5) == 2e-11
    assert SPEED.product(1e12) == pytest.approx(1e-11)
    assert SPEED.product(math.sqrt(1e15)) == pytest.approx(math.sqrt(2) * 1e-11)
    slower = seconds_per_step(plan_of("cnn").layers, SPEED.replace(convolution=1e-9))
    assert slower > seconds_per_step(plan_of("cnn").layers, SPEED)


def test_a_measurement_is_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(JOURNAL, str(tmp_path / "journal"))
    assert calibration.read_cache("torch", "float32", 1) is None
    assert lk.plan(model="mlp:small", data="digits", calibrate="cached").seconds_per_step is None
    speed = calibration.calibrate("torch", "float32", 1)
    assert not (tmp_path / "journal").exists(), "what it trains is no run of the notebook that asks"
    assert calibration.read_cache("torch", "float32", 1) == speed
    assert calibration.read_cache("torch", "float64", 1) is None
    assert min(speed.step, speed.layer, speed.memory, *speed.products[0]) > 0
    plan = lk.plan(model="mlp:small", data="digits", calibrate="cached")
    assert plan.seconds_per_step is not None
    assert plan.memory_bytes["framework"] == speed.memory
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text("no json")
    assert calibration.read_cache("torch", "float32", 1) is None


def test_a_measurement_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho Traceback >&2\necho ValueError: no such precision >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    message = "torch could not be measured: ValueError: no such precision; plan without: calibrate=False"
    with pytest.raises(LmkitError, match=message):
        calibration.calibrate("torch", "float32", 1)


def test_a_measurement_says_how_long_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "REPORT_SECONDS", 0.01)
    python, log = tmp_path / "python", list[str]()
    python.write_text("#!/bin/sh\nsleep 0.1\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(LmkitError, match="could not be measured"):
        calibration.calibrate("torch", "float32", 1, log.append)
    assert re.fullmatch(r"measuring this machine with torch, once: \d+ s", log[0])


def test_what_cannot_be_planned_is_said_before_the_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "calibrate", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(lk.ConfigError, match="are unknown before it is built"):
        lk.plan(data="digits", model={"family": "own", "builder": "math:sqrt"})


# -- many devices: the papers' own numbers --------------------------------------------------------


def test_zero_takes_what_its_paper_says() -> None:
    """Rajbhandari et al., 2020, figure 1 and table 1."""
    for parameters, devices, expected in (
        (7.5e9, 64, (120, 31.4, 16.6, 1.88)),
        (128e9, 64, (2048, 536, 284, 32)),
        (1e12, 1024, (16000, 4011, 2013, 15.6)),
    ):
        found = [sharding.state_bytes(int(parameters), devices, s) / 1e9 for s in sharding.STRATEGIES]
        assert found == pytest.approx(expected, rel=0.01)


def test_activations_take_what_their_paper_says() -> None:
    """Korthikanti et al., 2022, table 3 and section 5: of GPT-3's, recomputing attention alone saves 70 %."""
    one = [sharding.block_activation_bytes(1, 2048, 12288, 96, r) for r in sharding.RECOMPUTED]
    assert one[0] == 2048 * 12288 * (34 + 80)
    assert 1 - one[1] / one[0] == pytest.approx(0.70, abs=0.005)
    assert 1 - one[2] / one[0] > 0.98
    larger = [sharding.block_activation_bytes(1, 2048, 20480, 128, r) for r in sharding.RECOMPUTED]
    assert 1 - larger[1] / larger[0] == pytest.approx(0.65, abs=0.005)  # MT-NLG


def test_large_models_are_tabled_over_devices() -> None:
    plan = lk.plan("transformer:7b", vocabulary=32000, length=2048, calibrate=False)
    assert plan.parameters == pytest.approx(6.74e9, rel=0.01)
    assert plan.verdict == "does not fit" if plan.device.memory < 5e10 else plan.verdict
    ways = {(w.devices, w.memory, w.strategy): w for w in plan.sharded}
    assert not ways[1, 80, "replicated"].fits
    assert not ways[8, 80, "replicated"].fits
    assert ways[8, 40, "ZeRO-3"].fits
    assert ways[8, 80, "ZeRO-3"].bytes >= 16 * plan.parameters / 8
    assert "8 × 80 GB" in plan.text
    assert lk.plan("transformer:7b", vocabulary=32000, length=2048, devices=2, calibrate=False).sharded[0].devices == 2


def test_seventy_billion_are_planned_in_a_moment_and_with_nothing() -> None:
    code = (
        "import json, resource, sys\nimport lmkit as lk\nlk.plan('mlp', calibrate=False)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "plan = lk.plan('transformer:70b', vocabulary=32000, length=4096, calibrate=False)\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "loaded = sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules))\n"
        "print(json.dumps([plan.parameters, grown, loaded]))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    parameters, grown, loaded = json.loads(told.stdout)
    assert parameters == pytest.approx(69e9, rel=0.01)
    assert grown * 1024 < 50 * 2**20
    assert loaded == []


# -- the verdict ----------------------------------------------------------------------------------


def test_what_fits_fits() -> None:
    plan = plan_of("mlp")
    assert (plan.verdict, plan.fits) == ("fits", True)
    assert plan.sentence.startswith("Fits: ")
    assert "Ways to reduce memory" not in plan.text


def test_what_does_not_fit_tells_what_would_take_less() -> None:
    whole = plan_of("decoder", **{"data.batch_size": 256})
    kinds = whole.memory_bytes
    little = HERE._replace(memory=kinds["total"] - kinds["activations"] // 2)
    plan = plan_of("decoder", little, **{"data.batch_size": 256})
    assert plan.verdict.startswith("fits with batches of ")
    assert "gradient accumulation over" in plan.verdict
    ways = {way.name.partition(" ")[0]: way for way in plan.remedies}
    assert set(ways) == {"batches", "gradient", "checkpointed", "16-bit", "sharded"}
    assert ways["batches"].does.startswith("data.batch_size: ")
    assert ways["batches"].fits
    assert ways["gradient"].does.startswith("training.micro_batch: ")
    assert ways["checkpointed"].does == "training.recompute: blocks"
    assert ways["16-bit"].does == "training.precision: bfloat16"
    assert ways["sharded"].does == ""
    assert ways["checkpointed"].time == pytest.approx(4 / 3)
    for way in plan.remedies:
        assert way.total + way.saves == kinds["total"]
        assert way.fits == (way.total <= little.memory)
    for said in ("Ways to reduce memory", "Not available in lmkit", "Chen et al., 2016"):
        assert said in plan.text
    assert "<script" not in plan.html


def test_micro_batches_recomputation_and_16_bits_are_counted() -> None:
    """Activations shrink as the suggestions said, and what is set is no longer suggested."""
    settings: dict[str, Any] = {"data.batch_size": 256}
    plain = plan_of("decoder", **settings)
    for change in ({"training.micro_batch": 64}, {"training.recompute": "blocks"}, {"training.precision": "bfloat16"}):
        smaller = plan_of("decoder", **settings, **change)
        assert smaller.memory_bytes["activations"] < plain.memory_bytes["activations"]
        assert len(smaller.remedies) < len(plain.remedies)
    small = plan_of("decoder", **settings, **{"training.micro_batch": 64})
    assert any("micro-batches of 64 rows" in text for text in small.assumed)


def test_nothing_helps_where_the_framework_alone_is_too_large() -> None:
    plan = plan_of("mlp", HERE._replace(memory=10**6))
    assert plan.verdict == "does not fit"


def test_double_precision_can_be_halved() -> None:
    plan = plan_of("mlp", **{"training.precision": "float64"})
    way = plan.remedies[0]
    assert (way.name, way.does) == ("single precision", "training.precision: float32")
    assert plan.memory_bytes["weights"] == SIZES["float64"] * plan.parameters


def test_on_a_gpu_copies_stay_on_the_host() -> None:
    plan = plan_of("mlp", Device("cuda", "a GPU", 10**10))
    assert plan.memory_bytes["copies"] == 0
    assert plan.memory_bytes["framework"] == 500_000_000


# -- four ways to ask -----------------------------------------------------------------------------


def test_the_command_line_tells_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = lk.Experiment(data="digits", model="mlp:small")
    spec.save(tmp_path / "e.yaml")
    assert main(["plan", str(tmp_path / "e.yaml"), "-p", "training.optimizer", "adam", "--quick", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    plan = lk.plan(spec, optimizer="adam", calibrate="cached")
    assert {"parameters", "memory_bytes", "flops_per_step", "checkpoint_bytes", "seconds_per_step", "verdict"} <= set(
        told
    )
    assert told["parameters"] == plan.parameters == sum(layer["parameters"] for layer in told["layers"])
    assert told["memory_bytes"] == plan.memory_bytes
    assert told["verdict"] == "fits"
    assert main(["plan", str(tmp_path / "e.yaml"), "--quick", "--memory", "1kB"]) == 0
    assert capsys.readouterr().out.startswith("Does not fit: ")


def test_it_is_a_magic(monkeypatch: pytest.MonkeyPatch) -> None:
    from IPython import get_ipython
    from IPython.testing.globalipapp import start_ipython

    shell = start_ipython() or get_ipython()
    shell.run_line_magic("load_ext", "lmkit")
    plan = shell.run_line_magic("lmkit", "plan mlp:small -p data digits --quick")
    assert plan.parameters == 8970
    shown = plan._repr_mimebundle_()
    assert shown["text/plain"] == plan.text
    assert "<table>" in shown["text/html"]


# -- what cannot be planned -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "settings", "error", "message"),
    [
        ("nowhere.yaml", {}, ConfigError, "no file 'nowhere.yaml'"),
        ("nothing", {}, RunNotFound, "no file, run, data source or model 'nothing'"),
        ({"data": "wine", "model": "cnn"}, {}, ConfigError, "needs images or sequences"),
        ({"data": "nowhere.csv"}, {}, DataError, "nowhere.csv"),
        ({}, {"device": "tpu"}, ConfigError, "device: given 'tpu', expected cpu, cuda, cuda:N or mps"),
        ({}, {"memory": "much"}, ConfigError, "memory: given 'much', expected an amount such as 80 GB"),
        ({}, {"memory": -1}, ConfigError, "memory: given -1"),
        ({}, {"devices": 0}, ConfigError, "devices: given 0, expected counts"),
        ({}, {"vocabulary": 100}, ConfigError, "give both"),
        ({}, {"length": 0}, ConfigError, "length: given 0, expected a number of at least 1"),
    ],
)
def test_what_cannot_be_planned_is_refused(given: Any, settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lk.plan(given, calibrate=False, **settings)


def test_a_gpu_that_is_not_there_can_be_planned_for_if_its_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="this machine has no GPU; use device: cpu, or memory: 80 GB"):
        lk.plan(device="cuda", calibrate=False)
    plan = lk.plan(device="cuda", memory="80 GB", calibrate=False)
    assert plan.device == ("cuda", "the device", 80 * 10**9)


def test_amounts_of_memory() -> None:
    assert [parse_bytes(a) for a in ("24GB", "24 gb", "1.5 GiB", "2g", "1e3", 7)] == [
        24 * 10**9,
        24 * 10**9,
        3 * 2**29,
        2 * 2**30,
        1000,
        7,
    ]


def test_a_model_of_ones_own_cannot_be_counted_before_it_is_built() -> None:
    with pytest.raises(ConfigError, match="are unknown before it is built"):
        lk.plan({"data": "wine", "model": {"family": "own", "builder": "collections:OrderedDict"}}, calibrate=False)


def test_the_template_plans_and_trains_nothing(tmp_path: Path) -> None:
    given = {"model": "transformer:gpt2", "data": "python_docs", "vocabulary": 50257, "length": 1024}
    done = lk.run_template("plan", {**given, "memory": "16 GB", "measure": False}, runs=tmp_path / "runs")
    assert (done.state, done.runs) == ("completed", [])
    cells = nbformat.read(done.notebook, 4).cells
    shown = "\n".join(o.data["text/plain"] for c in cells for o in c.get("outputs", []) if "data" in o)
    assert "Fits with batches of 8, " in shown
    assert "124 million" in shown
    assert "gradient accumulation over 2 parts" in shown


def test_many_devices_are_drawn_as_they_are_tabled() -> None:
    plan = lk.plan("transformer:7b", vocabulary=32000, length=2048, calibrate=False)
    chart = lk.charts.over_devices(plan)
    panel = chart.panels[0]
    assert isinstance(panel, Plot)
    lines = {s.name: dict(zip(s.x, s.y, strict=True)) for s in panel.series if s.style == "line"}
    assert tuple(lines) == sharding.STRATEGIES
    for way in plan.sharded:
        if way.memory == 80:
            assert lines[way.strategy][math.log2(way.devices)] == pytest.approx(way.bytes / 1e9, rel=1e-3)
    assert chart.png().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="expected 'transformer'"):
        lk.charts.over_devices(lk.plan(data="wine", calibrate=False))
