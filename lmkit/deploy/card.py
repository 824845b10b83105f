"""The model card: what a bundle holds, for whoever deploys it, in one page of Markdown (Mitchell et al., 2019)."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import find
from lmkit.specs.data import STORED

if TYPE_CHECKING:
    from lmkit.data.preparation import Dataset
    from lmkit.run import Run

SHOWN = 20
"""Columns that are told in the card; the rest stands in signature.json."""


def card(
    run: Run,
    technique: str,
    artefact: Artefact,
    signature: dict[str, Any],
    example: dict[str, Any],
    metrics: dict[str, dict[str, float]],
    data: Dataset,
    made: Path,
) -> str:
    """The card of a bundle; ``made`` is the variant's folder, where what was measured of it lies."""
    spec = run.experiment
    measured = _measured(made)
    parts = [
        f"# {spec.name}",
        f"{_what(signature)} Trained in {spec.framework}, deployed as `{technique}` on {artefact.runtime}.",
        "## Use",
        _use(artefact, example),
        "## Takes",
        _table(("column", "type", "unit", "note"), [_column(c) for c in signature["inputs"][:SHOWN]]),
        *([f"… {len(signature['inputs'])} in all: see `signature.json`."] if len(signature["inputs"]) > SHOWN else []),
        "## Gives",
        _gives(signature["outputs"]),
        "## Scores on the test part",
        _scores(metrics, len(data.test.X)),
        "## Data",
        _data(run, data),
        "## How it was made",
        _recipe(run, artefact),
        *(["## Measured beside the trained model", _speed(measured)] if measured else []),
        "## Limits",
        _limits(run, metrics, measured),
        "## Versions",
        _table(("package", "version"), _versions(run, artefact)),
    ]
    return "\n\n".join(parts) + "\n"


def _what(signature: dict[str, Any]) -> str:
    given = signature["outputs"]
    if signature["task"] == "regression":
        return f"Predicts the number `{given['name']}`."
    if signature["task"] == "language":
        return "Predicts the next token of a text."
    return f"Predicts `{given['name']}`, one of {len(given['classes'])} classes."


def _use(artefact: Artefact, example: dict[str, Any]) -> str:
    (own,) = [v for _, v in _installed(["lmkit"])] or ["0.1"]
    if artefact.entry == "model.json":  # built anew by the framework, from the specification
        install = f"pip install 'lmkit[{artefact.runtime}]=={own}'"
    else:
        wanted = " ".join(f"{p}=={v}" for p, v in _installed(find(artefact.runtime).PACKAGES))
        install = f"pip install numpy {wanted}\npip install --no-deps lmkit=={own}"
    row = repr(example["rows"][:1]) if example["rows"] else "[…]"
    row = row if len(row) < 400 else "rows"
    return (
        f"```sh\n{install}\nsha256sum -c checksums.txt\n```\n\n"
        f'```python\nimport lmkit as lk\n\nmodel = lk.load_bundle(".")\nmodel.predict({row})\n```\n\n'
        "`example.json` holds rows of the test part, and what is to come out for them."
    )


def _column(column: dict[str, Any]) -> tuple[str, ...]:
    note = f"shape {column['shape']}, None: any number of rows" if "shape" in column else ""
    if column["type"] in ("category", "node"):
        note = ", ".join(map(str, column["known"][:8])) + (", …" if len(column["known"]) > 8 else "")
    elif column.get("instead_of_missing") is not None:
        note = f"a missing one becomes {column['instead_of_missing']:.6g}"
    return column["name"], column["type"], column.get("unit") or "", note


def _gives(outputs: dict[str, Any]) -> str:
    if outputs["type"] == "class":
        return _table(("class", "label"), zip(outputs["classes"], outputs["labels"], strict=True))
    unit = f", in {outputs['unit']}" if outputs.get("unit") else ""
    return f"`{outputs['name']}`{unit or ', in its own unit' if outputs['type'] == 'number' else ''}."


def _scores(metrics: dict[str, dict[str, float]], rows: int) -> str:
    if not metrics:
        return "There was no test part: what this model scores on rows that it was not trained on is not known."
    lines = [
        (name, f"{m['value']:.4g}", f"{m['low']:.4g} to {m['high']:.4g}" if "low" in m else "")
        for name, m in metrics.items()
    ]
    return (
        f"Of the artefact itself, in its own runtime, on {rows} rows. Intervals: bootstrap over rows.\n\n"
        + _table(("metric", "value", "95 % interval"), lines)
    )  # fmt: skip


def _data(run: Run, data: Dataset) -> str:
    spec = run.experiment.data
    source = "handed over in memory" if spec.source.startswith(STORED) else f"`{Path(spec.source).name}`"
    sizes = ", ".join(f"{name} {len(getattr(data, name).X)}" for name in ("training", "validation", "test"))
    told = f"Source: {source}. Rows: {sizes}; split with seed {run.experiment.seed}."
    if spec.kind != "table":
        return told
    return (
        f"{told} Numbers scaled: {spec.scale}; missing values: {spec.missing}; all fitted on the training part alone."
    )


def _recipe(run: Run, artefact: Artefact) -> str:
    spec, status = run.experiment, run.status
    model, optimizer = (json.dumps(p.model_dump(mode="json")) for p in (spec.model, spec.training.optimizer))
    lines = (
        f"Model: `{model}`",
        f"Training: {status.epoch} epochs, {status.step} steps, `{optimizer}`",
        f"Deployment: `{json.dumps(dict(artefact.recipe))}`",
        f"Run: `{run.name}`",
    )
    return "\n".join(f"- {line}" for line in lines)


def _measured(made: Path) -> dict[str, Any]:
    from lmkit.deploy.keeping import MEASURED

    try:
        found = dict(json.loads((made / MEASURED).read_text(encoding="utf-8"))["variant"])
    except (OSError, ValueError, KeyError):
        return {}
    return found if found["state"] == "measured" else {}


def _speed(measured: dict[str, Any]) -> str:
    lines: list[tuple[Any, ...]] = []
    for one in measured["latency"]:
        ratio = one["ratio"]
        told = f"{ratio['value']:.3g} ({ratio['low']:.3g} to {ratio['high']:.3g})"
        p95, least, joules = (one.get(name) for name in ("p95", "least", "joules"))
        lines.append(
            (
                one["batch"], f"{1e3 * one['p50']['value']:.3g} ms", f"{1e3 * p95:.3g} ms" if p95 else "", told,
                f"{1e3 * least:.3g} ms ({least / one['p50']['value']:.1%})" if least else "",
                *([f"{joules:.3g} J"] if joules is not None else []),
            )
        )  # fmt: skip
    head: tuple[str, ...] = (
        "rows a call",
        "median",
        "95th percentile",
        "ratio to the trained model (95 %)",
        "at best, by the machine",
    )
    if len(lines[0]) > len(head):
        head = (*head, "energy of a call")
    agree = measured["agreement"]
    return _table(head, lines) + (
        f"\n\nOn {measured['threads']} threads of the machine that made it; {measured['size_bytes'] / 1e3:.4g} kB; "
        f"outputs differ from the trained model's by {measured['divergence']:.2g} of their root mean square"
        + (f"; {100 * agree:.4g} % of predictions agree." if agree is not None else ".")
    )


def _limits(run: Run, metrics: dict[str, dict[str, float]], measured: dict[str, Any]) -> str:
    known = run.preprocessing
    said = ["It is known to work only on rows like those that it was trained on; others are answered just as firmly."]
    if metrics:
        said.append("The intervals tell the chance of which rows were tested, not what changes in the world later.")
    if getattr(known, "categories", None):
        said.append("A category that training never saw counts as none of those that are known.")
    if getattr(known, "numbers", None) and run.experiment.data.missing in ("error", "drop"):
        said.append("Rows with missing numbers are refused: training had no rule for them.")
    said += [f"Flagged when it was measured: {flag}." for flag in measured.get("flags", ())]
    return "\n".join(f"- {line}" for line in said)


def _versions(run: Run, artefact: Artefact) -> list[tuple[str, str]]:
    trained = run.environment.get("packages", {})
    runtime = dict(_installed(find(artefact.runtime).PACKAGES))
    return [("python", run.environment.get("python", "")), *{**trained, **runtime}.items()]


def _installed(packages: Iterable[str]) -> list[tuple[str, str]]:
    """Packages and the versions that are installed here, as an index knows them."""
    found = []
    for name in packages:
        try:
            found.append((name, importlib.metadata.version(name).partition("+")[0]))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines)
