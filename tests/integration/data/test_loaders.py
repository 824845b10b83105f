"""Loaders, datasets and functions that give the data, in this process."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lmkit as lk
from lmkit.data.batches import Part
from lmkit.data.loaders import loaders
from lmkit.data.loaders.kind import prepare
from lmkit.data.loaders.streams import IsolatedGenerators
from lmkit.data.overlap import StreamOverlap
from lmkit.exceptions import ConfigError, DataError
from lmkit.runfolder.commands import Resume, Stop
from lmkit.specs.data import DataSpec
from lmkit.training import fit
from lmkit.training.control import Control
from lmkit.training.train import train

ROWS = 50


def arrays(rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of four numbers and one of three classes, which the first three tell."""
    X = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    return X, X[:, :3].argmax(1)


def tensors(rows: int = ROWS, seed: int = 0) -> TensorDataset:
    return TensorDataset(*map(torch.as_tensor, arrays(rows, seed)))


class Linear(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.inner, self.drop = nn.Linear(features, outputs), nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.inner(x))


def trained(data: Any, **changes: Any) -> lk.Run:
    """A run trained here and now."""
    given = {"model": Linear, "lr": 0.1, "epochs": 3, "checkpoint_seconds": 1e6, **changes}
    return lk.train(data=data, inline=True, **given)


def completed(run: lk.Run) -> lk.Run:
    assert run.state == "completed", run.status.reason
    return run


def prepared(data: Any, **fields: Any) -> Any:
    """What the worker makes of ``data``."""
    return prepare(DataSpec(**loaders.store_loader(data, inline=True), **fields), 7, "float32")


def batches(stream: Any, epoch: int, first: int = 0) -> list[np.ndarray]:
    stream.epoch(epoch, np.arange(stream.rows))
    return [x for x, _ in stream.take(first)]


# -- a stream -------------------------------------------------------------------------------------


def test_a_loader_trains_as_it_gives_its_batches() -> None:
    loader = DataLoader(tensors(), batch_size=16, shuffle=True)
    run = completed(trained({"training": loader, "validation": arrays(30, 1)}, epochs=8))
    assert run.experiment.data.kind == "loader"
    assert run.experiment.data.test == 0
    assert run.status.steps == 8 * 4
    assert run.history["val_accuracy"].iloc[-1] > 0.7
    # the loss of an epoch is the mean over its rows: three batches of 16, and one of 2
    first = run.steps["loss"][:4]
    assert run.history["loss"][0] == pytest.approx((16 * first[:3].sum() + 2 * first[3]) / 50)


def test_each_epoch_is_shuffled_by_the_seed_and_its_number() -> None:
    stream = prepared(DataLoader(tensors(), batch_size=16, shuffle=True)).batches
    once, other, again = (np.concatenate(batches(stream, n)) for n in (0, 1, 0))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    np.testing.assert_array_equal(np.sort(once, axis=0), np.sort(arrays()[0], axis=0))
    torch.manual_seed(int(np.random.SeedSequence([7, 4, 1]).generate_state(1)[0]))
    plain = torch.cat([x for x, _ in DataLoader(tensors(), batch_size=16, shuffle=True)])
    np.testing.assert_array_equal(other, plain)


def test_a_generator_of_its_own_is_seeded_too() -> None:
    loader = DataLoader(tensors(), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(1))
    stream = prepared(loader).batches
    once, other, again = (np.concatenate(batches(stream, n)) for n in (0, 1, 0))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


class Noisy(Dataset):  # type: ignore[type-arg]
    """IsolatedGenerators from every generator there is."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        drawn = [random.random(), np.random.rand(), float(torch.rand(())), i]
        return np.array(drawn, dtype=np.float32), i % 3


def test_batches_from_the_middle_on_are_the_same_whatever_else_draws() -> None:
    stream = prepared(DataLoader(Noisy(), batch_size=8)).batches
    whole = batches(stream, 2)
    stream.epoch(2, np.arange(ROWS))
    late = []
    for x, _ in stream.take(3):
        random.random(), np.random.rand(), torch.rand(3)
        late.append(x)
    assert len(late) == 4
    for a, b in zip(whole[3:], late, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loader_does_not_disturb_who_draws_beside_it() -> None:
    torch.manual_seed(5)
    expected = [float(torch.rand(())) for _ in range(2)]
    torch.manual_seed(5)
    found = [float(torch.rand(()))]
    with IsolatedGenerators(3):
        torch.rand(100)
    assert [*found, float(torch.rand(()))] == expected


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_resumed_run_meets_the_same_batches(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = DataLoader(Noisy(), batch_size=8, shuffle=True)
    settings = {"framework": framework, "model": {"hidden": [4], "dropout": 0.3}, "epochs": 2}
    whole = completed(trained(loader, **settings))
    counter = itertools.count()
    handle = Control.handle_commands

    def stops(self: Control, fit: Any) -> None:
        if next(counter) == 5:
            self.folder.send(Stop())
        handle(self, fit)

    monkeypatch.setattr(Control, "handle_commands", stops)
    monkeypatch.setattr(fit, "CHUNK_SECONDS", 0.0)
    part = trained(loader, **settings)
    assert part.state == "stopped"
    assert 0 < part.status.step < 14
    part.folder.send(Resume())
    train(part.folder)
    assert part.state == "completed"
    np.testing.assert_array_equal(part.steps["loss"], whole.steps["loss"])


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_batches_of_any_size_are_taken_as_they_are(framework: str) -> None:
    X, y = arrays()
    edges = [0, 7, 14, 20, 21, 50]
    given = [(X[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]
    run = completed(trained(given, framework=framework, model={"hidden": []}, epochs=1, lr=1e-9))
    weights = run.folder.load_checkpoint("last")[0]  # type: ignore[index]
    z = X @ weights["dense_0.kernel"] + weights["dense_0.bias"]
    losses = np.log(np.exp(z).sum(1)) - z[np.arange(ROWS), y]
    np.testing.assert_allclose(run.steps["loss"], [losses[a:b].mean() for a, b in itertools.pairwise(edges)], rtol=1e-4)
    assert run.history["loss"][0] == pytest.approx(losses.mean(), rel=1e-4)


class Counted:
    """Batches without a length."""

    def __init__(self) -> None:
        self.begun = 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        X, y = arrays()
        yield from ((X[i : i + 20], y[i : i + 20]) for i in range(0, ROWS, 20))


def test_an_iterable_without_a_length_is_read_once_to_count_it() -> None:
    source = Counted()
    data = prepared(source)
    assert source.begun == 1
    assert (data.batches.rows, data.batches.count) == (50, 3)
    assert data.preprocessing.classes == [0, 1, 2]
    assert len(data.training.X) == 50


def test_numbers_with_a_length_are_not_read_through() -> None:
    class Sized(Counted):
        read = 0

        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[Any]:
            for x, y in super().__iter__():
                self.read += 1
                yield x, y.astype(np.float32) + 0.5

    source = Sized()
    data = prepared(source)
    assert (source.read, data.batches.count, data.preprocessing.task) == (1, 3, "regression")


@pytest.mark.parametrize(("dtype", "task"), [(np.float32, "binary"), (np.int64, "binary"), (np.bool_, "binary")])
def test_zeros_and_ones_are_two_classes_whatever_their_type(dtype: Any, task: str) -> None:
    X, y = arrays()
    data = prepared(DataLoader(TensorDataset(torch.as_tensor(X), torch.as_tensor((y > 0).astype(dtype))), 10))
    assert data.preprocessing.task == task
    assert data.preprocessing.classes == [0, 1]
    assert len(data.notes) == 1


def make() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(arrays()).shuffle(50).batch(16)


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_function_may_make_a_dataset_of_tensorflow(framework: str) -> None:
    run = completed(trained(make, framework=framework, model={"hidden": []}, epochs=10, optimizer="adam"))
    assert run.status.steps == 40
    assert run.history["loss"].iloc[-1] < 0.6 * run.history["loss"][0]
    stream = prepared(make).batches
    once, other, again = (np.concatenate(batches(stream, n)) for n in (0, 1, 0))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


def test_a_function_may_make_the_parts() -> None:
    def parts() -> dict[str, Any]:
        return {"training": DataLoader(tensors(), batch_size=10), "test": tensors(20, 1), "validation": Counted()}

    run = completed(trained(parts, epochs=10))
    assert len(run.predictions) == 20
    assert run.metrics["accuracy"] == (run.predictions["target"] == run.predictions["prediction"]).mean() > 0.6
    assert run.predictions["target"].tolist() == arrays(20, 1)[1].tolist()


# -- rows -----------------------------------------------------------------------------------------


def test_a_dataset_of_rows_is_split_as_a_table_is() -> None:
    data = prepared(tensors(), batch_size=8)
    assert data.batches is None
    assert [len(part.X) for part in (data.training, data.validation, data.test)] == [30, 10, 10]
    X = np.concatenate([data.training.X, data.validation.X, data.test.X])
    np.testing.assert_array_equal(np.sort(X, axis=0), np.sort(arrays()[0], axis=0))
    stacked = prepared(Noisy(), batch_size=8)
    assert [len(part.y) for part in (stacked.training, stacked.validation, stacked.test)] == [30, 10, 10]
    run = completed(trained(tensors(), epochs=5, **{"data.batch_size": 8}))
    assert run.status.steps == 5 * 4


def test_parts_that_are_given_stay_what_they_are() -> None:
    data = prepared({"training": arrays(), "test": arrays(9, 1)})
    np.testing.assert_array_equal(data.training.X, arrays()[0])
    np.testing.assert_array_equal(data.test.X, arrays(9, 1)[0])
    assert len(data.validation.X) == 0


def test_classes_take_their_names_from_the_dataset() -> None:
    dataset = tensors()
    dataset.classes = ["ant", "bee", "cat", "dog"]  # type: ignore[attr-defined]
    known = prepared(DataLoader(dataset, batch_size=5)).preprocessing
    assert known.labels == ["ant", "bee", "cat", "dog"]
    assert known.outputs == 4


def test_rows_of_tokens_stay_integers() -> None:
    tokens = np.random.default_rng(0).integers(0, 20, (40, 6))
    y = (tokens == 3).any(1).astype(int)
    tokens[0, 0] = 19

    class Bag(nn.Module):
        def __init__(self, vocabulary: int, outputs: int) -> None:
            super().__init__()
            self.table = nn.EmbeddingBag(vocabulary, outputs)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.int64
            return self.table(x)

    rows = TensorDataset(*map(torch.as_tensor, (tokens, y)))
    for given in ({"training": rows}, DataLoader(rows, 10)):
        run = completed(trained(given, model=Bag, **{"data.batch_size": 8}))
        assert run.model.table.weight.shape == (20, 1)
        assert run.predict(tokens[:3]).shape == (3,)


def test_pictures_of_bytes_become_numbers() -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (30, 6, 5, 1), dtype=np.uint8)
    data = prepared({"training": (pictures, np.arange(30) % 2)}, batch_size=8)
    assert data.training.X.dtype == np.float32
    assert data.preprocessing.signature.shape == (6, 5, 1)
    assert data.preprocessing.signature.task == "binary"
    np.testing.assert_array_equal(data.preprocessing.apply(pictures), pictures.reshape(30, -1))


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_loader_that_raises_amid_an_epoch_loses_nothing_that_was_done(
    framework: str,
) -> None:
    trouble = {"wrong": True}

    class Fragile:
        epochs = 0

        def __len__(self) -> int:
            return 5

        def __iter__(self) -> Iterator[Any]:
            self.epochs += 1
            for i in range(5):
                if self.epochs == 3 and i == 3 and trouble["wrong"]:  # once to look, once for the first epoch
                    raise OSError("the disk is gone")
                yield np.full((4, 2), i, dtype=np.float32), np.arange(4.0, dtype=np.float32)

    settings: dict[str, Any] = {"framework": framework, "model": {"hidden": [3]}, "epochs": 3, "lr": 0.01}
    run = trained(Fragile(), **settings)
    assert run.state == "failed"
    assert "the loader raised OSError: the disk is gone (line " in run.status.reason
    assert "raise OSError" in run.status.reason
    assert "at batch 4 of epoch 2; 8 steps are kept: mend it, then `lmkit resume`" in run.status.reason
    assert run.steps["step"].tolist() == list(range(1, 9))
    assert run.folder.load_checkpoint("last")[2]["step"] == 8  # type: ignore[index]

    trouble["wrong"] = False
    run.folder.send(Resume())
    train(run.folder)
    assert completed(run).steps["step"].tolist() == list(range(1, 16))
    np.testing.assert_array_equal(run.steps["loss"], completed(trained(Fragile(), **settings)).steps["loss"])


def test_a_loader_that_ends_too_soon_is_told() -> None:
    class Short(Counted):
        def __iter__(self) -> Iterator[Any]:
            yield from itertools.islice(super().__iter__(), 3 if self.begun == 0 else 2)

    run = trained(Short())
    assert run.state == "failed"
    assert "the loader has 2 batches in epoch 1, expected 3 as before; an iterable must" in run.status.reason
    assert run.status.step == 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (iter([arrays()]), "training is a list_iterator, which can be iterated only once; pass a function"),
        ((b for b in [arrays()]), "training is a generator, which can be iterated only once"),
        ({"train": arrays(), "training": arrays()}, "given the parts 'train', 'training', expected 'training', and"),
    ],
)
def test_what_cannot_be_handed_over(data: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        lk.train(data=data)


def test_a_dataset_of_tensorflow_is_handed_over_by_a_function() -> None:
    with pytest.raises(ConfigError, match=r"training is a tf\.data\.Dataset, which cannot be sent to the worker"):
        lk.train(data=make())
    assert len(prepared({"training": make(), "test": arrays(5)}).test.X) == 5


def shapes(a: tuple[int, ...], b: tuple[int, ...]) -> Callable[[], list[Any]]:
    return lambda: [(np.zeros(a), np.arange(a[0])), (np.zeros(b), np.arange(b[0]))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (lambda: [{"x": 1, "y": 2}], "training yields a mapping of x, y, expected pairs"),
        (lambda: [np.zeros(3)], "training yields a ndarray, expected pairs"),
        (lambda: [({"a": np.zeros(3)}, np.zeros(3))], "yields named inputs, expected one array x"),
        (lambda: [(np.zeros((3, 2)), np.zeros(4))], r"x of shape \(3, 2\) and y of shape \(4,\), expected as many"),
        (lambda: [(np.zeros((3, 2)), np.zeros((3, 2)))], r"y of shape \(3, 2\), expected as many rows of each, and y"),
        (lambda: [(np.array(["a"]), np.zeros(1))], "yields x of <U1 and y of float64, expected numbers"),
        (shapes((4, 2), (4, 3)), r"batch 2 has rows of shape \(3,\), expected \(2,\) as before"),
        (lambda: [(np.zeros((3, 2)), np.zeros(3, int))], r"has only one class \(0\)"),
        (lambda: {"training": arrays(), "tset": arrays()}, "given the parts 'training', 'tset'"),
        (lambda: {"training": arrays(), "test": (np.zeros((5, 3)), np.arange(5))}, r"rows of test have shape \(3,\)"),
        (lambda: {"training": arrays(), "test": (np.zeros((5, 4)), np.arange(5))}, "target 3 is none of the classes"),
        (lambda: dict[str, Any]()["key"], r"raised KeyError: 'key'"),
        (list, "training has no batches"),
    ],
)
def test_what_gives_no_data(data: Any, expected: str) -> None:
    with pytest.raises((DataError, ConfigError), match=expected):
        prepared(data)


def test_more_than_is_read_into_arrays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "MAX_BYTES", 500)
    with pytest.raises(DataError, match="validation has more than 0 GB, expected less for arrays; pass fewer rows"):
        prepared({"training": arrays(), "validation": DataLoader(tensors(), batch_size=5)})


# -- rows in two parts ----------------------------------------------------------------------------


def leaks(run: lk.Run) -> list[tuple[int, str]]:
    texts = [(e.data["step"], e.data["text"]) for e in run.events if e.type == "warning"]
    return [(step, text) for step, text in texts if text.startswith(("leakage", "equal rows"))]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_all_rows_of_a_loader_are_compared_with_the_other_parts(framework: str) -> None:
    X, y = arrays(5000)
    other, classes = arrays(50, seed=1)
    test = (np.concatenate([X[4000:4020], other]), np.concatenate([y[4000:4020], classes]))
    validation = (np.concatenate([X[2500:2510], other[:5]]), np.concatenate([(y[2500:2510] + 1) % 3, classes[:5]]))
    training = [(X[i : i + 100], y[i : i + 100]) for i in range(0, 5000, 100)]
    run = completed(
        lk.train(
            data={"training": training, "validation": validation, "test": test},
            model={"hidden": [4]},
            framework=framework,
            epochs=2,
            inline=True,
        )
    )
    told = "leakage: 20 of 70 rows of the test part are also in the training part; its scores are too good"
    assert leaks(run) == [(50, told)]  # rows of the validation part have other targets: they look alike


def test_a_loader_without_equal_rows_is_left_in_peace() -> None:
    X, y = arrays(3000)
    training = [(X[i : i + 100], y[i : i + 100]) for i in range(0, 3000, 100)]
    run = completed(lk.train(data={"training": training, "test": arrays(200, seed=1)}, epochs=2, inline=True))
    assert leaks(run) == []


def test_rows_of_many_numbers_are_compared_by_some_of_them_and_duplicates_counted() -> None:
    draw = np.random.default_rng(3)
    X, y = draw.normal(size=(40, 3, 50, 50)).astype(np.float32), np.arange(40)
    held_out = Part(np.concatenate([X[30:], X[30:31], X[:5] + 1]), np.concatenate([y[30:], y[30:31], y[:5]]))
    overlap = StreamOverlap({"validation": Part(X[:0], y[:0]), "test": held_out})
    for index in range(4):
        overlap.add(index, Part(X[10 * index : 10 * index + 10], y[10 * index : 10 * index + 10]))
    overlap.add(7, Part(held_out.X, held_out.y))  # of an epoch that was begun elsewhere
    assert overlap.batches == 4
    (text,) = overlap.warnings()
    assert text.startswith("leakage: 11 of 16 rows of the test part")
