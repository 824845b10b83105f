"""Batches in PyTorch are views into blocks that are gathered at once: it must not matter where a block ends."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.backends.torch import trainer as training
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.specs.signature import Signature

ROWS, INPUTS, BATCH, RATE = 75, 3, 7, 0.1  # 11 batches, the last of 5 rows; a batch of 84 bytes lies askew in memory


@pytest.fixture(params=[1, 2 * BATCH * INPUTS, 2**20], ids=["every batch", "two batches", "the epoch"])
def trainer(request, monkeypatch):
    monkeypatch.setattr(training, "GATHER", request.param)
    return make


def make():
    backend = get_backend("torch")
    spec = lk.Experiment(
        data={"batch_size": BATCH}, model={"hidden": [5]}, training={"optimizer": {"name": "sgd", "lr": RATE}}
    )
    model = backend.build(spec.model, Signature((INPUTS,), 1), "float32")
    backend.set_weights(model, spec.model.initial_weights(Signature((INPUTS,), 1), seed=0))
    draw = np.random.default_rng(4)
    part = Part(draw.normal(size=(ROWS, INPUTS)).astype("f4"), draw.integers(0, 2, (ROWS, 1)).astype("f4"))
    made = backend.trainer(model, spec, Dataset(part, part, part, preprocessing=None), "binary_crossentropy")
    made.epoch(np.random.default_rng(5).permutation(ROWS))
    return made


def by_hand(made):
    """Ten rows of PyTorch as anybody writes them; SGD without momentum."""
    rows, losses = np.random.default_rng(5).permutation(ROWS), []
    X, y = (torch.tensor(np.asarray(a)) for a in made.splits["training"])
    optimizer = torch.optim.SGD(made.model.parameters(), lr=RATE)
    for i in range(0, ROWS, BATCH):
        chosen = torch.tensor(rows[i : i + BATCH])
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(made.model(X[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_an_epoch_is_what_a_loop_by_hand_makes_of_it(trainer):
    np.testing.assert_allclose(trainer().advance(0, np.full(11, RATE)).loss, by_hand(make()), rtol=1e-6)


@pytest.mark.parametrize("first", range(1, 11))
def test_taken_up_anywhere_it_is_the_same_to_the_bit(trainer, first):
    at_once, before, after = trainer(), trainer(), trainer()
    expected = at_once.advance(0, np.full(11, RATE)).loss
    begun = before.advance(0, np.full(first, RATE)).loss
    after.model.load_state_dict(before.model.state_dict())
    after.restore(before.state())
    ended = after.advance(first, np.full(11 - first, RATE)).loss
    assert np.array_equal(np.concatenate([begun, ended]), expected)
