"""The model card: a bundle's contents in one page of Markdown (Mitchell et al., 2019)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.kinds import TABLE, get_kind
from lmkit.deploy.artifact import MEASUREMENT, Artifact
from lmkit.deploy.runtimes import find, is_program
from lmkit.display.units import format_bytes, format_latency
from lmkit.exceptions import LmkitError
from lmkit.explanations.methods.base import Request
from lmkit.explanations.methods.permutation import PermutationMethod
from lmkit.explanations.model import ExplainedModel
from lmkit.explanations.rows import resolve_rows
from lmkit.specs.data import STORED
from lmkit.specs.tasks import get_task
from lmkit.system.environment import installed_versions
from lmkit.system.optional import DISTRIBUTION, install_command

if TYPE_CHECKING:
    from lmkit.data.dataset import Dataset
    from lmkit.run.run import Run

TRITON_TYPES = {"str": "STRING", "float16": "FP16", "float32": "FP32", "float64": "FP64"} | {
    name: name.upper() for name in ("int8", "uint8", "int32", "int64")
}
"""NumPy's name of a type → Triton's."""

COMPILED_TEXT = (
    "\n\nThe model is compiled where it runs: the first call with one row and the first with several take seconds (in "
    "TensorFlow the first up to 2, 4, 8, … rows). Make them before the model serves."
)
"""What a user of a compiled model must know."""

MAX_ROW_LETTERS = 2000
"""Length of a prepared row up to which the example request holds it."""

IMPORTANT = 8
"""Columns whose importance is in the card."""

MAX_COLUMNS = 20
"""Largest number of columns in the card; signature.json lists all."""


def card(
    run: Run,
    technique: str,
    artifact: Artifact,
    signature: dict[str, Any],
    example: dict[str, Any],
    metrics: dict[str, dict[str, float]],
    data: Dataset,
    folder: Path,
) -> str:
    """Return the card of a bundle; ``folder`` is the variant's folder in the run, which holds its measurement."""
    spec = run.experiment
    measurement = _read_measurement(folder)
    parts = [
        f"# {spec.name}",
        f"{_describe_purpose(signature)} Trained in {spec.framework}, deployed as `{technique}` on {artifact.runtime}.",
        "## Use",
        _describe_use(artifact, example),
        "## The file itself",
        _describe_tensors(signature, example, is_raw="raw_rows" in artifact.recipe),
        "## Input",
        _table(("column", "type", "unit", "note"), [_describe_column(c) for c in signature["inputs"][:MAX_COLUMNS]]),
        *(
            [f"… {len(signature['inputs'])} columns in total: see `signature.json`."]
            if len(signature["inputs"]) > MAX_COLUMNS
            else []
        ),
        "## Output",
        _describe_outputs(signature["outputs"]),
        "## Scores on the test part",
        _scores(metrics, len(data.test.X)),
        *_importance(run, data),
        "## Data",
        _data(run, data),
        "## Recipe",
        _recipe(run, artifact),
        *(["## Measured against the trained model", _speed(measurement)] if measurement else []),
        "## Limits",
        _limits(run, metrics, measurement),
        "## Versions",
        _table(("package", "version"), _versions(run, artifact)),
    ]
    return "\n\n".join(parts) + "\n"


def _importance(run: Run, data: Dataset) -> list[str]:
    """Return the section on what the trained model looks at: the importance of the columns of a table."""
    try:
        explained = ExplainedModel(run, data)
        if explained.kind is not TABLE:
            return []
        result = PermutationMethod().explain(Request(explained, resolve_rows(explained, 0)))
    except LmkitError:  # a single row; a model that draws random numbers
        return []
    rows = [
        (f"`{i.name}`", f"{i.loss[0]:.3g} [{i.loss[1]:.3g}, {i.loss[2]:.3g}]", f"{i.score[0]:.3g}")
        for i in (*result.importances[:IMPORTANT], *result.groups[:3])
    ]
    return [
        "## What the model looks at",
        f"Permutation importance of the trained model: what {result.rows:,} rows of the {result.part} part lose where "
        "a column is shuffled, with 95 % intervals over rows. It says what this model uses, not what causes the "
        "target.",
        _table(("column", f"increase of the {result.loss}", result.score), rows),
    ]


def _describe_purpose(signature: dict[str, Any]) -> str:
    outputs = signature["outputs"]
    classes = len(outputs["classes"]) if isinstance(outputs.get("classes"), list) else 0
    return get_task(signature["task"]).card_text.format(name=outputs.get("name", ""), classes=classes)


def _describe_use(artifact: Artifact, example: dict[str, Any]) -> str:
    (version,) = [v for _, v in _installed(["lmkit"])] or ["0.1"]
    if artifact.entry == "model.json":  # rebuilt by the framework from the specification
        install = install_command(artifact.runtime, version=version)
    else:
        requirements = " ".join(f"{p}=={v}" for p, v in _installed(find(artifact.runtime).PACKAGES))
        install = (
            f"python -m pip install numpy {requirements}\npython -m pip install --no-deps {DISTRIBUTION}=={version}"
        )
    trust, remark = "", "This bundle is data: its runtime reads it, and runs no code of its author."
    if is_program(artifact):
        trust = ", trust=True"
        remark = (
            f"This bundle is a program: loading `{artifact.entry}` runs what its author put in it. Load it only if you "
            "trust its author; checksums find a damaged copy, not another author."
        )
    row = repr(example["rows"][:1]) if example["rows"] else "[…]"
    row = row if len(row) < 400 else "rows"
    return (
        f"```sh\n{install}\nsha256sum -c checksums.txt\n```\n\n"
        f'```python\nimport lmkit as lk\n\nmodel = lk.load_bundle("."{trust})\nmodel.predict({row})\n```\n\n'
        f"{remark}\n\n"
        "`example.json` holds rows of the test part and their expected predictions."
        + (COMPILED_TEXT if artifact.options.get("compiled") else "")
    )


def _describe_tensors(signature: dict[str, Any], example: dict[str, Any], *, is_raw: bool) -> str:
    """Return what the file takes and returns, for programs that run it without lmkit, such as a server."""
    tensors = signature["tensors"]
    rows = [
        (kind, f"`{t['name']}`" if t["name"] else "", t["dtype"], _describe_shape(t["shape"]), meaning)
        for (kind, t), meaning in zip(
            tensors.items(), ("rows as in `Input`" if is_raw else "prepared rows", "raw outputs"), strict=True
        )
    ]
    task = get_task(signature["task"])
    raw = task.logits_text.format(outputs=tensors["output"]["shape"][-1]) + (", scaled" if task.numeric else "")
    fields = "texts" if task.per_position else "numbers in the order of its columns and NaN for a missing one"
    content = (
        f"is the model with its preprocessing: rows as in `Input` in, {fields}; raw outputs out "
        f"({raw}), not predictions."
        if is_raw
        else f"is the model alone: prepared rows in, raw outputs out ({raw}), not predictions. Rows as in `Input` give "
        "wrong results without an error."
    )
    parts = [
        f"The file in `{signature['artefact']}` {content}",
        _table(("tensor", "name", "type", "shape", "meaning"), rows),
        "`model.prepare(rows)` makes the input, and `model.decode(outputs)` the predictions."
        + (
            ' `example.json` holds the same rows before (`"rows"`) and after it (`"tensors"`), as a check.'
            if "tensors" in example
            else ""
        ),
    ]
    return "\n\n".join([*parts, *_describe_request(signature, example)])


def _describe_shape(shape: Sequence[int | None]) -> str:
    return " × ".join("any number" if n is None else str(n) for n in shape)


def _describe_request(signature: dict[str, Any], example: dict[str, Any]) -> list[str]:
    """Return the request to the server of a layout, with the first prepared row if it is short."""
    layout, _, rest = signature["artefact"].partition("/")
    name, tensor = rest.partition("/")[0], signature["tensors"]["input"]
    row = example.get("tensors", {}).get("input", [None])[0]
    if row is None or len(json.dumps(row)) > MAX_ROW_LETTERS:
        row = ["…"]
    if layout == "triton":
        shape = json.dumps([1, *tensor["shape"][1:]])
        datatype = TRITON_TYPES[tensor["dtype"]]
        body = (
            f'{{"inputs": [{{"name": "{tensor["name"]}", "shape": {shape}, "datatype": "{datatype}", '
            f'"data": [{json.dumps(row, ensure_ascii=False)}]}}]}}'
        )
        command = f"curl localhost:8000/v2/models/{name}/infer -d '{body}'"
    elif layout == "tfserving":
        body = f'{{"inputs": {{"{tensor["name"]}": [{json.dumps(row, ensure_ascii=False)}]}}}}'
        command = f"curl localhost:8501/v1/models/{name}:predict -d '{body}'"
    else:
        return []
    return [f"```sh\n{command}\n```"]


def _describe_column(column: dict[str, Any]) -> tuple[str, ...]:
    note = f"shape {column['shape']}, None: any number of rows" if "shape" in column else ""
    if column["type"] == "text":
        note = f"at most {column['bytes']} bytes; of a longer one the file takes the first"
    if column["type"] in ("category", "node"):
        note = ", ".join(map(str, column["known"][:8])) + (", …" if len(column["known"]) > 8 else "")
    elif column.get("instead_of_missing") is not None:
        note = f"missing values become {column['instead_of_missing']:.6g}"
    return column["name"], column["type"], column.get("unit") or "", note


def _describe_outputs(outputs: dict[str, Any]) -> str:
    if outputs["type"] == "class":
        return _table(("class", "label"), zip(outputs["classes"], outputs["labels"], strict=True))
    unit = f", in {outputs['unit']}" if outputs.get("unit") else ""
    return f"`{outputs['name']}`{unit or ', in its unit' if outputs['type'] == 'number' else ''}."


def _scores(metrics: dict[str, dict[str, float]], rows: int) -> str:
    if not metrics:
        return "There was no test part: the scores of this model on rows that it was not trained on are unknown."
    lines = [
        (name, f"{m['value']:.4g}", f"{m['low']:.4g} to {m['high']:.4g}" if "low" in m else "")
        for name, m in metrics.items()
    ]
    return f"Scores of the artifact in its runtime, on {rows} rows. Intervals: bootstrap over rows.\n\n" + _table(
        ("metric", "value", "95 % interval"), lines
    )


def _data(run: Run, data: Dataset) -> str:
    spec = run.experiment.data
    source = "passed in memory" if spec.source.startswith(STORED) else f"`{Path(spec.source).name}`"
    sizes = ", ".join(f"{name} {len(getattr(data, name).X)}" for name in ("training", "validation", "test"))
    text = f"Source: {source}. Rows: {sizes}; split with seed {run.experiment.seed}."
    if not get_kind(spec).has_columns:
        return text
    return (
        f"{text} Numbers scaled: {spec.scale}; missing values: {spec.missing}; both fitted on the training part alone."
    )


def _recipe(run: Run, artifact: Artifact) -> str:
    spec, status = run.experiment, run.status
    model, optimizer = (json.dumps(p.model_dump(mode="json")) for p in (spec.model, spec.training.optimizer))
    lines = (
        f"Model: `{model}`",
        f"Training: {status.epoch} epochs, {status.step} steps, `{optimizer}`",
        f"Deployment: `{json.dumps(dict(artifact.recipe))}`",
        f"Run: `{run.name}`",
    )
    return "\n".join(f"- {line}" for line in lines)


def _read_measurement(folder: Path) -> dict[str, Any]:
    try:
        variant = dict(json.loads((folder / MEASUREMENT).read_text(encoding="utf-8"))["variant"])
    except (OSError, ValueError, KeyError):
        return {}
    return variant if variant["state"] == "measured" else {}


def _speed(measurement: dict[str, Any]) -> str:
    lines: list[tuple[Any, ...]] = []
    for latency in measurement["latency"]:
        ratio = latency["ratio"]
        ratio_text = f"{ratio['value']:.3g} ({ratio['low']:.3g} to {ratio['high']:.3g})"
        p95, least, joules = (latency.get(name) for name in ("p95", "least", "joules"))
        lines.append(
            (
                latency["batch"],
                format_latency(latency["p50"]["value"]),
                format_latency(p95) if p95 else "",
                ratio_text,
                f"{format_latency(least)} ({least / latency['p50']['value']:.1%})" if least else "",
                *([f"{joules:.3g} J"] if joules is not None else []),
            )
        )
    columns: tuple[str, ...] = (
        "rows per call",
        "median",
        "95th percentile",
        "ratio to the trained model (95 %)",
        "least time on the machine",
    )
    if len(lines[0]) > len(columns):
        columns = (*columns, "energy per call")
    agreement = measurement["agreement"]
    return _table(columns, lines) + (
        f"\n\nWith {measurement['threads']} threads on the machine that built it; "
        f"{format_bytes(measurement['size_bytes'])}; "
        f"outputs differ from the trained model's by {measurement['divergence']:.2g} of their root mean square"
        + (f"; {100 * agreement:.4g} % of predictions agree." if agreement is not None else ".")
    )


def _limits(run: Run, metrics: dict[str, dict[str, float]], measurement: dict[str, Any]) -> str:
    preprocessing = run.preprocessing
    sentences = [
        "Its quality is known only for rows like its training rows; other rows are predicted with the same confidence."
    ]
    if metrics:
        sentences.append("The intervals cover the choice of test rows, not later changes of the data.")
    if getattr(preprocessing, "categories", None):
        sentences.append("A category that was not in the training part counts as none of the known ones.")
    if getattr(preprocessing, "numbers", None) and run.experiment.data.missing in ("error", "drop"):
        sentences.append("Rows with missing numbers are rejected: training had no rule for them.")
    sentences += [f"Flagged by the measurement: {flag}." for flag in measurement.get("flags", ())]
    return "\n".join(f"- {line}" for line in sentences)


def _versions(run: Run, artifact: Artifact) -> list[tuple[str, str]]:
    trained = run.environment.get("packages", {})
    runtime = dict(_installed(find(artifact.runtime).PACKAGES))
    return [("python", run.environment.get("python", "")), *{**trained, **runtime}.items()]


def _installed(packages: Iterable[str]) -> list[tuple[str, str]]:
    """Return the installed packages and their versions, without local version labels."""
    return [(name, version.partition("+")[0]) for name, version in installed_versions(packages).items()]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines)
