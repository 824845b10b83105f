"""The bundle: one variant of a run, and everything that whoever deploys it needs, in one folder.

    out/
      artefact/            what the runtime loads, and the record of how it was made
      preprocessing.json   what was fitted on the training part
      signature.json       inputs and outputs: names, shapes, types, units, classes and their labels
      example.json         a few rows of the test part as they came, and what is predicted for them
      README.md            the model card
      checksums.txt        SHA-256 of each file, as ``sha256sum -c`` reads it

In the layout of a server's model repository the artefact lies in ``triton/<name>/1`` or ``tfserving/<name>/1`` instead;
``load_bundle`` finds it there too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import RECORD, Artefact, StaleArtefact, digest
from lmkit.deploy.card import card
from lmkit.deploy.loading import CARD, CHECKSUMS, EXAMPLE, PREPROCESSING, SIGNATURE, BundleError, is_own
from lmkit.deploy.process import Process
from lmkit.deploy.techniques import find
from lmkit.deploy.waiting import completed
from lmkit.errors import nearest
from lmkit.run import Run, attach

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.preparation import Dataset

LAYOUTS = {"plain": "artefact", "triton": "triton/{name}/1", "tensorflow-serving": "tfserving/{name}/1"}
"""Layout → the folder in which the artefact lies."""

EXAMPLES = 5
"""Rows that are kept as an example."""

DRAWS = 1000
"""Resamples of the test part on which the intervals rest."""

MOST_ROWS = 64
"""Rows that Triton may gather into one call."""

TYPES = {"float": ("float32", "FP32"), "double": ("float64", "FP64"), "float16": ("float16", "FP16")} | {
    name: (name, name.upper()) for name in ("int8", "uint8", "int32", "int64")
}
"""What ONNX calls a type → what NumPy does, and what Triton does."""


def bundle(
    run: Run | str | Path,
    technique: str,
    out: str | Path,
    *,
    layout: str = "plain",
    runs: str | Path | None = None,
) -> Path:
    """Writes a variant of a run as a folder that can be deployed; ``load_bundle`` reads it.

    A variant that was compared before is taken as it lies in the run's folder; another one is made first.

    Args:
        run: a run, or its name; one that is training is waited for.
        technique: which variant, such as ``onnx``.
        out: the folder to write; it must be empty, or not there yet.
        layout: ``plain``, or that of a server: ``triton`` (ONNX) or ``tensorflow-serving`` (a SavedModel).
        runs: where runs are kept.

    Returns:
        The folder.

    Raises:
        BundleError: the folder is not empty or cannot be written, or the layout is not one for this artefact.
        RunStateError: the run has not completed.
        NotApplicable: the technique cannot be used on this run; the message says why.

    >>> import lmkit as lk
    >>> from lmkit.deploy.bundle import bundle
    >>> folder = bundle("last", "onnx", "out/")  # doctest: +SKIP
    >>> lk.load_bundle(folder).predict([[5.1, 3.5, 1.4, 0.2]])  # doctest: +SKIP
    array([0])
    """
    run = run if isinstance(run, Run) else attach(run, runs=runs)
    out = Path(out).expanduser().absolute()
    find(technique)
    if layout not in LAYOUTS:
        raise BundleError(f"layout: given {layout!r}, {nearest(layout, LAYOUTS)}")
    completed(run, "bundled")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is a file"
        raise BundleError(f"{str(out)!r} {what}, and nothing is overwritten; name another folder, or delete it first")
    made = _made(run, technique)
    if is_own(made, Artefact.read(made)):
        raise BundleError(
            f"{technique} of a model of one's own is built anew by its author's code, and a bundle carries no program; "
            f"bundle what holds the model itself: {_with(technique, run)}"
        )
    try:
        with _whole(out) as folder:
            _write(run, technique, made, folder, layout)
    except OSError as error:
        raise BundleError(
            f"the bundle cannot be written to {str(out)!r}: {error.strerror or error}; name another folder"
        ) from None
    return out


def _with(technique: str, run: Run) -> str:
    """Techniques that hold the same model without the code that built it."""
    itself = {"torch": "torch-export", "tensorflow": "saved-model"}[run.experiment.framework]
    before = "" if technique in ("baseline", "compile") else f"{technique}+"
    return f"{before}onnx or {before}{itself}"


def _made(run: Run, technique: str) -> Path:
    """The variant's folder, made where it is not there yet; its files are those that were made."""
    place = run.path / "variants" / technique
    if not (place / RECORD).is_file():
        with Process("lmkit.deploy.maker", run.path) as maker:
            maker.ask("make", technique=technique, into=str(place))
    try:
        Artefact.read(place)
    except StaleArtefact as error:
        raise BundleError(f"{error}; delete {str(place)!r} and bundle again: it is made anew") from None
    return place


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place once everything is in it."""
    aside = out.with_name(f".{out.name}.bundling")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        if out.exists():
            out.rmdir()
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(run: Run, technique: str, made: Path, folder: Path, layout: str) -> None:
    from lmkit.data.preparation import prepare

    spec, known = run.experiment, run.preprocessing
    name = re.sub(r"[^\w.-]", "-", spec.name)
    where = LAYOUTS[layout].format(name=name)
    artefact = _placed(made, folder / where, layout)
    data = prepare(spec.data, spec.seed, spec.training.precision, run.path.parent)
    part = next(p for p in (data.test, data.validation, data.training) if len(p.X))
    logits, few = _predicted(folder / where, part.X)
    tensors = _tensors(folder / where, artefact, logits)
    if layout == "triton":
        (folder / where).with_name("config.pbtxt").write_text(triton_config(name, tensors), encoding="utf-8")
    signature = {
        "name": spec.name, "task": known.task, "artefact": where, "inputs": _inputs(known),
        "outputs": _outputs(run), "tensors": tensors,
    }  # fmt: skip
    example = {"rows": _raw_rows(run, data), "predictions": known.decode(few).tolist()}
    if known.task != "regression":
        example["probabilities"] = known.probabilities(few).tolist()
    metrics = scores(run, logits, data) if len(data.test.X) else {}
    for file, values in ((SIGNATURE, signature), (PREPROCESSING, known.shipped()), (EXAMPLE, example)):
        (folder / file).write_text(json.dumps(values, indent=1 if file == SIGNATURE else None), encoding="utf-8")
    text = card(run, technique, artefact, signature, example, metrics, data, made)
    (folder / CARD).write_text(text, encoding="utf-8")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = [f"{digest(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _placed(made: Path, place: Path, layout: str) -> Artefact:
    """Copies what deployment needs of a variant to where a layout wants it."""
    artefact = Artefact.read(made)
    saved = (made / artefact.entry / "saved_model.pb").is_file()
    fits = {"plain": True, "triton": artefact.runtime == "onnxruntime", "tensorflow-serving": saved}
    if not fits[layout]:
        wanted = {"triton": "ONNX: take technique onnx", "tensorflow-serving": "a SavedModel: take saved-model"}[layout]
        raise BundleError(
            f"layout: {layout} takes {wanted}, or write layout='plain'; given {artefact.entry} for {artefact.runtime}"
        )
    inside = layout == "tensorflow-serving"  # the server wants the SavedModel itself where a version is
    root = made / artefact.entry if inside else made
    for name in artefact.files:
        target = place / (made / name).relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made / name, target)
    return replace(artefact, entry="." if inside else artefact.entry).write(place)


def _tensors(place: Path, artefact: Artefact, logits: np.ndarray) -> dict[str, dict[str, Any]]:
    """Name, shape (None: any number) and type of what the artefact itself takes and gives.

    Of an ONNX file as the file says; elsewhere nothing goes by name, and what is given is as ``logits`` were.
    """
    if artefact.runtime != "onnxruntime":
        given = {"name": None, "shape": [None, *artefact.row], "dtype": artefact.dtype}
        found = {"name": None, "shape": [None, *logits.shape[1:]], "dtype": logits.dtype.name}
        return {"input": given, "output": found}
    import onnxruntime

    session = onnxruntime.InferenceSession(place / artefact.entry, providers=["CPUExecutionProvider"])
    told = {}
    for kind, tensors in (("input", session.get_inputs()), ("output", session.get_outputs())):
        (one,) = tensors
        shape = [n if isinstance(n, int) else None for n in one.shape]
        told[kind] = {"name": one.name, "shape": shape, "dtype": TYPES[one.type[len("tensor(") : -1]][0]}
    return told


def triton_config(name: str, tensors: dict[str, dict[str, Any]]) -> str:
    """``config.pbtxt`` of a model in Triton's repository, whose ``dims`` leave the batch out where it is open.

    See https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md.

    >>> x = {"name": "x", "shape": [None, 4], "dtype": "float32"}
    >>> print(triton_config("iris", {"input": x, "output": {**x, "name": "y"}}).splitlines()[2])
    max_batch_size: 64
    """
    batched = all(t["shape"][:1] == [None] for t in tensors.values())
    lines = [f'name: "{name}"', 'platform: "onnxruntime_onnx"', f"max_batch_size: {MOST_ROWS if batched else 0}"]
    kinds = dict(TYPES.values())
    for kind, tensor in tensors.items():
        dims = ", ".join(str(-1 if n is None else n) for n in tensor["shape"][1 if batched else 0 :])
        told = f'name: "{tensor["name"]}" data_type: TYPE_{kinds[tensor["dtype"]]} dims: [ {dims} ]'
        lines.append(f"{kind} [ {{ {told} }} ]")
    return "\n".join(lines) + "\n"


def _inputs(known: Any) -> list[dict[str, Any]]:
    """What a row holds: its columns, or the one array that it is."""
    if known.signature.graph:
        return [{"name": known.column, "type": "node", "known": known.nodes, "unit": None}]
    if len(known.shape) > 1 or not getattr(known, "columns", None):
        kind = "tokens" if known.task == "language" else "array"
        return [{"name": "rows", "type": kind, "shape": [None, *known.shape], "unit": None}]
    columns: list[dict[str, Any]] = []
    for name in known.columns:
        if name in known.categories:
            columns.append({"name": name, "type": "category", "known": known.categories[name]["known"]})
        else:
            fill = known.numbers.get(name, {}).get("fill")
            columns.append({"name": name, "type": "number", "unit": unit(name), "instead_of_missing": fill})
    return columns


def _outputs(run: Run) -> dict[str, Any]:
    """What is predicted."""
    known, target = run.preprocessing, run.experiment.data.target or "target"
    if known.task == "regression":
        return {"name": target, "type": "number", "unit": unit(target)}
    if known.task == "language":
        return {"name": "next token", "type": "tokens", "classes": known.outputs}
    return {"name": target, "type": "class", "classes": known.classes, "labels": known.labels}


def unit(column: str) -> str | None:
    """The unit of a column, where its name ends in one.

    >>> unit("petal length (cm)"), unit("alcohol")
    ('cm', None)
    """
    found = re.search(r"\s[(\[]([^()\[\]]+)[)\]]$", column)
    return found[1] if found else None


def _predicted(place: Path, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits of all rows, and of the first few by themselves, from the bundled artefact in a process of its own."""
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        rows, all_, few = (Path(scratch) / f"{name}.npy" for name in ("rows", "all", "few"))
        np.save(rows, np.asarray(X[:]))
        with Process("lmkit.deploy.bench", place, os.cpu_count() or 1, rows) as process:
            process.ask("load")
            process.ask("predict", into=str(all_), batch=64)
            process.ask("predict", into=str(few), batch=EXAMPLES, rows=EXAMPLES)
        return np.load(all_), np.load(few)


def _raw_rows(run: Run, data: Dataset) -> list[Any]:
    """The first few rows of the part that examples are taken from, as they came; of a stream none."""
    import numpy as np

    from lmkit.data.preparation import split
    from lmkit.data.preprocessing import plain_value
    from lmkit.data.sources import load

    spec, known = run.experiment.data, run.preprocessing
    if spec.streams:
        return []
    if spec.kind != "table":
        part = next(p for p in (data.test, data.validation, data.training) if len(p.X))
        if known.signature.graph:
            (names,) = known.names(np.asarray(part.X[:EXAMPLES])).values()
            return list(names)
        return list(np.asarray(part.X[:EXAMPLES]).tolist())
    table = load(spec, run.path.parent)
    training, validation, test = split(spec, table, run.experiment.seed)
    chosen = next(rows for rows in (test, validation, training) if len(rows))[:EXAMPLES]
    frame = table.X.iloc[chosen].rename(columns=str)
    if len(known.shape) > 1:
        return list(frame.to_numpy(dtype=np.float64).reshape(-1, *known.shape).tolist())
    plain = frame.astype(object).where(frame.notna(), None)
    return [{k: plain_value(v) for k, v in row.items()} for row in plain.to_dict("records")]


def scores(run: Run, logits: np.ndarray, data: Dataset) -> dict[str, dict[str, float]]:
    """What the artefact scores on the test part, with 95 % intervals where a metric is a mean over rows.

    The interval is the bootstrap's percentile interval over rows (Efron and Tibshirani, *An Introduction to the
    Bootstrap*, chapter 13).
    """
    import numpy as np

    from lmkit.deploy.scoring import Given, scored

    known, y = run.preprocessing, np.asarray(data.test.y[:])
    values = scored(run, logits, data)
    by_row = {"loss": Given(run, logits, data).losses("test")}
    if known.task != "language":
        found, truth = known.decode(logits), known.restore(y)
        by_row |= {"mae": np.abs(found - truth)} if known.task == "regression" else {"accuracy": found == truth}
    draw = np.random.default_rng(0)
    told: dict[str, dict[str, float]] = {name: {"value": value} for name, value in values.items()}
    for name, rows in by_row.items():
        means = [rows[draw.integers(0, len(rows), len(rows))].mean() for _ in range(DRAWS)]
        low, high = np.percentile(means, [2.5, 97.5])
        told[name] |= {"low": float(low), "high": float(high)}
    if "perplexity" in told:
        told["perplexity"] |= {k: float(np.exp(told["loss"][k])) for k in ("low", "high")}
    return told
