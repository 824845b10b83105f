"""The bundle: one variant of a run with everything that its deployment needs, in one folder.

    out/
      artefact/            files of the runtime, and the record of their build
      preprocessing.json   preprocessing, fitted on the training part
      signature.json       inputs and outputs: names, shapes, types, units, classes and their labels
      example.json         some rows of the test part before preprocessing and their predictions; the same rows as the
                           file's own tensors: prepared rows in, raw outputs out
      README.md            the model card
      checksums.txt        SHA-256 of each file, as ``sha256sum -c`` reads it

In the layout of a server's model repository the artifact is in ``triton/<name>/1`` or
``tfserving/<name>/1`` instead, where ``load_bundle`` finds it, too.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmkit.backends.facts import EXPORT_TECHNIQUES
from lmkit.data.fingerprint import locate_data
from lmkit.data.kinds import get_kind
from lmkit.deploy.artifact import Artifact, StaleArtifact, digest, is_built_here, remember_variant
from lmkit.deploy.bundle.evaluation import EXAMPLES, evaluate, evaluate_raw, evaluate_texts
from lmkit.deploy.bundle.load import is_custom
from lmkit.deploy.bundle.model_card import TRITON_TYPES, card
from lmkit.deploy.bundle.raw_rows import as_raw, embed_preprocessing
from lmkit.deploy.bundle.verify import (
    CARD,
    CHECKSUMS,
    EXAMPLE,
    FORMAT,
    PREPROCESSING,
    SIGNATURE,
    BundleError,
    remember_bundle,
    version_here,
)
from lmkit.deploy.runtimes import is_program
from lmkit.deploy.techniques.base import find
from lmkit.exceptions import nearest, shorten
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.preprocessing.text import TextPreprocessing
from lmkit.run.resolve import resolve_run
from lmkit.run.run import Run
from lmkit.run.wait import wait_until_completed
from lmkit.specs.tasks import get_task
from lmkit.system.files import replace_directory
from lmkit.system.numbers import to_json
from lmkit.system.rpc import Process

LAYOUTS = {"plain": "artefact", "triton": "triton/{name}/1", "tensorflow-serving": "tfserving/{name}/1"}
"""Layout → folder of the artifact."""

MAX_NUMBERS = 2**18
"""Largest count of numbers that example.json lists of the raw outputs; more would be a file of many megabytes."""

MAX_BATCH = 64
"""Largest batch that Triton may form."""


def bundle(
    run: Run | str | Path,
    technique: str,
    out: str | Path,
    *,
    layout: str = "plain",
    raw_rows: bool = False,
    runs: str | Path | None = None,
) -> Path:
    """Write a variant of a run as a folder that can be deployed; ``load_bundle`` reads it.

    A variant that was compared before is copied from the run's folder; another one is built first.

    Args:
        run: a run or its name; a run that is training is waited for.
        technique: technique of the variant, such as ``onnx``.
        out: folder to write, which must be empty or not exist.
        layout: ``plain``, or a server's: ``triton`` (ONNX) or ``tensorflow-serving`` (a SavedModel).
        raw_rows: put scaling and one-hot encoding into the file (ONNX), which then takes rows as in the table, such as
            a server that serves it: numbers, or texts where a column has names, dates or amounts; the file of a text
            model takes texts.
        runs: folder of the runs.

    Returns:
        The folder.

    Raises:
        BundleError: the folder is not empty or cannot be written, or the layout or raw rows do not fit the artifact.
        RunStateError: the run has not completed.
        NotApplicable: the technique cannot be used on this run; the message says why.
        UntrustedCode: the run names code that this user has not run on this machine before; see ``lk.trust``.

    >>> import lmkit as lk
    >>> from lmkit.deploy.bundle.bundle import bundle
    >>> folder = bundle("last", "onnx", "out/")  # doctest: +SKIP
    >>> lk.load_bundle(folder).predict([[5.1, 3.5, 1.4, 0.2]])  # doctest: +SKIP
    array([0])
    """
    run = resolve_run(run, runs=runs)
    out = Path(out).expanduser().absolute()
    find(technique)
    if layout not in LAYOUTS:
        raise BundleError(f"layout: given {shorten(layout)}, {nearest(layout, LAYOUTS)}")
    run.require_trust()
    wait_until_completed(run, "bundled")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is a file"
        raise BundleError(f"{str(out)!r} {what}; use another folder, or delete it first")
    source = _artifact_folder(run, technique)
    if is_custom(source, Artifact.read(source)):
        raise BundleError(
            f"{technique} of a custom model runs its author's code, and a bundle may hold no code; "
            f"bundle an exported model instead: {_alternatives(technique, run)}"
        )
    try:
        with replace_directory(out, existing="empty") as folder:
            _write(run, technique, source, folder, layout, raw_rows)
    except OSError as error:
        raise BundleError(
            f"the bundle cannot be written to {str(out)!r}: {error.strerror or error}; use another folder"
        ) from None
    remember_bundle(out)
    return out


def _alternatives(technique: str, run: Run) -> str:
    """Return techniques that export the same model without its code."""
    exported = EXPORT_TECHNIQUES[run.experiment.framework]
    prefix = "" if technique in ("baseline", "compile") else f"{technique}+"
    return f"{prefix}onnx or {prefix}{exported}"


def _artifact_folder(run: Run, technique: str) -> Path:
    """Return the folder of the variant's artifact, built if it does not exist, with unchanged files."""
    folder = run.folder.inside("variants", technique)
    if not is_built_here(folder):
        with Process("lmkit.deploy.compare.builder", run.path) as builder:
            builder.ask("make", technique=technique, into=str(folder))
        remember_variant(folder)
    try:
        Artifact.read(folder)
    except StaleArtifact as error:
        raise BundleError(f"{error}; delete {str(folder)!r} and bundle again to rebuild it") from None
    return folder


def _write(run: Run, technique: str, source: Path, folder: Path, layout: str, raw_rows: bool) -> None:
    spec = run.experiment
    preprocessing: Any = run.preprocessing
    name = re.sub(r"[^\w.-]", "-", spec.name)
    path = LAYOUTS[layout].format(name=name)
    artifact = _copy_artifact(source, folder / path, layout)
    data = run.prepare_data()
    evaluation = evaluate(run, folder / path, artifact, data)
    located = locate_data(run.folder, spec).data
    rows = get_kind(located).example_rows(located, spec.seed, data, EXAMPLES, run.path.parent)
    if raw_rows:
        if isinstance(as_raw(preprocessing, artifact), TextPreprocessing):
            rows, evaluation = evaluate_texts(folder / path, artifact, preprocessing, evaluation)
        artifact, preprocessing = embed_preprocessing(folder / path, artifact, preprocessing)
        evaluation = evaluate_raw(folder / path, artifact, preprocessing, rows, evaluation)
    tensors, outputs = evaluation.tensors, evaluation.outputs
    if layout == "triton":
        (folder / path).with_name("config.pbtxt").write_text(triton_config(name, tensors), encoding="utf-8")
    is_table_of_texts = "str" in artifact.dtype and isinstance(preprocessing, TablePreprocessing)
    signature = {
        "format": FORMAT,
        "lmkit": version_here(),
        "trust": "program" if is_program(artifact) else "data",
        "name": spec.name,
        "task": preprocessing.task,
        "artefact": path,
        "inputs": _describe_inputs(run.preprocessing if is_table_of_texts else preprocessing),
        "outputs": _describe_outputs(run),
        "tensors": tensors,
    }
    example = {"rows": rows, "predictions": preprocessing.decode(outputs).tolist()}
    if outputs.size <= MAX_NUMBERS:
        if get_task(preprocessing.task).discrete:
            example["probabilities"] = preprocessing.probabilities(outputs).tolist()
        example["tensors"] = {"input": evaluation.inputs.tolist(), "output": outputs.tolist()}
    for file, values in ((SIGNATURE, signature), (PREPROCESSING, preprocessing.bundle_dict()), (EXAMPLE, example)):
        (folder / file).write_text(to_json(values, indent=1 if file == SIGNATURE else None), encoding="utf-8")
    text = card(run, technique, artifact, signature, example, evaluation.metrics, data, source)
    (folder / CARD).write_text(text, encoding="utf-8")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = [f"{digest(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _copy_artifact(source: Path, target_folder: Path, layout: str) -> Artifact:
    """Copy the files of an artifact into the folder of a layout; return the artifact there."""
    artifact = Artifact.read(source)
    saved = (source / artifact.entry / "saved_model.pb").is_file()
    supported = {"plain": True, "triton": artifact.runtime == "onnxruntime", "tensorflow-serving": saved}
    if not supported[layout]:
        requirement = {"triton": "ONNX: use technique onnx", "tensorflow-serving": "a SavedModel: use saved-model"}[
            layout
        ]
        raise BundleError(
            f"layout: {layout} needs {requirement}, or layout='plain'; given {artifact.entry} for {artifact.runtime}"
        )
    is_nested = layout == "tensorflow-serving"  # the version's folder is the SavedModel itself
    root = source / artifact.entry if is_nested else source
    for name in artifact.files:
        target = target_folder / (source / name).relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
    return replace(artifact, entry="." if is_nested else artifact.entry).write(target_folder)


def triton_config(name: str, tensors: dict[str, dict[str, Any]]) -> str:
    """Return ``config.pbtxt`` of a model in Triton's repository; ``dims`` exclude a dynamic batch dimension.

    See https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md.

    >>> x = {"name": "x", "shape": [None, 4], "dtype": "float32"}
    >>> print(triton_config("iris", {"input": x, "output": {**x, "name": "y"}}).splitlines()[2])
    max_batch_size: 64
    """
    batched = all(t["shape"][:1] == [None] for t in tensors.values())
    lines = [f'name: "{name}"', 'platform: "onnxruntime_onnx"', f"max_batch_size: {MAX_BATCH if batched else 0}"]
    for kind, tensor in tensors.items():
        dims = ", ".join(str(-1 if n is None else n) for n in tensor["shape"][1 if batched else 0 :])
        text = f'name: "{tensor["name"]}" data_type: TYPE_{TRITON_TYPES[tensor["dtype"]]} dims: [ {dims} ]'
        lines.append(f"{kind} [ {{ {text} }} ]")
    return "\n".join(lines) + "\n"


def _describe_inputs(preprocessing: Any) -> list[dict[str, Any]]:
    """Return the inputs: the columns of a row, or its one array."""
    if preprocessing.signature.graph:
        return [{"name": preprocessing.column, "type": "node", "known": preprocessing.nodes, "unit": None}]
    if len(preprocessing.shape) > 1 or not getattr(preprocessing, "columns", None):
        if getattr(preprocessing, "raw_texts", False):
            return [{"name": "rows", "type": "text", "bytes": preprocessing.length, "unit": None}]
        kind = "tokens" if get_task(preprocessing.task).per_position else "array"
        return [{"name": "rows", "type": kind, "shape": [None, *preprocessing.shape], "unit": None}]
    columns: list[dict[str, Any]] = []
    for name in preprocessing.columns:
        if name in preprocessing.categories:
            columns.append({"name": name, "type": "category", "known": preprocessing.categories[name]["known"]})
        else:
            fill = preprocessing.numbers.get(name, {}).get("fill")
            kind = getattr(preprocessing, "formats", {}).get(name, {}).get("type", "number")
            columns.append({"name": name, "type": kind, "unit": unit(name), "instead_of_missing": fill})
    return columns


def _describe_outputs(run: Run) -> dict[str, Any]:
    """Return the output: what is predicted."""
    preprocessing, target = run.preprocessing, run.experiment.data.target or "target"
    return get_task(preprocessing.task).describe_outputs(target, unit(target), preprocessing)


def unit(column: str) -> str | None:
    """Return the unit at the end of a column's name, if any.

    >>> unit("petal length (cm)"), unit("alcohol")
    ('cm', None)
    """
    match = re.search(r"\s[(\[]([^()\[\]]+)[)\]]$", column)
    return match[1] if match else None
