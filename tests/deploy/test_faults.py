"""What goes wrong while variants are made and measured: told in words, kept apart from the rest, and gone on from."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

import lmkit as lk
from lmkit.deploy import techniques
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.compare import records
from lmkit.deploy.compare.benchmark import Benchmark, Cancelled, Settings
from lmkit.deploy.compare.comparison import Comparison
from lmkit.deploy.measure.statistics import Interval, Latency
from lmkit.deploy.model_files import save_model
from lmkit.deploy.techniques.base import TECHNIQUES
from lmkit.deploy.variant import Variant
from lmkit.system.rpc import MeasurementFailed, Process, describe_error


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    """A tiny run; each test takes a copy of it."""
    return lk.train(
        data="wine", model={"hidden": [8]}, epochs=2, inline=True, runs=tmp_path_factory.mktemp("runs") / "kept"
    )


@pytest.fixture
def own_techniques(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own techniques are forgotten after it."""
    techniques.techniques()
    monkeypatch.setattr(TECHNIQUES, "_implementations", dict(TECHNIQUES.items()))


def measured(run: lk.Run, scratch: Path, *names: str, **settings: Any) -> dict[str, Variant]:
    """One pass of few rounds; technique → what was found."""
    found, session = passing(run, scratch, *names, **settings)
    session.run()
    return {v.technique: v for v in found}


def passing(
    run: lk.Run, scratch: Path, *names: str, rounds: int = 3, again: bool = False, tell: Any = None, **more: Any
) -> tuple[Comparison, Benchmark]:
    scratch.mkdir(exist_ok=True)
    found = Comparison(
        Variant(run.name, name, techniques.find(name).group, folder=str(run.path)) for name in ("baseline", *names)
    )
    settings = Settings((1,), 1, rounds, again, **more)
    return found, Benchmark(found.variants, [run], scratch, settings, tell or (lambda _: None))


def copied(run: lk.Run, folder: Path) -> lk.Run:
    import shutil

    return lk.attach(shutil.copytree(run.path, folder / run.path.name, ignore=shutil.ignore_patterns("variants")))


def children() -> list[psutil.Process]:
    return [c for c in psutil.Process().children() if "lmkit.deploy" in " ".join(c.cmdline())]


@pytest.fixture
def quick(own_techniques: None) -> None:
    """A baseline, and a copy of it, that processes load in a moment: they need neither framework."""
    kernel = np.random.default_rng(0).standard_normal((13, 3)).astype("f4")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 13])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(kernel, "w")],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

    for name, group in (("baseline", "baseline"), ("copy", "convert")):

        @techniques.technique(name, group)
        def copy(subject: Any, folder: Path, name: str = name) -> Artifact:
            (folder / "model.onnx").write_bytes(content)
            return Artifact("onnxruntime", "model.onnx", (13,), "float32", {"technique": name})


# -- a process that ends ----------------------------------------------------------------------------


def test_a_killed_process_fails_its_variant_alone(run: lk.Run, tmp_path: Path, quick: None) -> None:
    @techniques.technique("killed", "convert")
    def killed(subject: Any, folder: Path) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    @techniques.technique("dies-later", "convert")
    def dies_later(subject: Any, folder: Path) -> Artifact:
        (folder / "dies.py").write_text("")
        return Artifact("dying_runtime", "dies.py", (13,), "float32", {"technique": "dies-later"})

    (tmp_path / "dying_runtime.py").write_text(
        "import os, signal\nLIBRARIES = PACKAGES = ()\n"
        "class Model:\n    def predict(self, X):\n        if len(X) > 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return X\n"
        "def load(folder, artifact, threads): return Model()\n"
    )
    mine = copied(run, tmp_path)
    names = ("killed", "dies-later", "copy")
    from lmkit.deploy.runtimes import RUNTIMES

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        patch.setattr(RUNTIMES, "_implementations", dict(RUNTIMES.items()))
        RUNTIMES.add("dying_runtime", importlib.import_module("dying_runtime"))
        found = measured(mine, tmp_path / "scratch", *names)
    assert {name: v.state for name, v in found.items()} == {
        "baseline": "measured",
        "killed": "failed",
        "dies-later": "failed",
        "copy": "measured",
    }
    died = "its process was killed (signal 9), as when memory runs out"
    assert found["killed"].reason == found["dies-later"].reason == died
    assert not list((mine.path / "variants").glob(".*-new"))
    assert [v.technique for v in records.read_variants(mine)] == ["baseline", "copy", "killed", "dies-later"]
    assert {v.technique: v.reason for v in records.read_variants(mine)}["killed"] == died


def test_an_error_of_the_system_fails_its_variant_in_words(
    run: lk.Run, tmp_path: Path, own_techniques: None, here: Any
) -> None:
    @techniques.technique("hungry", "convert")
    def hungry(subject: Any, folder: Path) -> Any:
        raise MemoryError

    @techniques.technique("full", "convert")
    def full(subject: Any, folder: Path) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.bin")

    mine = copied(run, tmp_path)
    found = measured(mine, tmp_path / "scratch", "hungry", "full")
    assert {name: v.state for name, v in found.items()} == {
        "baseline": "measured",
        "hungry": "failed",
        "full": "failed",
    }
    assert found["hungry"].reason == "ran out of memory"
    assert found["full"].reason == (
        "No space left on device: 'model.bin'; free some space and compare again; finished variants are saved"
    )
    assert not list((mine.path / "variants").glob(".*-new"))
    assert [v.technique for v in records.read_variants(mine)] == ["baseline", "hungry", "full"]


def test_memory_that_is_refused_is_an_answer() -> None:
    with pytest.raises(MemoryError) as found:
        bytearray(2**62)
    assert describe_error(found.value) == "ran out of memory"


def test_how_a_process_came_to_its_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "leaves.py").write_text("import sys; print('no use', file=sys.stderr); sys.exit(3)")
    (tmp_path / "hangs.py").write_text("import time; time.sleep(600)")
    with Process("leaves") as process, pytest.raises(MeasurementFailed) as left:
        process.ask("make")
    assert str(left.value) == "its process ended (3): no use"
    with Process("hangs", patience=0.5) as process, pytest.raises(MeasurementFailed) as late:
        process.ask("make")
    assert process.over
    assert str(late.value) == (
        "its process did not answer 'make' within 0.5 seconds and was killed; allow more: patience=1"
    )


def test_what_cannot_be_loaded_into_memory_fails_in_words(tmp_path: Path) -> None:
    with Process("lmkit.deploy.measure.server", tmp_path / "none", 1, tmp_path / "none.npy") as process:
        with pytest.raises(MeasurementFailed, match=r"FileNotFoundError: .*artefact\.json") as found:
            process.ask("load")
        assert found.value.kind == "FileNotFoundError"
        process.process.send_signal(signal.SIGSEGV)
        process.process.wait()
        with pytest.raises(MeasurementFailed, match=r"its process crashed \(signal 11, Segmentation fault\)"):
            process.ask("load")


def test_a_pass_waits_as_long_as_it_is_told(run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr("lmkit.deploy.compare.benchmark.Process", lambda *_, patience, **__: asked.append(patience))
    _, session = passing(run, tmp_path / "scratch", patience=7.0)
    session._process("lmkit.deploy.compare.builder", run.path)
    assert asked == [7.0]


# -- a folder that cannot be written ----------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_made(
    run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = copied(run, tmp_path)
    (mine.path / "variants").write_text("a file where the folder should be")
    monkeypatch.setattr("lmkit.deploy.compare.benchmark.Process", _refused)
    found = measured(mine, tmp_path / "scratch", "onnx")
    for variant in found.values():
        assert variant.state == "failed"
        assert variant.reason.startswith(f"{str(mine.path / 'variants')!r} cannot be written: ")
        assert variant.reason.endswith("copy the run's folder to a writable place")


def _refused(*_: object, **__: object) -> None:
    raise AssertionError("a process was started")


def test_numbers_that_cannot_be_kept_are_shown_all_the_same(
    run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Any
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lmkit.deploy.compare.benchmark.save_record", full)
    found = measured(copied(run, tmp_path), tmp_path / "scratch")
    assert found["baseline"].state == "measured"
    assert found["baseline"].reason == "not saved in the run's folder: No space left on device"


# -- files that change, settings that change ----------------------------------------------------------


def test_what_no_longer_holds_is_measured_anew(
    run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Any
) -> None:
    mine, scratch = copied(run, tmp_path), tmp_path / "scratch"
    first = measured(mine, scratch, "torch-export", "saved-model")
    assert first["saved-model"].state == "not applicable"
    onnx = mine.path / "variants" / "torch-export"
    made = (onnx / "artefact.json").stat().st_mtime_ns

    with monkeypatch.context() as patch:
        patch.setattr("lmkit.deploy.compare.benchmark.Process", _refused)
        assert measured(mine, scratch, "torch-export", "saved-model") == first
        assert records.read_variants(mine) == [*first.values()]

    again = measured(mine, scratch, "torch-export", rounds=4)
    assert again["torch-export"].latency != first["torch-export"].latency
    assert (onnx / "artefact.json").stat().st_mtime_ns == made  # the same files, measured otherwise

    (onnx / "model.pt2").write_bytes(b"another model")
    assert [v.state for v in records.read_variants(mine)] == ["measured", "pending", "not applicable"]
    assert records.read_variants(mine)[1].reason == "its files have changed since it was measured; compare again"
    third = measured(mine, scratch, "torch-export", rounds=4)
    assert third["torch-export"].state == "measured"
    assert third["torch-export"].metrics == first["torch-export"].metrics
    assert (onnx / "artefact.json").stat().st_mtime_ns != made

    now = records.conditions()
    for other in ({**now, "machine": ["another"]}, {**now, "versions": {**now["versions"], "torch": "0.1"}}):
        settings = {"batches": [1], "threads": 1, "rounds": 4}
        assert records.cached(onnx, settings, now)
        assert not records.cached(onnx, settings, other)
        assert not records.is_current(onnx, other, "")
    for changed in ({"threads": 2}, {"batches": [1, 2]}, {"rounds": 5}):
        assert not records.cached(onnx, {**settings, **changed}, now)


def test_variants_that_were_measured_otherwise_are_not_mixed(run: lk.Run, tmp_path: Path) -> None:
    mine, where = copied(run, tmp_path), records.conditions()
    for name, rounds in (("baseline", 15), ("onnx", 15), ("litert", 99)):
        place = mine.path / "variants" / name
        place.mkdir(parents=True)
        (place / "file").write_text(name)
        Artifact("torch", "file", (13,), "float32", {}).write(place)
        one = Interval(1e-3, 1e-3, 1e-3)
        times = {
            "latency": (Latency(1, one, None, one, one, 100),),
            "seconds": {"import_seconds": 1, "load_seconds": 1},
        }
        variant = Variant(mine.name, name, "convert", "measured", **times)
        records.save_record(place, variant, {"batches": [1], "threads": 1, "rounds": rounds}, where)
    states = {v.technique: (v.state, v.reason) for v in records.read_variants(mine)}
    assert states["baseline"] == states["onnx"] == ("measured", "")
    assert states["litert"] == (
        "pending",
        "measured with other settings, versions or machine than the baseline; compare again",
    )


def test_a_file_that_changes_between_making_and_measuring_is_made_anew(
    run: lk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Any
) -> None:
    mine = copied(run, tmp_path)
    asked: list[str] = []
    ask = here.ask

    def meddling(self: Any, do: str, **order: Any) -> Any:
        found = ask(self, do, **order)
        if do == "make":
            asked.append(order["technique"])
            if asked.count("torch-export") == 1 and order["technique"] == "torch-export":
                (mine.path / "variants" / "torch-export" / "model.pt2").write_bytes(b"another")
        return found

    monkeypatch.setattr(here, "ask", meddling)
    found = measured(mine, tmp_path / "scratch", "torch-export")
    assert asked == ["baseline", "torch-export", "torch-export"]
    assert found["torch-export"].state == "measured"
    assert found["torch-export"].divergence < 1e-5


# -- the end from outside -----------------------------------------------------------------------------


def test_an_interrupt_ends_the_processes_keeps_what_is_finished_and_the_same_call_goes_on(
    run: lk.Run, tmp_path: Path, quick: None
) -> None:
    copy = techniques.find("copy").make

    @techniques.technique("slow", "convert")
    def slow(subject: Any, folder: Path) -> Artifact:
        mark = subject.run.path / "slow"
        if not mark.exists():
            mark.touch()
            time.sleep(600)
        return copy(subject, folder)

    mine, scratch = copied(run, tmp_path), tmp_path / "scratch"

    def interrupt() -> None:
        while not (mine.path / "slow").exists() and not ended.is_set():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    ended = threading.Event()
    watching = threading.Thread(target=interrupt)
    watching.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            measured(mine, scratch, "slow")
    finally:
        ended.set()
        watching.join()
    assert not children()
    assert not list((mine.path / "variants").glob(".*-new"))
    found, session = passing(mine, scratch, "slow")
    before = records.read_variants(mine)
    assert [v.technique for v in before] == ["baseline"]
    session.run()
    assert [v.state for v in found] == ["measured", "measured"]
    assert found[0] == before[0]
    session.cancel()
    with pytest.raises(Cancelled):
        session._process("lmkit.deploy.compare.builder", mine.path)


# -- runs that have not ended -------------------------------------------------------------------------


def test_a_run_that_is_training_is_waited_for_and_one_that_failed_refused(
    run: lk.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], here: Any
) -> None:
    mine = lk.attach(copied(run, tmp_path).path)
    folder, status = mine.folder, mine.folder.status()
    folder.write_status(replace(status, state="running", pid=os.getpid()))
    ends = threading.Timer(0.5, folder.write_status, [status])
    ends.start()
    found = lk.compare(mine, ["saved-model"], batches=(1,), rounds=3, wait=True)
    ends.join()
    assert [v.state for v in found] == ["measured", "not applicable"]
    assert "it will be compared once it has completed" in capsys.readouterr().err
    folder.write_status(replace(status, state="failed", reason="why"))
    for ask in (lambda: lk.compare(mine), lambda: lk.bundle(mine, "onnx", tmp_path / "out")):
        with pytest.raises(lk.RunStateError, match=r"it is failed \(why\), expected completed"):
            ask()


# -- techniques of one's own ------------------------------------------------------------------------------


def test_techniques_of_ones_own_are_made_by_the_maker(
    run: lk.Run, tmp_path: Path, own_techniques: None, here: Any
) -> None:
    factor = 0.5

    @techniques.technique("halved", "quantize")
    def halved(subject: Any, folder: Path) -> Artifact:
        """Weights times a number of the notebook's."""
        from lmkit.deploy.model_files import save_model

        weights = {name: factor * values for name, values in subject.weights.items()}
        return save_model(subject.with_model(weights=weights), folder, {"technique": "halved", "factor": factor})

    @techniques.model_technique("same", "prune")
    def same(subject: Any) -> Any:
        """The model as it is, said to be pruned by 30 %."""
        return subject.with_model(units_asked=0.3, parameters_removed=0.0)

    mine, scratch = copied(run, tmp_path), tmp_path / "scratch"
    found = measured(mine, scratch, "halved", "same+torch-export")
    assert found["halved"].state == "measured"
    assert found["halved"].recipe == {"technique": "halved", "factor": 0.5}
    assert 0.1 < found["halved"].divergence < 1
    assert "should remove 30% of the units, but removed 0%" in found["same+torch-export"].flags

    factor = 0.25
    again = measured(mine, scratch, "halved", rounds=4)  # another closure: made anew
    assert again["halved"].recipe["factor"] == 0.25

    held = threading.Lock()

    @techniques.technique("unsendable", "convert")
    def unsendable(subject: Any, folder: Path) -> Artifact:
        """Takes a lock along."""
        with held:
            return save_model(subject, folder, {})

    third = measured(mine, scratch, "unsendable", rounds=4)
    assert third["unsendable"].state == "failed"
    assert "'held' in it is a lock" in third["unsendable"].reason
    assert "inline" not in third["unsendable"].reason


# -- rows to calibrate on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnx-int8-static", "pt2e-int8-static"])
@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (np.zeros((0, 13), "f4"), "calibration: the training part is empty, expected at least one row of shape (13,)"),
        (np.zeros((9, 12), "f4"), "calibration: given training rows of shape (12,), expected (13,)"),
        (np.full((9, 13), np.nan, "f4"), "calibration: 9 of 9 training rows hold NaN or infinity"),
    ],
)
def test_rows_that_ranges_cannot_be_taken_on_are_refused_before_the_library_is_called(
    run: lk.Run, tmp_path: Path, name: str, rows: np.ndarray, reason: str
) -> None:
    subject = techniques.TrainedModel(run)
    training = subject.data.training._replace(X=rows)
    subject.__dict__["data"] = subject.data._replace(training=training)
    with pytest.raises(techniques.NotApplicable) as found:
        techniques.find(name).make(subject, tmp_path)
    assert str(found.value).startswith(reason)
