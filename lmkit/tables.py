"""Tables of a run: small, script-free, the same in a notebook, on a page and in a terminal.

Those of a sweep are made in ``lmkit.sweep_tables``, those of two frameworks in ``lmkit.duel``, and found here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lmkit.duel import same_start as same_start
from lmkit.duel import speed as speed
from lmkit.progress import epoch_text, sentence, time_text
from lmkit.run import together
from lmkit.sweep_tables import sweep_summary as sweep_summary
from lmkit.sweep_tables import trials as trials
from lmkit.table import Table

if TYPE_CHECKING:
    from lmkit.deploy.comparison import Comparison
    from lmkit.run import Run
    from lmkit.runfolder import Status

# -- tables of a run ------------------------------------------------------------------------------


def summary(run: Run) -> Table:
    """What a run is and where it stands, in a few lines; it waits for nothing."""
    spec, status = run.experiment, run.status
    events = run.events
    began = datetime.fromtimestamp(events[0].time, UTC).strftime("%Y-%m-%d %H:%M UTC") if events else None
    shape = spec.model.model_dump(mode="json", exclude={"family"}, exclude_none=True)
    model = ", ".join([spec.model.family, *(f"{k} {v}" for k, v in shape.items())])
    ends = f"{status.step} steps, {_epochs(run)} of {spec.training.epochs} epochs, in {time_text(status.seconds)}"
    test = ", ".join(f"{name} {value:.4g}" for name, value in (status.metrics or {}).items())
    rows = [
        ("state", _state(status)),
        ("began", began),
        ("trained for", ends if status.step else "no step"),
        ("on the test part", test or None),
        ("data", spec.data.source),
        ("model", model),
        ("framework", f"{spec.framework} on {status.device}" if status.device else spec.framework),
        ("folder", str(run.path)),
    ]
    return Table(run.name, ("what", "value"), tuple((k, v) for k, v in rows if v is not None))


def side_by_side(runs: Sequence[Run]) -> Table:
    """Runs, one a row: what each is, where it stands, what it scores on the test part; it waits for nothing."""
    rows = [(run, run.status) for run in runs]
    names = list(dict.fromkeys(name for _, status in rows for name in status.metrics or {}))
    columns = ("run", *(f"test {name}" for name in names), "framework", "model", "epochs", "time", "state")
    told = [
        (
            run.name.split("-", 2)[-1], *((status.metrics or {}).get(name) for name in names),
            run.experiment.framework, run.experiment.model.family, _epochs(run), time_text(status.seconds),
            _state(status),
        )
        for run, status in rows
    ]  # fmt: skip
    return Table(f"{len(runs)} runs", columns, tuple(told))


def differences(runs: Sequence[Run]) -> Table:
    """The settings in which runs differ, one a row."""
    paths, settings = _settings(runs)
    rows = [(path, *(_word(each.get(path)) for each in settings)) for path in paths if not _same(path, settings)]
    return Table("Where they differ", ("setting", *together(runs)), tuple(rows))


def common(runs: Sequence[Run]) -> Table:
    """The settings that runs have in common, one a row."""
    paths, settings = _settings(runs)
    rows = [(path, _word(settings[0][path])) for path in paths if _same(path, settings)]
    return Table("What they have in common", ("setting", "value"), tuple(rows))


def _settings(runs: Sequence[Run]) -> tuple[list[str], list[dict[str, Any]]]:
    settings = [run.experiment.settings() for run in runs]
    return list(dict.fromkeys(path for each in settings for path in each)), settings


def _same(path: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    first = settings[0].get(path, _same)
    return all(each.get(path, _same) == first for each in settings)


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def _state(status: Status) -> str:
    return f"{status.state}: {status.reason}" if status.reason else status.state


def _epochs(run: Run) -> int:
    """Epochs that are whole."""
    history = run.history
    return int(history["epoch"].iloc[-1]) if len(history) else 0


MEANINGS = {
    "loss": "{loss}, mean over the rows; what was minimized",
    "perplexity": "e^loss: as unsure as if so many tokens were equally probable",
    "bits_per_byte": "bits that the model needs for a byte of the text; compares whatever the tokens are",
    "accuracy": "share of rows predicted right",
    "auc": "area under the ROC curve; 0.5 is chance, 1 is perfect",
    "mae": "mean absolute error, in the unit of the target",
    "r2": "share of the variance explained; 1 is perfect, 0 is as good as the mean",
}


def metrics(run: Run, *, wait: bool = True) -> Table:
    """Loss and metrics of the three parts of the data, with what each means.

    Of a run that did not complete it shows what was measured until then.

    Args:
        run: whose metrics.
        wait: wait for the end of the run.
    """
    from lmkit.specs.losses import resolve_loss
    from lmkit.specs.references import label

    status = run.wait().status if wait else run.status
    test = status.metrics or {}
    history = run.history
    last: Mapping[Any, Any] = history.iloc[-1].to_dict() if len(history) else {}
    training = run.experiment.training
    meanings = MEANINGS | {label(metric): "a function of the user's own" for metric in training.metrics}
    known = [name for name in meanings if name in test or name in last]
    loss = label(resolve_loss(training.loss, run.preprocessing.task)).replace("_", " ") if known else ""
    rows = [
        (name, last.get(name), last.get(f"val_{name}"), test.get(name), meanings[name].format(loss=loss))
        for name in known
    ]
    columns = ("metric", "training", "validation", "test", "meaning")
    when = f", after epoch {epoch_text(last['epoch'])}" if last else ""
    return Table(f"Metrics of {run.name}{when}", columns, tuple(rows))


def samples(run: Run, last: int = 4) -> Table:
    """What a language model wrote while it learned: the last few samples, each with what it was given to go on from.

    Args:
        run: a run of a language model.
        last: how many.
    """
    told = [e.data for e in run.events if e.type == "sample"][-last:]
    rows = [(d["step"], f"{d['prompt']!r} …", repr(d["text"])) for d in told]
    return Table(f"Samples of {run.name}", ("step", "given", "written"), tuple(rows))


def planned(run: Run) -> Table:
    """What was planned and what the run took: parameters, memory, a checkpoint, time a step, and their ratios.

    The plan is made now, of the experiment and of what was measured of this machine before; without that no times.
    """
    from lmkit.planning.measured import table

    return table(run)


def events(run: Run) -> Table:
    """What happened in the run, besides its epochs: when, after which step, what."""
    shown = [(e, sentence(e)) for e in run.events]
    began = shown[0][0].time if shown else 0.0
    rows = [(time_text(e.time - began), e.data.get("step", 0), said) for e, said in shown if said]
    status = run.status
    rows.append((time_text(max(0.0, status.heartbeat - began)), status.step, _state(status)))
    return Table(f"Events of {run.name}", ("after", "step", "what"), tuple(rows))


def environment(run: Run) -> Table:
    """What the run was made with: versions, hardware, git commit, command."""
    known = run.environment
    cpu = known.get("cpu") or {}
    backend = known.get("backend") or {}
    memory = known.get("memory_bytes")
    device = " ".join(str(backend[k]) for k in ("device", "device_name") if backend.get(k))
    abilities = ", ".join(cpu.get("abilities") or ())
    packages = ", ".join(f"{name} {version}" for name, version in (known.get("packages") or {}).items())
    cores = f"{cpu.get('name')}, {known.get('cores')} cores" + (f" ({abilities})" if abilities else "")
    rows = [
        ("Python", known.get("python")),
        ("packages", packages),
        ("platform", known.get("platform")),
        ("processor", cores if cpu else None),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else None),
        ("device trained on", device),
        ("git commit", known.get("git_commit")),
        ("command", known.get("command")),
    ]
    return Table(f"Environment of {run.name}", ("what", "value"), tuple((k, v) for k, v in rows if v))


def operations(compared: Comparison) -> Table:
    """What a call of each variant executes, as its runtime tells it: operations by type, the most frequent first."""
    from lmkit.deploy.variant import labels

    rows, called = [], labels(compared)
    for v in compared.measured:
        kinds: dict[str, list[tuple[int, str]]] = {}
        for name, dtype, times in v.operations:
            kinds.setdefault(dtype or "–", []).append((times, name))
        for dtype, found in kinds.items():
            listed = ", ".join(f"{times} × {name}" for times, name in sorted(found, reverse=True)[:6])
            rows.append((called[v.name], dtype, sum(times for times, _ in found), listed))
    return Table("What was executed", ("variant", "type", "operations", "which"), tuple(rows))
