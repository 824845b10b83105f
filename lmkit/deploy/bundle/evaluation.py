"""What a bundled artifact computes: outputs of example rows, scores on the test part, and its tensors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.deploy.bundle.verify import BundleError
from lmkit.specs.tasks import get_task
from lmkit.system.cores import available_cores
from lmkit.system.rpc import Process

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.dataset import Dataset
    from lmkit.deploy.artifact import Artifact
    from lmkit.deploy.bundle.raw_rows import Preprocessing
    from lmkit.preprocessing.text import TextPreprocessing
    from lmkit.run.run import Run

EXAMPLES = 5
"""Number of example rows."""

DRAWS = 1000
"""Bootstrap resamples of the test part."""

BATCH, PIECE_BYTES = 64, 2**26
"""Rows per call of the runtime, and size of the outputs of a text that are in memory at once."""


class Evaluation(NamedTuple):
    """The outputs of a bundled artifact.

    Attributes:
        inputs: the prepared example rows (rows, …), as the artifact's file takes them.
        outputs: the raw outputs of these rows (rows, …).
        tensors: name, shape (None: any number) and type of the artifact's input and output.
        metrics: metric → value, low and high on the test part; empty without one.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    tensors: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, float]]


def evaluate(run: Run, folder: Path, artifact: Artifact, data: Dataset) -> Evaluation:
    """Run the artifact in ``folder`` on the run's test part, or another part where it is empty, in another process."""
    import numpy as np

    part = next(name for name in ("test", "validation", "training") if len(getattr(data, name).X))
    X = getattr(data, part).X
    with tempfile.TemporaryDirectory() as scratch:
        rows, outputs = Path(scratch) / "rows.npy", Path(scratch) / "outputs.npy"
        np.save(rows, np.asarray(X[:]))
        with Process("lmkit.deploy.measure.server", folder, available_cores(), rows) as process:
            row_bytes = process.ask("load")["row_bytes"]
            described = process.ask("tensors")["tensors"]
            process.ask("predict", into=str(outputs), batch=EXAMPLES, rows=EXAMPLES)
            examples = np.load(outputs)
            metrics = _score(run, data, process, outputs, row_bytes) if part == "test" else {}
    inputs = np.asarray(X[:EXAMPLES]).astype(artifact.dtype).reshape(-1, *artifact.row)
    return Evaluation(inputs, examples, described or describe_arrays(inputs, examples), metrics)


def evaluate_raw(
    folder: Path, artifact: Artifact, preprocessing: Preprocessing, rows: list[Any], expected: Evaluation
) -> Evaluation:
    """Run an artifact that takes rows as in the source on the example rows, and hold it to what it was made of.

    Args:
        folder: the artifact's folder.
        artifact: its record.
        preprocessing: passes values on as they are.
        rows: the example rows as in the source; empty where the source is too large for them.
        expected: the evaluation of the artifact that takes prepared rows.

    Raises:
        BundleError: there are no rows, or its outputs are others.
    """
    import numpy as np

    if not rows:
        raise BundleError("raw_rows: a file that is read piece by piece has no example rows to hold the bundle to")
    inputs = preprocessing.apply(rows).astype(artifact.dtype).reshape(-1, *artifact.row)
    examples, described = _run_artifact(folder, inputs)
    if not np.allclose(examples, expected.outputs[: len(examples)], rtol=1e-4, atol=1e-5):
        raise BundleError("raw_rows: the outputs of the file are not those for prepared rows; bundle it without")
    return Evaluation(inputs, examples, described or describe_arrays(inputs, examples), expected.metrics)


def evaluate_texts(
    folder: Path, artifact: Artifact, preprocessing: TextPreprocessing, evaluation: Evaluation
) -> tuple[list[str], Evaluation]:
    """Return texts of the example rows, and the evaluation of an artifact that takes tokens on them.

    The rows of a text begin anywhere, so that their first and last bytes may be no character.
    """
    import numpy as np

    limit = preprocessing.length
    decoded = (preprocessing.text(row).replace("�", "") for row in evaluation.inputs.reshape(-1, limit))
    texts = [text.encode()[:limit].decode(errors="ignore") for text in decoded]
    inputs = preprocessing.apply(texts).astype(artifact.dtype).reshape(-1, *artifact.row)
    examples, described = _run_artifact(folder, inputs)
    return texts, Evaluation(inputs, np.asarray(examples), described or evaluation.tensors, evaluation.metrics)


def _run_artifact(folder: Path, inputs: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the raw outputs of an artifact for its inputs, and its tensors; empty where the format names none."""
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        path, outputs = Path(scratch) / "rows.npy", Path(scratch) / "outputs.npy"
        np.save(path, inputs)
        with Process("lmkit.deploy.measure.server", folder, available_cores(), path) as process:
            process.ask("load")
            described = process.ask("tensors")["tensors"]
            process.ask("predict", into=str(outputs), batch=EXAMPLES, rows=len(inputs))
            return np.load(outputs), described


def describe_arrays(inputs: np.ndarray, outputs: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the tensors of a format that does not name them."""
    return {
        kind: {"name": None, "shape": [None, *array.shape[1:]], "dtype": array.dtype.name}
        for kind, array in (("input", inputs), ("output", outputs))
    }


def _score(run: Run, data: Dataset, process: Process, path: Path, row_bytes: int) -> dict[str, dict[str, float]]:
    """Return the scores on the test part; of a text, in pieces, since a row has an output for each token."""
    import numpy as np

    from lmkit.backends.base import RowLosses
    from lmkit.training.metrics import scored_rows
    from lmkit.training.scoring import PrecomputedOutputs

    if not get_task(run.preprocessing.task).per_position:
        process.ask("predict", into=str(path), batch=BATCH)
        return scores(run, np.load(path), data)
    losses, rows = list[RowLosses](), max(1, PIECE_BYTES // row_bytes)
    count = min(len(data.test.X), scored_rows(data, "test"))
    for start in range(0, count, rows):
        process.ask("predict", into=str(path), batch=BATCH, start=start, rows=min(rows, count - start))
        outputs = np.load(path, mmap_mode="r")
        losses.append(PrecomputedOutputs(run.experiment, run.path.parent, outputs, data, start).losses("test"))
    return text_scores(run, RowLosses.join(losses).shares)


def text_scores(run: Run, losses: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the loss and what follows from it, of the losses (rows,), with 95 % intervals."""
    from lmkit.training.metrics import loss_metrics

    low, high = _interval(losses)
    ends = {
        name: loss_metrics(loss, "test", run.preprocessing)
        for name, loss in (("value", float(losses.mean())), ("low", low), ("high", high))
    }
    return {metric: {name: values[metric] for name, values in ends.items()} for metric in ends["value"]}


def scores(run: Run, logits: np.ndarray, data: Dataset) -> dict[str, dict[str, float]]:
    """Return the metrics of the artifact on the test part, with 95 % intervals of those that are means over rows."""
    import numpy as np

    from lmkit.training.scoring import PrecomputedOutputs, score_outputs

    preprocessing, y = run.preprocessing, np.asarray(data.test.y[:])
    spec, root = run.experiment, run.path.parent
    values = score_outputs(spec, root, logits, data)
    by_row = {"loss": PrecomputedOutputs(spec, root, logits, data).losses("test").shares}
    by_row |= get_task(preprocessing.task).row_scores(preprocessing.decode(logits), preprocessing.restore(y))
    results: dict[str, dict[str, float]] = {name: {"value": value} for name, value in values.items()}
    for name, rows in by_row.items():
        low, high = _interval(rows)
        results[name] |= {"low": low, "high": high}
    return results


def _interval(rows: np.ndarray) -> tuple[float, float]:
    """Return the bootstrap's percentile interval of the mean over rows.

    (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13.)
    """
    import numpy as np

    generator = np.random.default_rng(0)
    means = [rows[generator.integers(0, len(rows), len(rows))].mean() for _ in range(DRAWS)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
