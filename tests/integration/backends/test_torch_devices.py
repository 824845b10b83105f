"""PyTorch on a device other than the processor, with stand-ins: on ``meta`` a misplaced tensor is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmkit as lk
from lmkit.backends.base import RowLosses, Steps
from lmkit.backends.out_of_memory import OutOfMemory
from lmkit.backends.torch import TorchBackend, devices, transfer
from lmkit.backends.torch.export import for_inference
from lmkit.backends.torch.strategies import SingleDevice
from lmkit.backends.torch.trainer import TorchTrainer
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.deploy.runtimes.torch import TorchModel
from lmkit.specs.signature import Signature
from lmkit.training.device_errors import explain_device_error

ROWS, BATCH = 20, 8
MLP = {"family": "mlp", "hidden": [7, 5], "dropout": 0.3, "normalization": "layer"}
CNN = {"family": "cnn", "channels": [4, 4]}
TRANSFORMER = {"family": "transformer", "depth": 1, "width": 8, "heads": 2}
CASES = {
    "mlp": (MLP, Signature((6,), 3), np.float32),
    "cnn": (CNN, Signature((8, 8, 1), 3), np.float32),
    "transformer": (TRANSFORMER, Signature.of_text(6, 11), np.int64),
}


@pytest.fixture
def readable_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets numbers be fetched from ``meta``, which has none: zeros."""
    fetch = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        if tensor.device.type == "meta":
            return torch.zeros(tensor.shape, dtype=tensor.dtype)
        return fetch(tensor, *args, **settings)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    item = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 0.0 if tensor.device.type == "meta" else item(tensor))


def build(case: str, device: str = "meta", **training: Any) -> tuple[TorchBackend, TorchTrainer, np.ndarray]:
    """Return backend, trainer and rows of a model on a device."""
    model, signature, dtype = CASES[case]
    backend = TorchBackend(SingleDevice(device))
    settings = {"compile": "off", "clip_norm": 0.5, **training}
    experiment = lk.Experiment.model_validate({"data": {"batch_size": BATCH}, "model": model, "training": settings})
    built = backend.build(experiment.model, signature, experiment.training.precision)
    backend.set_weights(built, experiment.model.initial_weights(signature, 3))
    draw = np.random.default_rng(4)
    shape = (ROWS, signature.features)
    X = (draw.integers(0, 11, shape) if dtype == np.int64 else draw.normal(size=shape)).astype(
        experiment.training.precision if dtype == np.float32 else dtype
    )
    y = X if case == "transformer" else draw.integers(0, 3, ROWS)
    part = Part(X, y)
    dataset = Dataset(part, part, part, None)  # type: ignore[arg-type]  # the trainer reads arrays alone
    return backend, backend.trainer(built, experiment, dataset, "categorical_crossentropy", collect_outputs=True), X


def take(trainer: TorchTrainer, steps: int = 3) -> Steps:
    trainer.epoch(np.random.default_rng(0).permutation(ROWS))
    return trainer.advance(0, np.full(steps, 0.01))


# -- everything is where the model is ---------------------------------------------------------------


@pytest.mark.usefixtures("readable_meta")
@pytest.mark.parametrize("case", CASES)
def test_all_of_a_trainer_is_on_its_device(case: str) -> None:
    backend, trainer, X = build(case)
    assert trainer.device == "meta"
    assert take(trainer).loss.shape == (3,)
    assert all(tensor.device.type == "meta" for tensor in trainer.optimizer.state.values() if tensor.ndim)
    assert trainer.outputs("validation").shape[0] == ROWS
    assert trainer.losses("test").values.shape == (ROWS,)
    assert all(value is not None for value in trainer.gradients(np.arange(5)).values())
    assert trainer.micro_batch == BATCH
    trainer.set_micro_batch(3)
    assert take(trainer).loss.shape == (3,)
    assert backend.predict(trainer.model, X[:4]).shape[0] == 4
    targets = trainer.splits["training"][1].cpu().numpy()
    assert trainer.trace(Part(X[:4], targets[:4])).outputs
    trainer.restore(trainer.state())
    assert backend.weights(trainer.model)


@pytest.mark.usefixtures("readable_meta")
@pytest.mark.parametrize("case", CASES)
def test_explanations_are_computed_where_the_model_is(case: str) -> None:
    backend, trainer, X = build(case)
    inputs = backend.continuous_inputs(trainer.model, X[:4])
    _, gradient = backend.input_gradients(trainer.model, X[:4], inputs, np.ones_like)
    assert gradient.shape == inputs.shape
    assert len(backend.hidden(trainer.model, X[:4])) == 4
    if case == "transformer":
        assert backend.attention_calls(trainer.model, X[:4])


@pytest.mark.usefixtures("readable_meta")
def test_an_export_leaves_the_model_where_and_as_it_was() -> None:
    _, trainer, _ = build("mlp")
    trainer.model.train()
    with for_inference(trainer.model) as model:
        assert next(model.parameters()).device.type == "cpu"
        assert not model.training
    assert next(trainer.model.parameters()).device.type == "meta"
    assert trainer.model.training
    _, trainer, _ = build("mlp", "cpu")
    layer = next(iter(trainer.model.children()))
    layer.eval()  # a part that the caller has frozen stays so
    with for_inference(trainer.model) as model:
        assert model is trainer.model
        assert not model.training
    assert trainer.model.training
    assert not layer.training


@pytest.mark.usefixtures("readable_meta")
def test_a_variant_is_called_where_it_was_loaded() -> None:
    _, trainer, X = build("mlp")
    variant = TorchModel(trainer.model.eval(), (6,), "float32", device="meta")
    assert variant.predict(X[:4]).shape == (4, 3)
    assert {"addmm", "linear"} & {operation.name.partition(".")[0] for operation in variant.executed()}


def test_numbers_of_a_call_come_in_one_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[int, ...]] = []
    fetch = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        fetched.append(tuple(tensor.shape))
        return fetch(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    a, b = ([torch.tensor(float(i)) for i in range(n)] for n in (3, 2))
    columns = transfer.to_columns(a, b, [0.5], [])
    assert fetched == [(5,)]
    assert [column.tolist() for column in columns] == [[0, 1, 2], [0, 1], [0.5], []]


# -- batches from the host --------------------------------------------------------------------------


class Copies:
    """Writes down when a copy begins, and when computations begin to wait for it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def start(self, batch: Any) -> Any:
        self.log.append(f"copy {batch}")
        return batch

    def finish(self, batch: Any) -> None:
        self.log.append(f"wait {batch}")


def test_the_next_batch_is_copied_before_the_step_of_this_one() -> None:
    copies, log = Copies(), []
    for batch in transfer.load_ahead([1, 2, 3], copies):
        copies.log.append(f"step {batch}")
    log = copies.log
    assert log == ["copy 1", "wait 1", "copy 2", "step 1", "wait 2", "copy 3", "step 2", "wait 3", "step 3"]
    assert list(transfer.load_ahead([], copies)) == []


def test_on_the_processor_batches_are_the_arrays() -> None:
    arrays = [(np.ones((2, 3)), np.zeros(2)), (np.full((1, 3), 2.0), np.ones(1))]
    batches = transfer.load_batches(iter(arrays), torch.device("cpu"))
    assert all(np.array_equal(x.numpy(), a) for (x, _), (a, _) in zip(batches, arrays, strict=True))


def test_a_part_that_does_not_fit_stays_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros(1000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10_000, 80_000))
    assert transfer.place_split(values, torch.device("cuda:0"), can_stay=True) is values
    assert isinstance(transfer.place_split(values, torch.device("cpu"), can_stay=True), torch.Tensor)


def test_a_trainer_evaluates_a_part_on_the_host() -> None:
    _, trainer, X = build("mlp", "cpu", precision="float64")
    expected = trainer.outputs("validation"), trainer.losses("validation")
    trainer.splits["validation"] = (X, trainer.splits["validation"][1].numpy())
    trainer.rows_at_once = 7
    np.testing.assert_allclose(trainer.outputs("validation"), expected[0], rtol=1e-12)
    losses: RowLosses = trainer.losses("validation")
    np.testing.assert_allclose(losses.values, expected[1].values, rtol=1e-12)


# -- memory that runs out ---------------------------------------------------------------------------


class Memory:
    """A device with memory for so many rows of a forward pass."""

    def __init__(self, trainer: TorchTrainer, rows: int) -> None:
        self.rows, self.passes, self.forward = rows, 0, trainer.model.forward
        trainer.is_repeatable = True
        trainer.model.forward = self.compute  # type: ignore[method-assign]

    def compute(self, x: torch.Tensor) -> Any:
        self.passes += 1
        if self.passes % 2 == 0 and len(x) > self.rows:  # the second micro-batch: gradients are half done
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.forward(x)


def test_the_step_is_repeated_in_smaller_micro_batches() -> None:
    _, whole, _ = build("mlp", "cpu", precision="float64")
    expected = take(whole)  # dropout draws from one generator, which each trainer seeds
    _, trainer, _ = build("mlp", "cpu", precision="float64", micro_batch=5)
    Memory(trainer, 2)
    steps = take(trainer)
    assert trainer.micro_batch == 2
    assert trainer.rows_at_once == 2
    assert [note.partition(":")[0] for note in trainer.notes] == [
        f"the memory of cpu ran out with {rows} rows at a time" for rows in (5, 3)
    ]
    assert "micro-batches of 2" in trainer.notes[1]
    assert "batch is still 8 rows" in trainer.notes[1]
    np.testing.assert_allclose(steps.loss, expected.loss, rtol=1e-12)
    np.testing.assert_allclose(steps.gradient_norm, expected.gradient_norm, rtol=1e-12)
    assert steps.outputs is not None
    np.testing.assert_allclose(steps.outputs, expected.outputs, rtol=1e-11)


def test_an_evaluation_is_repeated_with_fewer_rows_at_a_time() -> None:
    _, trainer, _ = build("mlp", "cpu")
    expected = trainer.outputs("validation"), trainer.losses("validation").total.mean
    Memory(trainer, 3).passes = 1
    np.testing.assert_allclose(trainer.outputs("validation"), expected[0], rtol=1e-5)
    np.testing.assert_allclose(trainer.losses("validation").total.mean, expected[1], rtol=1e-5)
    assert trainer.rows_at_once <= 3
    assert "ran out in evaluation with " in trainer.notes[0]
    assert trainer.model.training
    trainer.model.forward = lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError())  # type: ignore[method-assign]
    with pytest.raises(OutOfMemory, match="in evaluation, with one row at a time"):
        trainer.outputs("validation")


def test_one_row_that_does_not_fit_is_said_with_what_helps() -> None:
    _, trainer, _ = build("mlp", "cpu")
    Memory(trainer, 0)
    with pytest.raises(OutOfMemory, match=r"out of memory on cpu with one row at a time; .*`lmkit plan`"):
        take(trainer)


def test_a_model_that_cannot_be_divided_says_why() -> None:
    _, trainer, _ = build("mlp", "cpu")
    trainer.step.has_graph = True
    trainer.model.forward = lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError())  # type: ignore[method-assign]
    trainer.is_repeatable = True
    with pytest.raises(OutOfMemory, match=r"with 8 rows at a time .*a graph is computed as a whole"):
        take(trainer)


# -- how exactly it computes ------------------------------------------------------------------------


@pytest.fixture
def other_settings() -> Iterator[None]:
    """The settings of somebody's notebook."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("other_settings")
def test_float32_is_computed_without_tf32_and_settings_return() -> None:
    with devices.numerics(deterministic=True):
        assert devices.describe_numerics() == {"tf32": False, "deterministic": True}
    assert devices.describe_numerics() == {"tf32": True, "deterministic": False}
    assert torch.backends.cudnn.allow_tf32


def test_pytorch_s_compiler_is_not_imported_to_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """``use_deterministic_algorithms`` imports it, which takes 2 s in each worker."""
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda _mode: pytest.fail("called"))
    with devices.numerics(deterministic=False):
        pass


def put(x: torch.Tensor) -> torch.Tensor:
    return x.put_(torch.zeros(1, dtype=torch.int64), x.flatten()[:1])


def test_an_operation_that_is_not_deterministic_is_named() -> None:
    with devices.numerics(deterministic=True), pytest.raises(RuntimeError) as caught:
        put(torch.zeros(3))
    assert explain_device_error("torch", caught.value, "cuda:0") == (
        "training.deterministic: put_ has no deterministic implementation in torch on cuda:0; write training: "
        "{deterministic: false}, or device: cpu"
    )
    assert explain_device_error("torch", ValueError("else"), "cuda:0") == ""


def test_errors_of_memory_are_explained() -> None:
    for error in (torch.OutOfMemoryError("CUDA out of memory."), MemoryError()):
        assert "smaller data.batch_size" in explain_device_error("torch", error, "cuda:0")


def test_settings_are_those_of_the_run_and_are_recorded(tmp_path: Path) -> None:
    training = {"epochs": 1, "deterministic": True, "device": "cpu"}
    run = lk.train(data="wine", model="mlp:small", training=training, inline=True, runs=tmp_path)
    recorded = run.environment["backend"]
    assert (recorded["tf32"], recorded["deterministic"], recorded["device"]) == (False, True, "cpu")
    assert recorded["devices"][0] == "cpu"
    assert not torch.are_deterministic_algorithms_enabled()
