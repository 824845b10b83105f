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
from lmkit import loop
from lmkit.data import loaders
from lmkit.data.own import prepare
from lmkit.data.streams import Draws, Stream
from lmkit.errors import ConfigError, DataError
from lmkit.specs.data import DataSpec

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
    return prepare(DataSpec(**loaders.keep(data, inline=True), **fields), 7, "float32")


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
    """Draws from every generator there is."""

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
    with Draws(3):
        torch.rand(100)
    assert [*found, float(torch.rand(()))] == expected


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_resumed_run_meets_the_same_batches(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = DataLoader(Noisy(), batch_size=8, shuffle=True)
    settings = {"framework": framework, "model": {"hidden": [4], "dropout": 0.3}, "epochs": 2}
    whole = completed(trained(loader, **settings))
    counter = itertools.count()
    obey = loop.Loop._obey

    def stops(self: Any) -> None:
        if next(counter) == 5:
            self.folder.command("stop")
        obey(self)

    monkeypatch.setattr(loop.Loop, "_obey", stops)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    part = trained(loader, **settings)
    assert part.state == "stopped"
    assert 0 < part.status.step < 14
    part.folder.command("resume")
    loop.train(part.folder)
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
                yield x, y.astype(np.float32)

    source = Sized()
    data = prepared(source)
    assert (source.read, data.batches.count, data.preprocessing.task) == (1, 3, "regression")


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

    for given in ({"training": (tokens, y)}, DataLoader(TensorDataset(*map(torch.as_tensor, (tokens, y))), 10)):
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
    run.folder.command("resume")
    loop.train(run.folder)
    assert completed(run).steps["step"].tolist() == list(range(1, 16))
    np.testing.assert_array_equal(run.steps["loss"], completed(trained(Fragile(), **settings)).steps["loss"])


def test_a_loader_that_ends_too_soon_is_told() -> None:
    class Short(Counted):
        def __iter__(self) -> Iterator[Any]:
            yield from itertools.islice(super().__iter__(), 3 if self.begun == 0 else 2)

    run = trained(Short())
    assert run.state == "failed"
    assert "the loader gave 2 batches in epoch 1, expected 3 as before; an iterable must" in run.status.reason
    assert run.status.step == 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (iter([arrays()]), "training is a list_iterator, which can be iterated once only; hand over a function"),
        ((b for b in [arrays()]), "training is a generator, which can be iterated once only"),
        ({"train": arrays(), "training": arrays()}, "given the parts 'train', 'training', expected 'training' and"),
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
        (lambda: [{"x": 1, "y": 2}], "training gave a mapping of x, y, expected pairs"),
        (lambda: [np.zeros(3)], "training gave a ndarray, expected pairs"),
        (lambda: [({"a": np.zeros(3)}, np.zeros(3))], "gave several inputs by name, expected one array x"),
        (lambda: [(np.zeros((3, 2)), np.zeros(4))], r"x of shape \(3, 2\) and y of shape \(4,\), expected as many"),
        (lambda: [(np.zeros((3, 2)), np.zeros((3, 2)))], r"y of shape \(3, 2\), expected as many rows of each, and y"),
        (lambda: [(np.array(["a"]), np.zeros(1))], "gave x of <U1 and y of float64, expected numbers"),
        (shapes((4, 2), (4, 3)), r"batch 2 has rows of shape \(3,\), those before have \(2,\)"),
        (lambda: [(np.zeros((3, 2)), np.zeros(3, int))], r"holds one class only \(0\)"),
        (lambda: {"training": arrays(), "tset": arrays()}, "given the parts 'training', 'tset'"),
        (lambda: {"training": arrays(), "test": (np.zeros((5, 3)), np.arange(5))}, r"rows of test are of shape \(3,\)"),
        (lambda: {"training": arrays(), "test": (np.zeros((5, 4)), np.arange(5))}, "target 3 is none of the classes"),
        (lambda: {}["key"], r"raised KeyError: 'key'"),
        (list, "training gave no batches"),
    ],
)
def test_what_gives_no_data(data: Any, expected: str) -> None:
    with pytest.raises((DataError, ConfigError), match=expected):
        prepared(data)


def test_more_than_is_read_into_arrays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "READ", 500)
    with pytest.raises(DataError, match="validation holds more than 0 GB, which is not read; hand over fewer rows"):
        prepared({"training": arrays(), "validation": DataLoader(tensors(), batch_size=5)})


def test_batches_must_not_be_larger_than_the_rows() -> None:
    with pytest.raises(DataError, match="batch_size: given 64, but training holds 50 rows; write at most 50"):
        prepared({"training": arrays(), "test": arrays(5)}, batch_size=64)
    with pytest.raises(DataError, match="batch_size: given 64, but only 30 of 50 rows are left"):
        prepared(tensors(), batch_size=64)


def test_a_stream_tells_the_sizes_of_what_it_gave() -> None:
    stream = prepared(Counted()).batches
    assert isinstance(stream, Stream)
    batches(stream, 0)
    assert stream.sizes(1, 2).tolist() == [20, 10]
