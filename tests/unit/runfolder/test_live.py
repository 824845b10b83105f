"""What a watcher sees of a run: no extreme is lost, and a look at a million steps is as small as at a thousand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lmkit as lk
from lmkit.runfolder.downsample import BUCKETS, DownsampledSeries
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.live import STEP_LINES, RunView

LINES = [f"{name}:{reducer}" for name, reducer in STEP_LINES]


def series() -> DownsampledSeries:
    return DownsampledSeries(("loss", "lr", "gradient_norm"), STEP_LINES)


@pytest.mark.parametrize("n", [1, 5, BUCKETS, BUCKETS + 1, 1000, 12_345])
def test_buckets_hold_the_lowest_highest_mean_and_last_of_their_rows(n: int) -> None:
    draw = np.random.default_rng(0)
    loss, lr = draw.normal(size=n).astype(np.float32), draw.uniform(size=n).astype(np.float32)
    seen = series()
    for part in np.array_split(np.arange(n), 7):  # as it comes: a bit at a time
        seen.extend(len(part), {"loss": loss[part], "lr": lr[part]})
    first, values = seen.drain()
    width = seen.width
    assert first == 0
    assert values.shape[1] <= BUCKETS
    assert width * BUCKETS >= n
    expected = {
        "loss:low": [loss[i : i + width].min() for i in range(0, n, width)],
        "loss:high": [loss[i : i + width].max() for i in range(0, n, width)],
        "loss:mean": [loss[i : i + width].astype(np.float64).mean() for i in range(0, n, width)],
        "lr:last": [lr[i : i + width][-1] for i in range(0, n, width)],
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(values[LINES.index(name)], wanted, rtol=1e-5, atol=1e-7)
    assert np.isnan(values[LINES.index("gradient_norm:low")]).all()  # it was never given


def test_news_put_together_are_the_whole() -> None:
    """A page that keeps what it has before ``first`` and takes the rest from the news sees what a new page sees."""
    draw = np.random.default_rng(1)
    seen, page = series(), np.empty((len(STEP_LINES), 0), dtype=np.float32)
    for n in draw.integers(1, 400, size=60):
        seen.extend(int(n), {"loss": draw.normal(size=n).astype(np.float32), "lr": 0.1})
        first, values = seen.drain()
        page = np.hstack([page[:, :first], values])
    seen.changed = 0
    np.testing.assert_array_equal(page, seen.drain()[1])


def test_an_extreme_survives_a_million_steps() -> None:
    loss = np.ones(1_000_000, dtype=np.float32)
    loss[123_456], loss[654_321] = 99.0, -7.0
    seen = series()
    seen.extend(len(loss), {"loss": loss})
    values = seen.drain()[1]
    assert values.nbytes <= 4 * len(STEP_LINES) * BUCKETS
    assert values[LINES.index("loss:high")].max() == 99.0
    assert values[LINES.index("loss:low")].min() == -7.0
    start, width, detail = seen.window(123_400, 123_500)  # zoomed in, every step is there
    assert width == 1
    assert detail[LINES.index("loss:high")][123_456 - start] == 99.0


def test_rows_can_be_taken_back() -> None:
    seen = series()
    seen.extend(10, {"loss": np.arange(10, dtype=np.float32)})
    seen.drain()
    seen.truncate(4)
    seen.extend(1, {"loss": 50.0})
    first, values = seen.drain()
    assert first == 0
    assert values[LINES.index("loss:mean")].tolist() == [0, 1, 2, 3, 50]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(lk.Experiment(), tmp_path)


def test_a_feed_reads_on_where_it_was(folder: RunFolder) -> None:
    view = RunView(folder)
    folder.metrics.append({"step": 1, "loss": [3.0, None, 1.0], "lr": 0.1, "gradient_norm": None})
    folder.events.append("started", device="cpu")
    folder.events.append("epoch", epoch=1, step=3, loss=2.0, accuracy=0.5, val_loss=1.5, val_accuracy=0.75)
    folder.events.append("learning_rate", step=3, old=0.1, value=0.01)
    view.poll()
    assert view.steps.count == 3
    assert np.isnan(view.steps.rows["loss"][1])
    assert view.epochs.rows["val_loss"][0] == 1.5
    assert view.epochs.rows["val_metric"][0] == 0.75
    assert view.metric == "accuracy"
    assert [(m.step, m.type) for m in view.marks] == [(3, "learning_rate")]
    folder.metrics.append({"step": 4, "loss": [0.5], "lr": [0.01], "gradient_norm": [2.0]})
    view.poll()
    assert view.steps.rows["loss"][:4].tolist()[3] == 0.5
    assert view.steps.rows["gradient_norm"][3] == 2.0


def test_a_resumed_run_takes_back_what_was_trained_again(folder: RunFolder) -> None:
    view = RunView(folder)
    folder.metrics.append({"step": 1, "loss": [4.0, 3.0, 2.0, 1.0], "lr": 0.1})
    for epoch in (1, 2):
        folder.events.append("epoch", epoch=epoch, step=2 * epoch, loss=1.0, val_loss=float(epoch))
    folder.events.append("resumed", step=2, epoch=1)
    folder.metrics.append({"resumed": 2})
    folder.metrics.append({"step": 3, "loss": [9.0], "lr": 0.1})
    view.poll()
    assert view.steps.rows["loss"][: view.steps.count].tolist() == [4.0, 3.0, 9.0]
    assert view.epochs.rows["val_loss"][: view.epochs.count].tolist() == [1.0]


def test_a_long_log_is_read_in_slices(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmkit.runfolder.live.SLICE_BYTES", 1000)
    for i in range(50):
        folder.metrics.append({"step": 10 * i + 1, "loss": [float(i)] * 10, "lr": 0.1})
    view = RunView(folder)
    looks = 0
    while view.is_behind:
        view.poll()
        looks += 1
    assert looks > 2
    assert view.steps.count == 500
