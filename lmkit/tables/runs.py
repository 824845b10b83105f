"""Tables of runs: summary, settings, metrics, samples, events, environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lmkit.display.table import Table
from lmkit.display.units import format_bytes, format_duration, format_number
from lmkit.run.runs import labels
from lmkit.runfolder.progress import epoch_text, sentence
from lmkit.specs.tasks import metric_info
from lmkit.system.numbers import index_of_last_improvement
from lmkit.system.privacy import is_private, redact, redact_command, shorten_home
from lmkit.tables.results import result

if TYPE_CHECKING:
    from lmkit.deploy.compare.comparison import Comparison
    from lmkit.run.run import Run
    from lmkit.runfolder.status import Status


def summary(run: Run) -> Table:
    """Summarize a run: result, data, model, state, training time. Does not wait for its end."""
    experiment, status = run.experiment, run.status
    events = run.events
    started = datetime.fromtimestamp(events[0].time, UTC).strftime("%Y-%m-%d %H:%M UTC") if events else None
    shape = experiment.model.model_dump(mode="json", exclude={"family"}, exclude_none=True)
    model = ", ".join([experiment.model.family, *(f"{k} {v}" for k, v in shape.items())])
    progress = (
        f"{status.step} steps, {_epochs(run)} of {experiment.training.epochs} epochs, {format_duration(status.seconds)}"
    )
    test = ", ".join(f"{name} {format_number(value)}" for name, value in (status.metrics or {}).items())
    answer = result(run)
    rows = [
        ("result", str(answer) if answer else None),
        ("data", ": ".join(text for text in (redact(experiment.data.source), parts_text(run)) if text)),
        ("model", model),
        ("state", _state_text(status)),
        ("training", progress if status.step else "no steps"),
        ("test metrics", test or None),
        ("framework", f"{experiment.framework} on {status.device}" if status.device else experiment.framework),
        ("memory", memory_text(status)),
        ("started", started),
        ("folder", None if is_private() else shorten_home(str(run.path))),
    ]
    return Table(run.name, ("what", "value"), tuple((k, v) for k, v in rows if v is not None))


def memory_text(status: Status) -> str | None:
    """Return the peak memory of a run on its GPU and of its process; None for a run on the processor."""
    if not status.device_peak_memory:
        return None
    texts = [
        f"{format_bytes(status.device_peak_memory)} on {status.device} at most",
        f"{format_bytes(status.peak_memory)} of its process",
        f"{status.utilization:.0%} of the time computing" if status.utilization is not None else "",
        f"{status.power:.0f} W" if status.power is not None else "",
    ]
    return ", ".join(text for text in texts if text)


def side_by_side(runs: Sequence[Run]) -> Table:
    """Compare runs, one per row: test metrics, model, epochs, time, state. Does not wait for their end."""
    rows = [(run, run.status) for run in runs]
    names = list(dict.fromkeys(name for _, status in rows for name in status.metrics or {}))
    columns = ("run", *(f"test {name}" for name in names), "framework", "model", "epochs", "time", "state")
    cells = [
        (
            run.name.split("-", 2)[-1],
            *((status.metrics or {}).get(name) for name in names),
            run.experiment.framework,
            run.experiment.model.family,
            _epochs(run),
            format_duration(status.seconds),
            _state_text(status),
        )
        for run, status in rows
    ]
    return Table(f"{len(runs)} runs", columns, tuple(cells))


def differences(runs: Sequence[Run]) -> Table:
    """The settings in which runs differ, one per row."""
    paths, settings = _settings(runs)
    rows = [
        (path, *(_text(run_settings.get(path)) for run_settings in settings))
        for path in paths
        if not _is_common(path, settings)
    ]
    return Table("Differing settings", ("setting", *labels(runs)), tuple(rows))


def common(runs: Sequence[Run]) -> Table:
    """The settings that are equal in all runs, one per row."""
    paths, settings = _settings(runs)
    rows = [(path, _text(settings[0][path])) for path in paths if _is_common(path, settings)]
    return Table("Common settings", ("setting", "value"), tuple(rows))


def _settings(runs: Sequence[Run]) -> tuple[list[str], list[dict[str, Any]]]:
    settings = [run.experiment.settings() for run in runs]
    return list(dict.fromkeys(path for run_settings in settings for path in run_settings)), settings


def _is_common(path: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    first = settings[0].get(path, _is_common)
    return all(run_settings.get(path, _is_common) == first for run_settings in settings)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _state_text(status: Status) -> str:
    return f"{status.state}: {status.reason}" if status.reason else status.state


def parts_text(run: Run) -> str:
    """The number of rows of each part, as the run logged them; empty for a run of an earlier version."""
    rows = next((e.data.get("rows") for e in run.events if e.type == "started"), None)
    return ", ".join(f"{count:,} {part} rows" for part, count in rows.items()) if isinstance(rows, dict) else ""


def _epochs(run: Run) -> int:
    """The number of completed epochs."""
    history = run.history
    return int(history["epoch"].iloc[-1]) if len(history) else 0


LOSS_MEANING = "{loss}, mean over the rows; minimized by training"


def metrics(run: Run, *, wait: bool = True) -> Table:
    """The loss and metrics of the three splits, with the meaning of each.

    Training and validation are those of the epoch whose weights the run ends with: the best where early stopping
    restored them, else the last. Values of the training part are means over the steps of the epoch, in training
    mode, each before its update; those of the other parts are of the whole part afterwards.

    Args:
        run: the run.
        wait: wait for the end of the run.
    """
    from lmkit.specs.losses import resolve_loss
    from lmkit.specs.references import label

    status = run.wait().status if wait else run.status
    test = status.metrics or {}
    history = run.history
    training = run.experiment.training
    early = training.early_stopping
    row = None
    if early and early.restore_best and status.state == "completed":
        row = index_of_last_improvement(history.get("val_loss", history.get("loss", ())), early.min_delta)
    last: Mapping[Any, Any] = history.iloc[-1 if row is None else row].to_dict() if len(history) else {}
    meanings = {"loss": LOSS_MEANING, **{name: metric.meaning for name, metric in metric_info().items()}}
    meanings |= {label(metric): "custom metric" for metric in training.metrics}
    names = [name for name in meanings if name in test or name in last]
    loss = label(resolve_loss(training.loss, run.preprocessing.task)).replace("_", " ") if names else ""
    rows = [
        (name, last.get(name), last.get(f"val_{name}"), test.get(name), meanings[name].format(loss=loss))
        for name in names
    ]
    columns = ("metric", "training", "validation", "test", "meaning")
    when = f", after epoch {epoch_text(last['epoch'])} (training: mean over its steps)" if last else ""
    return Table(f"Metrics of {run.name}{when}", columns, tuple(rows))


def samples(run: Run, last: int = 4) -> Table:
    """The last samples that a language model generated during training, with their prompts.

    Args:
        run: a run of a language model.
        last: number of samples.
    """
    events = [e.data for e in run.events if e.type == "sample"][-last:]
    rows = [(d["step"], f"{d['prompt']!r} …", repr(d["text"])) for d in events]
    return Table(f"Samples of {run.name}", ("step", "prompt", "generated"), tuple(rows))


def planned(run: Run) -> Table:
    """Compare the plan with the run: parameters, memory, checkpoint size, time per step, and their ratios.

    The plan is computed now. Times are planned only if this machine was benchmarked before.
    """
    from lmkit.planning.measured_usage import usage_table

    return usage_table(run)


def events(run: Run) -> Table:
    """The events of a run other than epochs, with time and step."""
    sentences = [(e, sentence(e)) for e in run.events]
    start = sentences[0][0].time if sentences else 0.0
    rows = [(format_duration(e.time - start), e.data.get("step", 0), text) for e, text in sentences if text]
    status = run.status
    rows.append((format_duration(max(0.0, status.heartbeat - start)), status.step, _state_text(status)))
    return Table(f"Events of {run.name}", ("time", "step", "event"), tuple(rows))


def environment(run: Run) -> Table:
    """The environment of a run: versions, hardware, git commit, command."""
    environment = run.environment
    cpu = environment.get("cpu") or {}
    backend = environment.get("backend") or {}
    memory = environment.get("memory_bytes")
    device = " ".join(str(backend[k]) for k in ("device", "device_name") if backend.get(k))
    abilities = ", ".join(cpu.get("abilities") or ())
    packages = ", ".join(f"{name} {version}" for name, version in (environment.get("packages") or {}).items())
    cores = f"{cpu.get('name')}, {environment.get('cores')} cores" + (f" ({abilities})" if abilities else "")
    rows = [
        ("Python", environment.get("python")),
        ("packages", packages),
        ("platform", environment.get("platform")),
        ("processor", cores if cpu else None),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else None),
        ("device", device),
        ("arithmetic", _arithmetic(backend)),
        ("git commit", environment.get("git_commit")),
        ("command", None if is_private() else redact_command(str(environment.get("command") or ""))),
    ]
    return Table(f"Environment of {run.name}", ("what", "value"), tuple((k, v) for k, v in rows if v))


def _arithmetic(backend: Mapping[str, Any]) -> str | None:
    """Return how exactly a run computed on a GPU; None on the processor, and for a run of an earlier version."""
    if "tf32" not in backend or str(backend.get("device")) == "cpu":
        return None
    kinds = "float32 in TF32" if backend["tf32"] else "float32 without TF32"
    return f"{kinds}, {'deterministic' if backend.get('deterministic') else 'not necessarily deterministic'}"


def operations(compared: Comparison) -> Table:
    """The operations that each variant executes per call, by data type, the most frequent first."""
    from lmkit.deploy.variant import labels

    rows, names = [], labels(compared)
    for v in compared.measured:
        by_type: dict[str, list[tuple[int, str]]] = {}
        for name, dtype, times in v.operations:
            by_type.setdefault(dtype or "–", []).append((times, name))
        for dtype, operations in by_type.items():
            listed = ", ".join(f"{times} × {name}" for times, name in sorted(operations, reverse=True)[:6])
            rows.append((names[v.name], dtype, sum(times for times, _ in operations), listed))
    return Table("Executed operations", ("variant", "type", "operations", "most frequent"), tuple(rows))
