"""The losses against scikit-learn, SciPy and hand-written NumPy, and what the teaching text gets wrong."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import log_loss, mean_squared_error

from lmkit import ConfigError, Experiment
from lmkit.specs.losses import LOSSES, loss_value, resolve_loss
from lmkit.specs.tasks import TASKS

draw = np.random.default_rng(7)


def problem(loss, data="breast_cancer"):
    with pytest.raises(ConfigError) as caught:
        Experiment(data=data, training={"loss": loss})
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("training.loss: ")
    return caught.value.problems[0]


# -- values ---------------------------------------------------------------------------------------


def test_binary_crossentropy_is_the_mean_log_loss():
    logits, target = draw.normal(0, 3, (50, 1)), draw.integers(0, 2, (50, 1)).astype(float)
    shares = expit(logits)
    by_hand = -np.mean(target * np.log(shares) + (1 - target) * np.log(1 - shares))
    assert loss_value("binary_crossentropy", logits, target) == pytest.approx(by_hand, rel=1e-12)
    assert loss_value("binary_crossentropy", logits, target) == pytest.approx(log_loss(target, shares), rel=1e-12)


def test_categorical_crossentropy_is_the_mean_log_loss():
    logits, target = draw.normal(0, 3, (50, 4)), draw.integers(0, 4, 50)
    by_hand = -np.mean([row[k] for row, k in zip(log_softmax(logits, axis=1), target, strict=True)])
    assert loss_value("categorical_crossentropy", logits, target) == pytest.approx(by_hand, rel=1e-12)
    reference = log_loss(target, softmax(logits, axis=1), labels=range(4))
    assert loss_value("categorical_crossentropy", logits, target) == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("target_shape", [(50, 1), (50,)])
def test_mean_squared_error(target_shape):
    guess, target = draw.normal(size=(50, 1)), draw.normal(size=target_shape)
    reference = mean_squared_error(target.reshape(-1), guess[:, 0])
    assert loss_value("mean_squared_error", guess, target) == pytest.approx(reference, rel=1e-12)


def test_a_large_logit_neither_overflows_nor_is_lost():
    logits = np.array([[1000.0], [-1000.0], [1000.0], [-1000.0]])
    target = np.array([[1.0], [0.0], [0.0], [1.0]])
    assert loss_value("binary_crossentropy", logits, target) == 500.0  # (0 + 0 + 1000 + 1000) / 4
    rows = np.array([[1000.0, 0.0, -1000.0], [1000.0, 0.0, -1000.0]])
    assert loss_value("categorical_crossentropy", rows, np.array([0, 2])) == 1000.0  # (0 + 2000) / 2


def test_float32_logits_are_summed_in_float64():
    logits = draw.normal(size=(100_001, 1)).astype(np.float32)
    target = np.ones((100_001, 1), dtype=np.float32)
    exact = np.mean(np.log1p(np.exp(-logits.astype(np.float64))))
    assert loss_value("binary_crossentropy", logits, target) == pytest.approx(exact, rel=1e-12)


# -- which loss is for which task -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("binary", "binary_crossentropy"),
        ("multiclass", "categorical_crossentropy"),
        ("regression", "mean_squared_error"),
    ],
)
def test_auto_chooses_by_the_task(task, loss):
    assert resolve_loss("auto", task) == loss
    assert resolve_loss(loss, task) == loss


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_of_another_task_is_refused_and_the_right_one_named(task, loss):
    right = TASKS[task].loss
    if right == loss:
        assert resolve_loss(loss, task) == loss
        return
    with pytest.raises(ConfigError, match=rf"given '{loss}' for a {task} target, but .*; write loss: {right}"):
        resolve_loss(loss, task)


@pytest.mark.parametrize(("word", "loss"), [("bce", 0), ("cce", 1), ("mse", 2)])
def test_short_names(word, loss):
    data = ("breast_cancer", "wine", "diabetes")[loss]
    assert Experiment(data=data, training={"loss": word}).training.loss == LOSSES[loss]


# -- the teaching text's mistakes -----------------------------------------------------------------


def test_crossentropy_over_a_single_output_is_always_zero_and_refused():
    logits = draw.normal(0, 10, (20, 1))
    assert np.all(-log_softmax(logits, axis=1) == 0)  # whatever the model says, the loss is 0
    said = problem("categorical_crossentropy")
    assert "softmax over a single output is always 1" in said
    assert "nothing is learned" in said
    assert said.endswith("write loss: binary_crossentropy")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("nn.BinaryCrossEntropyLoss()", "binary_crossentropy"),
        ("torch.nn.BCELoss()", "binary_crossentropy"),
        ("BCEWithLogitsLoss", "binary_crossentropy"),
        ("tf.keras.losses.BinaryCrossentropy(from_logits=True)", "binary_crossentropy"),
        ("nn.CrossEntropyLoss()", "categorical_crossentropy"),
        ("tf.keras.losses.CrossEntropy()", "categorical_crossentropy"),
        ("tf.losses.CategoricalCrossEntropyLoss()", "categorical_crossentropy"),
        ("SparseCategoricalCrossentropy", "categorical_crossentropy"),
        ("keras.losses.MSE", "mean_squared_error"),
        ("MeanSquaredErrorLoss()", "mean_squared_error"),
    ],
)
def test_a_class_of_a_framework_or_of_none_is_refused_and_the_shared_name_given(written, meant):
    assert problem(written) == (f"training.loss: no loss {written!r} here; the same in both frameworks is {meant!r}")


@pytest.mark.parametrize("written", ["loss.backward()", "tape.gradient(loss, weights)", "optimizer.step()"])
def test_a_call_that_computes_gradients_is_no_loss(written):
    said = problem(written)
    assert "computes gradients and is not a loss" in said
    assert "loss.backward() exists in PyTorch only, TensorFlow has tf.GradientTape" in said
    assert "loss: auto" in said


def test_an_unknown_loss_names_the_nearest():
    assert "did you mean 'mean_squared_error'?" in problem("mean_square")
    assert "expected one of auto, binary_crossentropy" in problem("hinge")
