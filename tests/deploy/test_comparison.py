"""A comparison of a small run, for real: made, loaded and timed in processes of their own, scored on the test part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrowing import require_value
from sklearn.datasets import load_digits

import lmkit as lk
from lmkit.commands import cli
from lmkit.commands.output import DONE, REFUSED
from lmkit.deploy import techniques
from lmkit.deploy.artifact import Artifact, StaleArtifact
from lmkit.deploy.compare import comparison as comparing
from lmkit.deploy.techniques.base import TECHNIQUES

NAMES = ["onnx", "onnx-int8-static", "saved-model"]
ROUNDS = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    return lk.train(
        data="digits", model={"hidden": [64, 32]}, epochs=6, inline=True, runs=tmp_path_factory.mktemp("runs")
    )


@pytest.fixture(scope="module")
def compared(run: lk.Run) -> comparing.Comparison:
    told: list[str] = []
    found = lk.compare(run, NAMES, batches=(1, 8), rounds=ROUNDS, tell=lambda _, doing: told.append(doing))
    assert told[-2].endswith("saved-model")
    assert told[-1] == ""
    return found


def test_every_technique_is_a_line_and_none_stops_the_rest(compared: comparing.Comparison) -> None:
    assert [v.technique for v in compared] == ["baseline", *NAMES]
    assert [v.state for v in compared] == ["measured"] * 3 + ["not applicable"]
    assert compared[-1].reason == (
        "PyTorch does not write saved_model; let TensorFlow do it: other-framework+saved-model"
    )


def test_scores_are_those_of_the_reloaded_files(compared: comparing.Comparison, run: lk.Run) -> None:
    import onnxruntime

    X, y = _test_part()
    for variant in compared.measured:
        if variant.technique.startswith("onnx"):
            file = run.path / "variants" / variant.technique / "model.onnx"
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            logits = session.run(None, {session.get_inputs()[0].name: X})[0]
            assert variant.metrics["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == y), abs=1 / len(y))
    assert compared[0].metrics["accuracy"] == pytest.approx(run.metrics["accuracy"])


def _test_part() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(len(y)), test_size=360, random_state=0, stratify=y)
    train, _ = train_test_split(rest, test_size=360, random_state=0, stratify=y[rest])
    return StandardScaler().fit(X[train]).transform(X[test]).astype("f4"), y[test]


def test_what_should_be_faithful_is(compared: comparing.Comparison) -> None:
    by_name = {v.technique: v for v in compared}
    assert by_name["baseline"].divergence == 0
    assert require_value(by_name["onnx"].divergence) < 1e-5
    assert 1e-4 < require_value(by_name["onnx-int8-static"].divergence) < 0.3
    assert require_value(by_name["onnx-int8-static"].agreement) > 0.9
    assert all(not v.flags for v in compared.measured)


def test_it_is_proven_what_was_executed(compared: comparing.Comparison) -> None:
    kinds = {v.technique: {dtype for _, dtype, _ in v.operations} for v in compared.measured}
    assert kinds["baseline"] == {"float32"}
    assert "int8" not in kinds["onnx"]
    assert "int8" in kinds["onnx-int8-static"]


def test_times_are_ratios_with_intervals_beside_a_control(compared: comparing.Comparison) -> None:
    for variant in compared.measured:
        assert [one.batch for one in variant.latency] == [1, 8]
        for one in variant.latency:
            assert one.ratio.low <= one.ratio.value <= one.ratio.high
            assert one.control.low <= one.control.value <= one.control.high
            assert 0 < one.p50.low <= one.p50.value <= one.p50.high
            assert one.rows_per_second == pytest.approx(one.batch / one.p50.value)
    onnx = next(v for v in compared if v.technique == "onnx")
    assert onnx.seconds["import_seconds"] > 0
    assert 0 < onnx.peak_bytes < 200e6


def test_sizes_count_every_file_once(compared: comparing.Comparison, run: lk.Run) -> None:
    for variant in compared.measured:
        folder = run.path / "variants" / variant.technique
        files = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("artefact.json", "measurement.json")]
        assert variant.size_bytes == sum(p.stat().st_size for p in files)
    sizes = {v.technique: v.size_bytes for v in compared.measured}
    assert sizes["onnx-int8-static"] < 0.6 * sizes["onnx"]


def test_what_was_measured_is_not_measured_again(
    compared: comparing.Comparison, run: lk.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("lmkit.deploy.compare.benchmark.Process", refused)
    again = lk.compare(run, NAMES[:2], batches=(1, 8), rounds=ROUNDS)
    assert list(again) == list(compared)[:3]


def test_a_file_that_was_changed_is_not_scored_as_the_one_that_was_made(
    compared: comparing.Comparison, run: lk.Run, tmp_path: Path
) -> None:
    folder = shutil.copytree(run.path / "variants" / "onnx", tmp_path / "onnx")
    assert Artifact.read(folder).entry == "model.onnx"
    (folder / "model.onnx").write_bytes(b"something else")
    with pytest.raises(StaleArtifact, match="has changed since it was built"):
        Artifact.read(folder)


def test_it_is_told_as_plain_values(compared: comparing.Comparison) -> None:
    told = json.loads(json.dumps(compared.to_list()))
    onnx = told[1]
    assert {"name", "technique", "state", "size_bytes", "latency_ms", "ratio", "metrics", "divergence", "flags"} <= set(
        onnx
    )
    assert set(onnx["latency_ms"]) == {"p50", "ci95", "p95"}
    assert onnx["ratio"]["ci95"][0] <= onnx["ratio"]["value"]
    assert told[-1]["latency_ms"] is None


def test_it_is_a_table_and_a_chart(compared: comparing.Comparison) -> None:
    from lmkit.charts.variants import comparison

    text = compared.table.text
    assert all(name in text for name in NAMES)
    assert "not applicable: PyTorch does not write saved_model" in text
    chart = comparison(compared)
    assert "onnx-int8-static" in chart.text
    assert chart.png().startswith(b"\x89PNG")
    assert {trace.name for trace in chart.figure.data} == {"front", "baseline", "convert", "quantize"}


def test_it_is_asked_for_in_a_terminal(
    compared: comparing.Comparison, run: lk.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(run.path), "-t", "onnx", "-t", "onnx-int8-static", "--batch", "1", "--batch", "8"]
    words += ["--rounds", str(ROUNDS)]
    assert cli.main([*words, "--for", "smallest", "--json"]) == DONE
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [v["technique"] for v in told["variants"]] == ["baseline", "onnx", "onnx-int8-static"]
    assert told["recommended"].endswith("/onnx-int8-static")
    assert cli.main(words) == DONE
    shown = capsys.readouterr().out
    assert "ratio to baseline" in shown
    assert "within 1 point of accuracy" in shown


def test_outputs_that_are_not_finite_are_none_in_json(
    run: lk.Run, tmp_path: Path, here: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    techniques.techniques()
    monkeypatch.setattr(TECHNIQUES, "_implementations", dict(TECHNIQUES.items()))

    @techniques.technique("broken", "quantize")
    def broken(subject: Any, folder: Path) -> Artifact:
        """Weights that are no numbers."""
        from lmkit.deploy.model_files import save_model

        weights = {name: np.nan * values for name, values in subject.weights.items()}
        return save_model(subject.with_model(weights=weights), folder, {"technique": "broken", "loss": float("nan")})

    mine = shutil.copytree(run.path, tmp_path / run.path.name, ignore=shutil.ignore_patterns("variants"))
    assert cli.main(["compare", str(mine), "-t", "broken", "--batch", "1", "--rounds", "3", "--json"]) == DONE

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    told = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=refused)
    base, found = told["variants"]
    assert (base["divergence"], found["divergence"], found["agreement"]) == (0.0, None, None)
    assert found["recipe"] == {"technique": "broken", "loss": None}
    assert "outputs are not finite for 360 of 360 rows" in found["flags"]


def test_a_variant_is_bundled(compared: comparing.Comparison, run: lk.Run, tmp_path: Path, here: Any) -> None:
    onnx = next(v for v in compared if v.technique == "onnx")
    folder = onnx.bundle(tmp_path / "out")
    X, _ = load_digits(return_X_y=True)
    np.testing.assert_array_equal(lk.load_bundle(folder).predict(X[:200]), run.predict(X[:200]))
    assert cli.main(["bundle", str(run.path), "onnx", str(tmp_path / "again")]) == DONE
    assert (tmp_path / "again" / "checksums.txt").is_file()
    assert cli.main(["bundle", str(run.path), "onnx", str(tmp_path / "again")]) == REFUSED


def test_an_unknown_technique_and_an_unfinished_run_are_refused(run: lk.Run, tmp_path: Path) -> None:
    with pytest.raises(lk.ConfigError, match=r"techniques: given 'onx', .*onnx"):
        lk.compare(run, ["onx"])
    stopped = lk.train(data="wine", epochs=2, inline=True, runs=tmp_path)
    stopped.folder.write_status(stopped.status.__class__(**{**stopped.status.__dict__, "state": "stopped"}))
    with pytest.raises(lk.RunStateError, match="expected completed"):
        lk.compare(stopped)
