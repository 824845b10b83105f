"""Strategies of several processes: what is exchanged, how often, in a group of one process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.backends import Backend, Trainer, get_backend
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.specs.signature import Signature
from lmkit.system.process_group import ProcessGroup, connect_pairs

ROWS, INPUTS, BATCH, STEPS = 48, 6, 16, 3


class CountedGroup(ProcessGroup):
    """A group of one process that counts the sums over floating-point numbers of at least ``size``."""

    def __init__(self, size: int) -> None:
        super().__init__(0, 1, [])
        self.size, self.sums = size, 0

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Count a sum of a vector as long as the gradients."""
        self.sums += values.ndim == 1 and values.size >= self.size
        return super().sum(values)


def build(backend: Backend, framework: str, rows: int, **training: Any) -> Trainer:
    """Return a trainer that takes micro-batches of ``rows`` rows."""
    experiment = lk.Experiment(
        framework=framework,
        data={"source": "breast_cancer", "batch_size": BATCH},
        model={"family": "mlp", "hidden": [7]},
        training={"precision": "float64", "compile": "off", "micro_batch": rows, **training},
    )
    signature = Signature((INPUTS,), 3)
    draw = np.random.default_rng(4)
    part = Part(draw.normal(size=(ROWS, INPUTS)), draw.integers(0, 3, ROWS))
    model = backend.build(experiment.model, signature, "float64")
    weights = experiment.model.initial_weights(signature, 3)
    assert weights is not None
    backend.set_weights(model, weights)
    data = Dataset(part, part, part, None)  # type: ignore[arg-type]  # the trainer reads arrays alone
    return backend.trainer(model, experiment, data, "categorical_crossentropy")


def train(trainer: Trainer) -> np.ndarray:
    """Train an epoch; return the losses."""
    trainer.epoch(np.arange(ROWS))
    return trainer.advance(0, np.full(STEPS, 0.05)).loss


@pytest.fixture
def group() -> CountedGroup:
    return CountedGroup(size=7 * (INPUTS + 1) + 3 * 8)


@pytest.fixture
def backend(request: pytest.FixtureRequest, group: CountedGroup) -> Iterator[Backend]:
    framework, strategy = request.param
    connected = get_backend(framework).connect(strategy, "cpu", group, 1)
    yield connected
    connected.disconnect()


@pytest.mark.parametrize("backend", [("tensorflow", "multiworker")], indirect=True, ids=["multiworker"])
def test_tensorflow_adds_up_the_gradients_once_a_step(backend: Backend, group: CountedGroup) -> None:
    losses = train(build(backend, "tensorflow", 3))
    assert group.sums == STEPS
    np.testing.assert_allclose(losses, train(build(get_backend("tensorflow"), "tensorflow", BATCH)), rtol=1e-12)


def test_two_processes_of_tensorflow_train_and_evaluate_their_rows() -> None:
    groups = [ProcessGroup(rank, 2, sockets, timeout=60) for rank, sockets in enumerate(connect_pairs(2))]
    backends = [get_backend("tensorflow").connect("multiworker", "cpu", group, 1) for group in groups]
    trainers = [build(backend, "tensorflow", 3) for backend in backends]
    alone = build(get_backend("tensorflow"), "tensorflow", BATCH)
    losses = train(alone)
    with ThreadPoolExecutor(2) as pool:  # a strategy of this framework holds nothing that is the process's own
        np.testing.assert_allclose(list(pool.map(train, trainers)), [losses] * 2, rtol=1e-12)
        for outputs in pool.map(lambda trainer: trainer.outputs("validation", 47), trainers):
            np.testing.assert_allclose(outputs, alone.outputs("validation", 47), rtol=1e-12)
        for total in pool.map(lambda trainer: trainer.losses("validation").total, trainers):
            np.testing.assert_allclose(total.mean, alone.losses("validation").total.mean, rtol=1e-12)


@pytest.mark.parametrize("backend", [("torch", "ddp"), ("torch", "fsdp")], indirect=True, ids=["ddp", "fsdp"])
def test_pytorch_adds_up_the_gradients_once_a_step(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy: Any = backend.strategy  # type: ignore[attr-defined]
    backward, no_sync = strategy.backward, strategy.no_sync
    passes: list[bool] = []
    is_synchronized = True

    @contextlib.contextmanager
    def watched(model: Any) -> Iterator[None]:
        nonlocal is_synchronized
        is_synchronized = False
        with no_sync(model):
            yield
        is_synchronized = True

    def counted(loss: Any) -> None:
        passes.append(is_synchronized)
        backward(loss)

    monkeypatch.setattr(strategy, "no_sync", watched)
    monkeypatch.setattr(strategy, "backward", counted)
    losses = train(build(backend, "torch", 3))
    assert passes == [*[False] * 5, True] * STEPS
    np.testing.assert_allclose(losses, train(build(get_backend("torch"), "torch", BATCH)), rtol=1e-12)


@pytest.mark.parametrize("backend", [("torch", "ddp"), ("torch", "fsdp")], indirect=True, ids=["ddp", "fsdp"])
def test_pytorch_trains_in_16_bits_with_others(backend: Backend) -> None:
    half: dict[str, Any] = {"precision": "bfloat16"}
    losses = train(build(backend, "torch", 3, **half))
    np.testing.assert_allclose(losses, train(build(get_backend("torch"), "torch", 3, **half)), rtol=1e-5)


def test_an_evaluation_of_tensorflow_is_repeated_with_fewer_rows_at_a_time() -> None:
    import tensorflow as tf

    trainer: Any = build(get_backend("tensorflow"), "tensorflow", BATCH)
    expected, forward = trainer.outputs("validation"), trainer._forward

    def compute(x: Any) -> Any:
        if len(x) > 13:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8,7]")
        return forward(x)

    trainer._forward = compute
    np.testing.assert_allclose(trainer.outputs("validation"), expected, rtol=1e-12)
    assert trainer.rows_at_once == 12
    assert len(trainer.notes) == 2


def test_dropout_of_one_thread_is_not_that_of_another() -> None:
    """Models that two threads train in micro-batches are traced one after the other; Keras's class is theirs both."""
    import keras
    import tensorflow as tf

    from lmkit.backends.tensorflow.dropout import batch_dropout

    drop_out = keras.layers.Dropout.call
    may_leave, inside = threading.Event(), threading.Event()

    def trace() -> None:
        with batch_dropout(4, tf.constant(0)):
            inside.set()
            may_leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        with batch_dropout(4, tf.constant(2)):
            other = pool.submit(trace)
            assert not inside.wait(0.2)
        may_leave.set()
        other.result()
    assert keras.layers.Dropout.call is drop_out
