"""Runs of language models: what they measure, what they write, how they are shown and taken up again."""

from __future__ import annotations

import io
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrowing import require_value

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.backends.torch.trainer import TorchTrainer
from lmkit.display.plot import Plot
from lmkit.runfolder.commands import Resume
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.live import RunView
from lmkit.runfolder.progress import ConsoleReporter, epoch_text
from lmkit.training import callbacks, fit
from lmkit.training.train import train
from lmkit.widgets import monitor as monitor_module
from lmkit.widgets.watcher import watcher

LENGTH, BATCH, STEPS, EVERY = 16, 8, 22, 5
DOCUMENTS = [f"{i} bottles of beer on the wall, {i} bottles of beer.\n" * 3 for i in range(40)]


def experiment(folder: Path, framework: str = "torch", **training: Any) -> dict[str, Any]:
    place = folder / "texts"
    place.mkdir(exist_ok=True)
    for i, document in enumerate(DOCUMENTS):
        (place / f"{i:02}.txt").write_text(document)
    return {
        "framework": framework,
        "data": {"source": str(place), "text": {"length": LENGTH}, "batch_size": BATCH},
        "model": {"family": "transformer", "depth": 1, "width": 16, "heads": 2, "dropout": training.pop("dropout", 0)},
        "training": {"steps": STEPS, "validate_every": EVERY, "precision": "float64", "compile": "off", **training},
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lk.Run]:
    folder = tmp_path_factory.mktemp("language")
    patch = pytest.MonkeyPatch()
    patch.setattr(callbacks, "SAMPLE_SECONDS", 0.0)
    patch.setattr(callbacks, "SAMPLE_SHARE", 100.0)
    made = {f: lk.train(experiment(folder, f), inline=True, runs=folder) for f in ("torch", "tensorflow")}
    patch.undo()
    return made


@pytest.fixture(params=["torch", "tensorflow"])
def run(request: pytest.FixtureRequest, runs: dict[str, lk.Run]) -> lk.Run:
    return runs[request.param]


def parts() -> dict[str, list[int]]:
    """The tokens of the three parts, by hand: documents in order, up to where 80 and 90 % of the bytes end."""
    ends = np.cumsum([len(d) for d in DOCUMENTS])
    cuts = [int(np.abs(ends - share * ends[-1]).argmin()) + 1 for share in (0.8, 0.9)]
    stretches = DOCUMENTS[: cuts[0]], DOCUMENTS[cuts[0] : cuts[1]], DOCUMENTS[cuts[1] :]
    tokens = [[t for d in stretch for t in [*d.encode(), 256]] for stretch in stretches]
    return dict(zip(("training", "validation", "test"), tokens, strict=True))


# -- what is measured -----------------------------------------------------------------------------


def test_a_run_is_measured_in_nats_a_token_perplexity_and_bits_a_byte(run: lk.Run) -> None:
    assert run.state == "completed", run.status.reason
    tokens = np.array(parts()["test"])
    rows = (len(tokens) - 1) // LENGTH
    X, y = tokens[: rows * LENGTH].reshape(rows, LENGTH), tokens[1 : rows * LENGTH + 1].reshape(rows, LENGTH)
    z = get_backend(run.experiment.framework).predict(run.model, X.astype(np.int32)).astype(np.float64)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    loss = -float(np.take_along_axis(log_p, y[..., None], -1).mean())
    assert sorted(run.metrics) == ["bits_per_byte", "loss", "perplexity"]
    assert run.metrics["loss"] == pytest.approx(loss, rel=1e-9)
    assert run.metrics["perplexity"] == pytest.approx(math.exp(loss), rel=1e-9)
    bits = loss * len(tokens) / (tokens < 256).sum() / math.log(2)
    assert run.metrics["bits_per_byte"] == pytest.approx(bits, rel=1e-9)


def test_the_training_loss_between_validations_is_the_mean_of_its_steps(run: lk.Run) -> None:
    history, losses = run.history, run.steps["loss"].to_numpy()
    edges = [0, *history["step"].astype(int)]
    means = [losses[a:b].mean() for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose(history["loss"], means, rtol=1e-9)  # every batch but an epoch's last is as large
    np.testing.assert_allclose(history["perplexity"], np.exp(history["loss"]), rtol=1e-12)
    assert {"val_loss", "val_perplexity", "val_bits_per_byte"} <= set(history)


def test_both_frameworks_follow_the_same_curve_and_write_the_same_text(runs: dict[str, lk.Run]) -> None:
    one, other = runs.values()
    np.testing.assert_allclose(other.steps["loss"], one.steps["loss"], rtol=1e-8)
    np.testing.assert_allclose(other.history["val_loss"], one.history["val_loss"], rtol=1e-8)
    assert [e.data for e in other.events if e.type == "sample"] == [e.data for e in one.events if e.type == "sample"]
    assert other.generate("1 b", 40, seed=2) == one.generate("1 b", 40, seed=2)


def test_of_a_large_part_the_beginning_is_measured(runs: dict[str, lk.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    from lmkit.data.preparation import prepare
    from lmkit.training import metrics

    run = runs["torch"]
    data = prepare(run.experiment.data, 0, "float64", run.path.parent)
    trainer = TorchTrainer(run.model, run.experiment, data, "categorical_crossentropy")
    expected = float(trainer.losses("test").values[:2].mean())
    monkeypatch.setattr(metrics, "MAX_TOKENS", 2 * LENGTH + 3)
    assert metrics.score(trainer, "test", data, "categorical_crossentropy")["loss"] == pytest.approx(expected)


# -- validation amid an epoch ---------------------------------------------------------------------


def test_validation_comes_every_so_many_steps_and_at_the_end_of_an_epoch(run: lk.Run) -> None:
    rows = (len(parts()["training"]) - 1) // LENGTH
    per_epoch = math.ceil(rows / BATCH)
    expected = sorted({*range(EVERY, STEPS + 1, EVERY), *range(per_epoch, STEPS + 1, per_epoch)})
    assert run.history["step"].tolist() == expected
    np.testing.assert_allclose(run.history["epoch"], np.array(expected) / per_epoch, atol=1e-4)


def test_a_run_that_is_validated_amid_an_epoch_goes_on_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "CHUNK_SECONDS", 0.0)  # a step at a time
    given = experiment(tmp_path, precision="float32", dropout=0.3)
    whole = lk.train(given, inline=True)
    advance = TorchTrainer.advance
    for stop_at in (7, 10):  # between two validations, and where one is due
        counter = itertools.count(1)

        def counted(self: TorchTrainer, first: int, rates: np.ndarray, c: Any = counter, at: int = stop_at) -> Any:
            told = advance(self, first, rates)
            if next(c) == at:
                lk.attach().stop()
            return told

        monkeypatch.setattr(TorchTrainer, "advance", counted)
        halved = lk.train(given, inline=True)
        monkeypatch.setattr(TorchTrainer, "advance", advance)
        assert (halved.state, halved.status.step) == ("stopped", stop_at)
        halved.folder.claim()
        halved.folder.send(Resume())
        train(RunFolder(halved.path))
        assert halved.state == "completed"
        np.testing.assert_array_equal(halved.steps["loss"], whole.steps["loss"])
        columns = ["epoch", "step", "loss", "val_loss", "val_perplexity", "val_bits_per_byte"]
        assert halved.history[columns].equals(whole.history[columns])
        assert halved.metrics == whole.metrics


def test_a_table_too_is_validated_amid_an_epoch() -> None:
    run = lk.train(data="wine", epochs=2, validate_every=3, batch_size=32, inline=True)  # 4 steps an epoch
    assert run.history["step"].tolist() == [3, 4, 6, 8]
    assert run.history["epoch"].tolist() == [0.75, 1, 1.5, 2]
    assert run.history["val_accuracy"].notna().all()


def test_training_may_end_amid_an_epoch_once_the_loss_is_low_enough() -> None:
    run = lk.train(data="wine", epochs=50, validate_every=3, target_loss=0.5, lr=0.1, inline=True)
    assert "reached 0.5" in run.status.reason
    assert run.status.step == run.history["step"].iloc[-1]
    assert (run.history["val_loss"].iloc[:-1] > 0.5).all()


# -- what it writes while it learns ---------------------------------------------------------------


def test_a_sample_is_written_after_a_validation(run: lk.Run) -> None:
    samples = [e.data for e in run.events if e.type == "sample"]
    assert [s["step"] for s in samples] == run.history["step"].tolist()
    prompt = bytes(parts()["validation"][: min(LENGTH, callbacks.SAMPLE_PROMPT)]).decode()
    assert {s["prompt"] for s in samples} == {prompt}
    again = run.generate(prompt, callbacks.SAMPLE_TOKENS, seed=run.experiment.seed)
    assert len(again) > len(prompt)
    assert len({s["text"] for s in samples}) > 1


def test_samples_come_no_more_often_than_they_may(tmp_path: Path) -> None:
    run = lk.train(experiment(tmp_path), inline=True)  # it lasts less than SAMPLE_SECONDS apart
    assert len([e for e in run.events if e.type == "sample"]) < len(run.history)
    assert next(e for e in run.events if e.type == "sample").data["step"] == EVERY


# -- how it is shown ------------------------------------------------------------------------------


def test_watching_prints_a_line_a_validation_and_a_sample(runs: dict[str, lk.Run]) -> None:
    run, printed = runs["torch"], io.StringIO()
    ConsoleReporter(run.folder, printed).poll(last=True)
    text = printed.getvalue()
    row: Any  # its columns are those of the file
    for row in run.history.itertuples():
        assert f"epoch {epoch_text(row.epoch):>{5 if row.epoch % 1 else 2}}/50" in text
        assert f"val_bits_per_byte {row.val_bits_per_byte:.4f}" in text
    last = [e.data for e in run.events if e.type == "sample"][-1]
    assert f"{last['prompt']!r} … {last['text']!r}" in text


def test_a_watcher_knows_the_last_sample(runs: dict[str, lk.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs["torch"]
    last = [e.data for e in run.events if e.type == "sample"][-1]
    view = RunView(run.folder)
    view.poll()
    assert view.sample == last
    assert view.metric == "bits_per_byte"
    assert not [mark for mark in view.marks if mark.type == "sample"]
    monkeypatch.setattr(watcher, "add", lambda monitor: None)
    monitor = monitor_module.Monitor([run])
    heard: list[Any] = []
    monitor.widget.send = lambda content, buffers=None: heard.append(content)
    monitor.poll()
    assert heard[0]["runs"][0]["sample"] == last


def test_tables_and_charts_tell_of_text(runs: dict[str, lk.Run]) -> None:
    run = runs["torch"]
    table = lk.tables.metrics(run)
    assert [row[0] for row in table.rows] == ["loss", "perplexity", "bits_per_byte"]
    assert all(isinstance(cell, float) for row in table.rows for cell in row[1:4])
    samples = [e.data for e in run.events if e.type == "sample"]
    assert [row[0] for row in lk.tables.samples(run, last=2).rows] == [s["step"] for s in samples[-2:]]
    assert len(lk.tables.samples(run).rows) == min(4, len(samples))
    chart = lk.charts.learning_curves(run)
    bits = next(panel for panel in chart.panels if isinstance(panel, Plot) and "bits" in panel.y_title)
    validation = next(s for s in bits.series if s.name == "validation")
    np.testing.assert_allclose(validation.y, run.history["val_bits_per_byte"], rtol=1e-4)
    low, high = require_value(bits.y_range)
    assert low < min(validation.y) <= max(validation.y) < high
    assert not (run.path / "predictions.parquet").exists()
    with pytest.raises(lk.DataError, match=r"predicts .*; use tables\.samples"):
        lk.charts.predictions(run)


def test_a_report_of_it_shows_what_it_wrote(runs: dict[str, lk.Run], tmp_path: Path) -> None:
    page = lk.report(runs["torch"], tmp_path / "report.html").read_text()
    assert "Samples of" in page
    assert "perplexity" in page
    assert "Traceback" not in page


def test_it_moves_to_the_other_framework(runs: dict[str, lk.Run]) -> None:
    moved = lk.convert(runs["torch"], to="tensorflow")
    for name, value in runs["torch"].metrics.items():
        assert moved.metrics[name] == pytest.approx(value, rel=1e-9)
    assert moved.generate("9 bo", 30, seed=4) == runs["torch"].generate("9 bo", 30, seed=4)
    assert not (moved.path / "predictions.parquet").exists()


def test_the_template_trains_it_and_shows_what_it_wrote(tmp_path: Path) -> None:
    given = experiment(tmp_path)
    done = lk.run_template(
        "train",
        {
            "data": given["data"]["source"],
            "model": "transformer",
            "model.depth": 1,
            "model.width": 16,
            "model.heads": 2,
            "data.text.length": LENGTH,
            "data.batch_size": BATCH,
            "training.steps": STEPS,
            "training.validate_every": EVERY,
        },
        log=io.StringIO(),
    )
    assert done.state == "completed", done.error
    page = require_value(done.report).read_text()
    assert "Samples of" in page
    assert "bits_per_byte" in page
