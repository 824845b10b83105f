"""Bundles whose ONNX file takes rows as in the table, held to NumPy, to the run, and to the file of prepared rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import lmkit as lk
from lmkit.commands import cli
from lmkit.deploy.bundle.raw_bytes import DOMAINS, read_tokens
from lmkit.deploy.bundle.raw_text import OPSET, Nodes
from lmkit.deploy.bundle.verify import BundleError
from lmkit.preprocessing.text import CHARACTERS

pytestmark = pytest.mark.usefixtures("here_in_module")
draw = np.random.default_rng(6)


def table(rows: int = 200) -> pd.DataFrame:
    """Numbers with gaps, one of them far from 0, and two columns of numbers that are categories."""
    frame = pd.DataFrame({"zone": draw.choice([10.0, 20.0, 30.0], rows), "age": draw.normal(40, 10, rows)})
    frame["far"], frame["floor"] = draw.normal(1e9, 5, rows), draw.choice([0, 1], rows)
    frame.loc[::9, "age"] = np.nan
    frame["y"] = (frame["age"].fillna(40) > 40).astype(int) + (frame["zone"] == 10)
    return frame


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(runs: Path) -> tuple[lk.Run, pd.DataFrame]:
    frame = table()
    run = lk.train(
        data=(frame, "y"),
        categorical=["zone", "floor"],
        missing="median",
        model={"hidden": [8]},
        epochs=2,
        inline=True,
        runs=runs,
    )
    return run, frame.drop(columns="y")


def answers(bundle: Path, rows: np.ndarray) -> np.ndarray:
    """What the file itself makes of rows, as a server that knows nothing of lmkit."""
    (file,) = bundle.rglob("*.onnx")
    session = onnxruntime.InferenceSession(str(file))
    outputs: np.ndarray = session.run(None, {session.get_inputs()[0].name: rows})[0]
    return outputs


@pytest.mark.parametrize("technique", ["onnx", "onnx-int8-dynamic"])
def test_a_file_of_raw_rows_answers_as_one_of_prepared_rows(
    trained: tuple[lk.Run, pd.DataFrame], technique: str, tmp_path: Path
) -> None:
    run, frame = trained
    raw = lk.bundle(run, technique, tmp_path / "raw", raw_rows=True)
    plain = lk.load_bundle(lk.bundle(run, technique, tmp_path / "plain"))
    outputs = answers(raw, frame.to_numpy(dtype=np.float64))
    np.testing.assert_allclose(outputs, plain.outputs(frame), rtol=1e-6, atol=1e-6)
    loaded = lk.load_bundle(raw)
    np.testing.assert_array_equal(loaded.predict(frame), plain.predict(frame))
    np.testing.assert_array_equal(loaded.predict(frame.to_dict("records")), plain.predict(frame))
    assert loaded.artifact.files == json.loads((raw / "artefact" / "artefact.json").read_text())["files"]


def test_missing_and_unseen_values_become_what_the_preprocessing_makes_of_them(
    trained: tuple[lk.Run, pd.DataFrame], tmp_path: Path
) -> None:
    run, _ = trained
    raw = lk.bundle(run, "onnx", tmp_path / "raw", raw_rows=True)
    rows = pd.DataFrame({"zone": [99.0, np.nan], "age": [np.nan, 41], "far": [1e9, 1e9], "floor": [1, np.nan]})
    plain = lk.load_bundle(lk.bundle(run, "onnx", tmp_path / "plain"))
    with pytest.warns(UserWarning, match="zone"):
        expected = plain.outputs(rows)
    np.testing.assert_allclose(answers(raw, rows.to_numpy(dtype=np.float64)), expected, rtol=1e-6, atol=1e-6)


def test_triton_the_signature_and_the_card_say_which_rows(trained: tuple[lk.Run, pd.DataFrame], tmp_path: Path) -> None:
    run, frame = trained
    words = ["bundle", str(run.path), "onnx", str(tmp_path / "out"), "--layout", "triton", "--raw-rows"]
    assert cli.main(words) == 0
    config = next((tmp_path / "out").rglob("config.pbtxt")).read_text()
    assert 'input [ { name: "rows" data_type: TYPE_FP64 dims: [ 4 ] } ]' in config
    signature = json.loads((tmp_path / "out" / "signature.json").read_text())
    assert signature["tensors"]["input"] == {"name": "rows", "shape": [None, 4], "dtype": "float64"}
    assert [column["type"] for column in signature["inputs"]] == ["number"] * 4
    example = json.loads((tmp_path / "out" / "example.json").read_text())
    sent = np.array(example["tensors"]["input"])
    ages = [row["age"] for row in example["rows"]]
    fill = run.preprocessing.numbers["age"]["fill"]  # of a missing one
    np.testing.assert_array_equal(sent[:, 1], [fill if age is None else age for age in ages])
    np.testing.assert_allclose(answers(tmp_path / "out", sent), example["tensors"]["output"], rtol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "is the model with its preprocessing: rows as in `Input` in" in card
    assert "give wrong results" not in card
    assert frame.columns.tolist() == [column["name"] for column in signature["inputs"]]


def test_images_and_regressions(runs: Path, tmp_path: Path) -> None:
    run = lk.train(data="digits", model={"family": "cnn", "channels": [4]}, epochs=1, inline=True, runs=runs)
    raw = lk.bundle(run, "onnx", tmp_path / "digits", raw_rows=True)
    images = load_digits().images[:20]
    np.testing.assert_array_equal(run.preprocessing.decode(answers(raw, images[..., None])), run.predict(images))
    np.testing.assert_array_equal(lk.load_bundle(raw).predict(images), run.predict(images))
    run = lk.train(data="diabetes", framework="tensorflow", model={"hidden": [4]}, epochs=1, inline=True, runs=runs)
    raw = lk.bundle(run, "onnx", tmp_path / "diabetes", raw_rows=True)
    rows = draw.normal(size=(9, 10)) * 0.05
    np.testing.assert_allclose(lk.load_bundle(raw).predict(rows), run.predict(rows), rtol=1e-5)


def people(rows: int = 90) -> pd.DataFrame:
    """Names, dates in several formats, amounts, units, signs for missing values, truth values, levels."""
    when = pd.date_range("2021-02-27 23:59:59", "2024-03-01", periods=rows)
    amounts = draw.normal(5000, 900, rows)
    frame = pd.DataFrame(
        {
            "town": draw.choice(["Bern", "Genève", None], rows),
            "iso": when.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
            "day": when.strftime("%Y-%m-%d"),
            "de": when.strftime("%d.%m.%Y %H:%M"),
            "us": when.strftime("%b %d, %Y"),
            "half": when.strftime("%m/%d/%Y %I:%M %p"),
            "price": [f"${v:,.2f}" if i % 7 else f"(${v:,.2f})" for i, v in enumerate(amounts)],
            "euros": [f"{v:,.2f} €".translate({44: ".", 46: ","}) for v in amounts],
            "mass": [f"{v:.1f} kg" for v in draw.normal(70, 9, rows)],
            "age": ["?" if i % 9 == 0 else f"{v:.1f}" for i, v in enumerate(draw.normal(40, 9, rows))],
            "flag": draw.integers(0, 2, rows).astype(bool),
            "level": draw.integers(1, 4, rows),
            "y": draw.normal(size=rows),
        }
    )
    frame.loc[::11, "de"] = None
    return frame


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_names_dates_and_amounts_are_read_inside_the_file(runs: Path, framework: str, tmp_path: Path) -> None:
    frame = people()
    fields = {"missing": "median", "categorical": ["level"], "framework": framework}
    run = lk.train(data=(frame, "y"), **fields, model={"hidden": [6]}, epochs=1, inline=True, runs=runs)
    raw, plain = (lk.bundle(run, "onnx", tmp_path / name, raw_rows=name == "raw") for name in ("raw", "plain"))
    rows = frame.drop(columns="y")
    expected = lk.load_bundle(plain).outputs(rows)
    loaded = lk.load_bundle(raw)
    np.testing.assert_allclose(loaded.outputs(rows), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(loaded.outputs(rows.to_dict("records")), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(loaded.predict(rows[:0]), [])
    # a client that sends the cells of a file
    texts = rows.assign(flag=rows["flag"].astype(int)).astype(str).where(rows.notna(), "")
    np.testing.assert_allclose(answers(raw, texts.to_numpy(dtype=object)), expected, rtol=1e-6, atol=1e-6)
    signature = json.loads((raw / "signature.json").read_text())
    tensor = signature["tensors"]["input"]
    assert (tensor["shape"], tensor["dtype"]) == ([None, 12], "str")
    kinds = [column["type"] for column in signature["inputs"]]
    assert kinds == ["category", *["date"] * 5, *["number"] * 5, "category"]


def test_codes_for_missing_numbers_are_read_inside_the_file(runs: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(60.0) % 7, "z": draw.normal(size=60), "y": np.arange(60) % 2})
    frame.loc[::9, "x"] = -999
    fields = {"missing_values": [-999], "missing": "mean"}
    run = lk.train(data=(frame, "y"), **fields, model={"hidden": [2]}, epochs=1, inline=True, runs=runs)
    raw, plain = (lk.bundle(run, "onnx", tmp_path / name, raw_rows=name == "raw") for name in ("raw", "plain"))
    rows = frame[["x", "z"]].to_numpy()
    expected = lk.load_bundle(plain).outputs(frame.drop(columns="y"))
    np.testing.assert_allclose(answers(raw, rows), expected, rtol=1e-6, atol=1e-6)


def test_texts_become_the_bytes_of_utf8_inside_the_file() -> None:
    nodes, length = Nodes("t_"), 12
    result = read_tokens(nodes, "texts", length, 256)
    info = onnx.helper.make_tensor_value_info
    texts = info("texts", onnx.TensorProto.STRING, [None, 1])
    graph = onnx.helper.make_graph(
        nodes.nodes, "g", [texts], [info(result, onnx.TensorProto.INT64, None)], nodes.constants
    )
    versions = [onnx.helper.make_opsetid(*domain) for domain in {"": OPSET, **DOMAINS}.items()]
    model = onnx.helper.make_model(graph, opset_imports=versions, ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    ends = [chr(code) for start, end in CHARACTERS for code in (start, end - 1)]
    rows = ["the quick", "größe – ", "漢字 😀\n", "", " \t", "x" * 12, "é" * 9, "\x7f\x80\u07ff\u0800", *ends]
    for given in (rows, [""], ["", ""], ["a"]):
        (tokens,) = session.run(None, {"texts": np.array(given, dtype=object)[:, None]})
        for text, row in zip(given, tokens.tolist(), strict=True):
            assert row == ([*text.encode()] + [256] * length)[:length]
    (tokens,) = session.run(None, {"texts": np.array([["\U00020000"]], dtype=object)})
    assert bytes(tokens[0][:3].tolist()).decode() == "\ufffd"


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "durations": (
        {"took": pd.to_timedelta(np.arange(60), unit="h")},
        "onnx",
        r"'took' has durations, which ONNX cannot read; train without, data: \{drop: \[took\]\}",
    ),
    "either sign": ({"mass": ["1,5", "2.5", "3"] * 20}, "onnx", "'mass' has numbers with either decimal sign"),
    "another runtime": ({}, "baseline", "needs ONNX, given model.json for torch; use technique onnx"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_put_into_the_file_is_refused(runs: Path, reason: str, tmp_path: Path) -> None:
    columns, technique, expected = REFUSED[reason]
    frame = pd.DataFrame({"x": np.arange(60.0) * 2, **columns, "y": np.arange(60) % 2})
    run = lk.train(data=(frame, "y"), model={"hidden": [2]}, epochs=1, inline=True, runs=runs)
    with pytest.raises(BundleError, match=expected):
        lk.bundle(run, technique, tmp_path / "out", raw_rows=True)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
