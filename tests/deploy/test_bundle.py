"""Bundles: the same answers as the run with nothing but the runtime, every file accounted for, servers' layouts."""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from narrowing import require_value
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lmkit as lk
from lmkit.deploy import runtimes
from lmkit.deploy.bundle import bundle as module
from lmkit.deploy.bundle.bundle import bundle
from lmkit.deploy.bundle.raw_rows import as_raw
from lmkit.deploy.bundle.verify import BundleError
from lmkit.deploy.compare.builder import Builder
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.rpc import Process

pytestmark = pytest.mark.usefixtures("here_in_module")  # but for one bundle, which processes of their own make

FORBIDDEN = ("torch", "tensorflow", "keras", "pandas", "sklearn", "scipy", "pydantic", "psutil", "yaml")
"""What a deployed ONNX model must not need."""

draw = np.random.default_rng(3)
ROWS = 400
TABLE = pd.DataFrame(
    {
        "length (cm)": draw.normal(50, 20, ROWS),
        "town": draw.choice(["Bern", "Genf", "Uri"], ROWS),
        "age": draw.integers(18, 90, ROWS).astype(float),
        "level": draw.integers(1, 4, ROWS),
    }
)
TABLE["kind"] = np.where(
    TABLE["length (cm)"] + 30 * (TABLE["town"] == "Uri") + draw.normal(0, 8, ROWS) > 55, "yes", "no"
)
TABLE["price"] = 100 + 3 * TABLE["length (cm)"] + 40 * (TABLE["level"] == 2)
HOLES = TABLE.assign(age=TABLE["age"].mask(TABLE.index % 9 == 0), town=TABLE["town"].mask(TABLE.index % 11 == 0))
FRESH = HOLES.drop(columns=["kind", "price"]).head(30)
MLP = {"family": "mlp", "hidden": [8], "initializer": "he"}
SGD = {"name": "sgd", "momentum": 0.9}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("bundled")


def trained(root, **fields):
    recipe = {"framework": "torch", "model": MLP, "optimizer": SGD}
    return lk.train(inline=True, runs=root / "runs", epochs=2, **{**recipe, **fields})


@pytest.fixture(scope="module")
def classes(root):
    """Numbers, categories and gaps; two classes that are words."""
    path = root / "kinds.csv"
    HOLES.drop(columns="price").to_csv(path, index=False)
    fields = {"data.target": "kind", "data.categorical": ["level"], "data.missing": "most_frequent"}
    return trained(root, data=str(path), **fields)


@pytest.fixture(scope="module")
def bundled(root, classes):
    (root / "kinds").mkdir()  # one that is empty is filled, by processes of their own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Process", Process)
        return bundle(classes, "onnx", root / "kinds")


@pytest.fixture(scope="module")
def images(root):
    return trained(root, data="digits", model={"family": "cnn", "channels": [4]})


@pytest.fixture(scope="module")
def language(root):
    (root / "saying.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    model = {"family": "transformer", "depth": 1, "width": 16, "heads": 2}
    return trained(root, data=str(root / "saying.txt"), model=model, **{"data.text.length": 16})


@pytest.fixture(scope="module")
def of_language(root, language):
    return bundle(language, "onnx", root / "saying")


@pytest.fixture(scope="module")
def regression(root):
    TABLE.drop(columns="kind").to_parquet(root / "prices.parquet")
    return trained(root, data=str(root / "prices.parquet"), **{"data.target": "price"})


@pytest.fixture(scope="module")
def in_tensorflow(root):
    return trained(root, data="digits", framework="tensorflow")


@pytest.fixture(scope="module")
def for_triton(root, images):
    return bundle(images, "onnx", root / "triton", layout="triton")


@pytest.fixture(scope="module")
def for_tensorflow_serving(root, in_tensorflow):
    return bundle(in_tensorflow, "saved-model", root / "serving", layout="tensorflow-serving")


# -- the same answers -----------------------------------------------------------------------------


def as_mappings(frame):
    return [{k: None if pd.isna(v) else v for k, v in row.items()} for row in frame.to_dict("records")]


@pytest.mark.parametrize(
    "rows",
    [
        FRESH,
        FRESH[["level", "age", "town", "length (cm)"]].assign(more=1),
        FRESH.convert_dtypes(),
        as_mappings(FRESH),
        FRESH.to_numpy(),
        FRESH.to_numpy().tolist(),
    ],
    ids=["frame", "frame in another order", "nullable frame", "mappings", "array", "lists"],
)
def test_rows_in_every_form_get_the_answers_of_the_run(bundled, classes, rows):
    model = lk.load_bundle(bundled)
    assert model.predict(rows).tolist() == classes.predict(FRESH).tolist()
    assert set(model.predict(rows)) == {"yes", "no"}
    np.testing.assert_allclose(model.predict_proba(rows), classes.predict_proba(FRESH), atol=1e-6)


def test_one_row_and_none(bundled, classes):
    model = lk.load_bundle(bundled)
    one = as_mappings(FRESH)[0]
    assert model.predict(one).tolist() == model.predict([one]).tolist() == classes.predict(FRESH.head(1)).tolist()
    assert model.predict(FRESH.head(0)).shape == (0,)
    assert model.predict_proba(FRESH.head(0)).shape == (0, 2)


def test_many_rows_are_given_in_pieces(bundled, classes, monkeypatch):
    monkeypatch.setattr("lmkit.deploy.bundle.load.BATCH", 7)
    np.testing.assert_allclose(lk.load_bundle(bundled).predict_proba(FRESH), classes.predict_proba(FRESH), atol=1e-6)


def test_a_number_comes_in_its_own_unit(regression, tmp_path):
    run = regression
    model = lk.load_bundle(bundle(run, "onnx", tmp_path / "prices"))
    given = TABLE[["length (cm)", "town", "age", "level"]].head(20)
    found = model.predict(as_mappings(given))
    np.testing.assert_allclose(found, run.predict(given), rtol=1e-5)
    assert found.mean() > 100  # not the scaled target, whose mean is 0
    assert model.signature["outputs"] == {"name": "price", "type": "number", "unit": None}
    with pytest.raises(lk.DataError, match="a regression has no classes"):
        model.predict_proba(given)
    ages: list[float | None] = [None, *given["age"][1:]]
    with pytest.raises(lk.DataError, match="column 'age' has 1 missing values, and the training data had none"):
        model.predict(given.assign(age=pd.Series(ages, index=given.index)))


def test_images_in_every_shape(images, tmp_path):
    model = lk.load_bundle(bundle(images, "onnx-int8-static", tmp_path / "digits"))
    from sklearn.datasets import load_digits

    pictures = load_digits().images[:40]
    found = model.predict_proba(pictures)
    for rows in (pictures[..., None], pictures.reshape(40, -1)):
        assert np.array_equal(model.predict_proba(rows), found)
    assert np.abs(found - images.predict_proba(pictures)).max() < 0.1  # int8
    assert model.signature["inputs"] == [{"name": "rows", "type": "array", "shape": [None, 8, 8, 1], "unit": None}]
    assert np.shape(model.example()["rows"]) == (5, 8, 8, 1)
    with pytest.raises(lk.DataError, match=re.escape("given rows of shape (2, 5), expected (rows, 64)")):
        model.predict(np.zeros((2, 5)))


def test_text_is_taken_as_text_or_as_tokens(of_language, language):
    import torch

    model, text = lk.load_bundle(of_language), "the quick brown fox "
    tokens = np.full((2, 16), 256)
    tokens.reshape(-1)[: len(text)] = list(text.encode())
    with torch.inference_mode():
        logits = language.model.eval()(torch.from_numpy(tokens))
    assert model.predict(text).tolist() == model.predict(tokens).tolist() == logits.argmax(-1).tolist()
    np.testing.assert_allclose(model.predict_proba(text), logits.softmax(-1).numpy(), atol=1e-6)
    told = dict(
        re.findall(r"^\| (loss|perplexity) \| ([\d.]+) \|", (of_language / "README.md").read_text(), re.MULTILINE)
    )
    assert {k: float(v) for k, v in told.items()} == pytest.approx(
        {k: language.metrics[k] for k in ("loss", "perplexity")}, rel=1e-3
    )
    with pytest.raises(lk.DataError, match=re.escape("given tokens of shape (1, 2), expected (rows, 16), or a text")):
        model.predict([[1, 2]])


def test_the_file_of_a_text_model_takes_texts(of_language, language, tmp_path):
    raw = bundle(language, "onnx", tmp_path / "raw", raw_rows=True, layout="triton")
    texts = ["größe", "", "漢字 😀"]
    loaded = lk.load_bundle(raw)
    np.testing.assert_array_equal(loaded.predict(texts), lk.load_bundle(of_language).predict(texts))
    session = onnxruntime.InferenceSession(str(next(raw.rglob("*.onnx"))))
    (outputs,) = session.run(None, {"rows": np.array(texts, dtype=object)[:, None]})
    np.testing.assert_allclose(outputs, loaded.outputs(texts), atol=1e-6)
    assert 'name: "rows" data_type: TYPE_STRING dims: [ 1 ]' in next(raw.rglob("config.pbtxt")).read_text()
    signature = json.loads((raw / "signature.json").read_text())
    assert signature["inputs"] == [{"name": "rows", "type": "text", "bytes": 16, "unit": None}]
    example = json.loads((raw / "example.json").read_text())
    assert loaded.predict(example["rows"]).tolist() == example["predictions"]
    assert "rows as in `Input` in, texts; raw outputs out" in (raw / "README.md").read_text()
    for rows, expected in (
        ("x" * 17, "a text of 17 bytes, expected at most 16"),
        ("\U00020000", "contains '\U00020000', which the file cannot read"),
        ([[1] * 16], "given int, expected texts"),
    ):
        with pytest.raises(lk.DataError, match=expected):
            loaded.predict(rows)
    pairs = replace(language.preprocessing, tokenizer="{}")
    with pytest.raises(BundleError, match=r"byte-pair encoding, which ONNX cannot make; train with data: \{text: byt"):
        as_raw(pairs, loaded.artifact)


def test_nodes_are_asked_for_by_name(root, tmp_path):
    run = trained(root, data="karate_club", model={"family": "gcn", "hidden": [8]})
    folder = bundle(run, "onnx", tmp_path / "club")
    model = lk.load_bundle(folder)
    expected = run.predict_proba([33, 0, 5])
    named = [{"node": 33}, {"node": 0}, {"node": 5}]
    for rows in ([33, 0, 5], ["33", 0.0, 5], named, pd.DataFrame(named)):
        np.testing.assert_allclose(model.predict_proba(rows), expected, atol=1e-6)
    assert model.signature["inputs"] == [{"name": "node", "type": "node", "known": list(range(34)), "unit": None}]
    assert "| node | node |  | 0, 1, 2, 3, 4, 5, 6, 7, … |" in (folder / "README.md").read_text()
    told = model.example()
    assert told["predictions"] == run.predict(told["rows"]).tolist()
    with pytest.raises(lk.DataError, match="no node 34 among the 34 nodes of the graph"):
        model.predict([34])
    code = f"import sys, lmkit as lk; lk.load_bundle({str(folder)!r}).predict([0, 33]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {*FORBIDDEN, "networkx"} & set(done.stdout.split())


def own_net(features, outputs):
    import torch

    return torch.nn.Sequential(torch.nn.Linear(features, 8), torch.nn.ReLU(), torch.nn.Linear(8, outputs))


def test_a_model_of_ones_own_is_bundled_without_its_code(root, tmp_path):
    X = draw.normal(size=(90, 5)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    parts = {"training": (X[:60], y[:60]), "validation": (X[60:70], y[60:70]), "test": (X[70:], y[70:])}
    run = trained(root, data=parts, model=own_net)
    maker = Builder.__new__(Builder)  # what was handed over inline is known to this process alone
    maker.trained = TrainedModel(run)
    for technique in ("onnx", "baseline"):
        maker.make(technique, str(run.path / "variants" / technique))
    folder = bundle(run, "onnx", tmp_path / "own")
    model = lk.load_bundle(folder)
    np.testing.assert_allclose(model.predict_proba(X), run.predict_proba(X), atol=1e-6)
    assert [(i["name"], i["type"]) for i in model.signature["inputs"]] == [(f"x{n}", "number") for n in range(5)]
    code = f"import sys, lmkit as lk; lk.load_bundle({str(folder)!r}).predict([[1.0] * 5]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(FORBIDDEN) & set(done.stdout.split())
    with pytest.raises(BundleError, match=r"a bundle may hold no code; .*: onnx or torch-export"):
        bundle(run, "baseline", tmp_path / "code")


# -- what is in it --------------------------------------------------------------------------------


def test_every_file_has_its_checksum(bundled):
    listed = dict(reversed(line.split("  ")) for line in (bundled / "checksums.txt").read_text().splitlines())
    there = {p.relative_to(bundled).as_posix(): p for p in bundled.rglob("*") if p.is_file()}
    assert set(there) == {*listed, "checksums.txt"}
    assert {n: hashlib.sha256(there[n].read_bytes()).hexdigest() for n in listed} == listed
    assert {"artefact/model.onnx", "preprocessing.json", "signature.json", "example.json", "README.md"} <= set(listed)


def test_the_signature_names_columns_units_and_classes(bundled):
    told = json.loads((bundled / "signature.json").read_text())
    assert [c["name"] for c in told["inputs"]] == ["length (cm)", "town", "age", "level"]
    assert [c["type"] for c in told["inputs"]] == ["number", "category", "number", "category"]
    assert told["inputs"][0]["unit"] == "cm"
    assert told["inputs"][1]["known"] == ["Bern", "Genf", "Uri"]
    assert told["outputs"] == {"name": "kind", "type": "class", "classes": ["no", "yes"], "labels": ["no", "yes"]}
    file = onnx.load(bundled / "artefact" / "model.onnx").graph
    assert told["tensors"]["input"] == {"name": file.input[0].name, "shape": [None, 8], "dtype": "float32"}
    assert told["tensors"]["output"] == {"name": file.output[0].name, "shape": [None, 1], "dtype": "float32"}


def test_the_example_is_of_the_test_part_as_it_came(bundled, classes):
    told = json.loads((bundled / "example.json").read_text())
    frame = pd.read_csv(classes.experiment.data.source)
    assert len(told["rows"]) == 5
    for row, target in zip(told["rows"], classes.predictions["target"], strict=False):
        same = frame[np.isclose(frame["length (cm)"], row["length (cm)"], rtol=1e-12)].iloc[0]
        assert (same["kind"], same["level"]) == (target, int(row["level"]))
        assert row["town"] == (None if pd.isna(same["town"]) else same["town"])
    assert told["predictions"] == classes.predict(told["rows"]).tolist()
    np.testing.assert_allclose(told["probabilities"], classes.predict_proba(told["rows"]), atol=1e-6)


def test_the_card_tells_scores_with_intervals(bundled, classes):
    text = (bundled / "README.md").read_text()
    right = (classes.predictions["target"] == classes.predictions["prediction"]).to_numpy()
    n, share = len(right), right.mean()
    value, low, high = (
        float(v) for v in require_value(re.search(r"\| accuracy \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text)).groups()
    )
    assert value == pytest.approx(share, abs=1e-4)
    spread = 1.96 * np.sqrt(share * (1 - share) / n)  # of a binomial, nearly normal
    assert (low, high) == pytest.approx((share - spread, share + spread), abs=0.03)
    assert f"Scores of the artifact in its runtime, on {n} rows" in text
    for said in (
        f"onnxruntime=={version('onnxruntime')}",
        "`kinds.csv`",
        "training 240",
        "| length (cm) | number | cm |",
        "| town | category |  | Bern, Genf, Uri |",
        classes.name,
        '"hidden": [8]',
        "| torch |",
        "## What the model looks at",
        "Permutation importance of the trained model: what",
        "| `length (cm)` |",
    ):
        assert said in text
    assert str(Path(classes.experiment.data.source).parent) not in text  # no path of the machine that made it


def test_the_cards_code_runs(bundled, monkeypatch):
    monkeypatch.chdir(bundled)
    (code,) = re.findall(r"```python\n(.*?)```", (bundled / "README.md").read_text(), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code.replace("model.predict", "found = model.predict"), namespace)
    assert namespace["found"].tolist() == namespace["model"].example()["predictions"][:1]


# -- what is refused ------------------------------------------------------------------------------


@pytest.fixture
def copied(bundled, tmp_path):
    return Path(shutil.copytree(bundled, tmp_path / "copied"))


@pytest.mark.parametrize("name", ["artefact/model.onnx", "preprocessing.json", "README.md"])
def test_a_changed_byte_is_an_error_that_names_the_file(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not the file that was bundled; copy the whole folder again"):
        lk.load_bundle(copied)


def test_a_missing_file_is_named(copied):
    (copied / "signature.json").unlink()
    with pytest.raises(BundleError, match=r"signature\.json is missing"):
        lk.load_bundle(copied)


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"is no bundle: it has no checksums\.txt; expected a folder written by"):
        lk.load_bundle(tmp_path)
    with pytest.raises(BundleError, match="nowhere' does not exist"):
        lk.load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"town": "Uri"}], "row 0 has no column length (cm), age, level; expected length (cm), town, age, level"),
        ([as_mappings(FRESH)[0], {"age": 3}], "row 1 has no column length (cm), town, level"),
        (FRESH.drop(columns="age"), "the rows have no column age; expected length (cm), town, age, level"),
        (np.zeros((2, 3)), "given rows of shape (2, 3), expected (rows, 4): length (cm), town, age, level"),
        ([[1, "Uri", 3, 1], [1]], "given rows of different lengths, expected (rows, 4)"),
        (FRESH.assign(age="old"), "column 'age' contains text, expected numbers"),
        ([{**as_mappings(FRESH)[0], "age": "old"}], "column 'age' contains text, expected numbers"),
        ("Uri", "given rows of shape (1, 1), expected (rows, 4)"),
    ],
)
def test_rows_that_are_none(bundled, rows, said):
    with pytest.raises(lk.DataError, match=re.escape(said)):
        lk.load_bundle(bundled).predict(rows)


def test_a_runtime_that_is_not_installed(bundled, monkeypatch):
    monkeypatch.setattr(runtimes.find("onnxruntime"), "LIBRARIES", ("onnxruntime_that_is_not_there",))
    with pytest.raises(
        lk.MissingPackage, match=r"this bundle needs onnxruntime, .*: python -m pip install onnxruntime"
    ):
        lk.load_bundle(bundled).predict(FRESH)


def test_nothing_is_overwritten(classes, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(BundleError, match="is not empty; use another folder"):
        bundle(classes, "onnx", tmp_path)
    with pytest.raises(BundleError, match="is a file; use another folder"):
        bundle(classes, "onnx", tmp_path / "note.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_a_folder_that_cannot_be_written(classes, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"cannot be written to .*: Not a directory; use another folder"):
        bundle(classes, "onnx", tmp_path / "file" / "out")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(BundleError, match="No space left on device; use another folder"):
        bundle(classes, "onnx", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_words_that_name_nothing(classes, tmp_path):
    with pytest.raises(lk.LmkitError, match="techniques: given 'onx', did you mean 'onnx'"):
        bundle(classes, "onx", tmp_path / "out")
    with pytest.raises(BundleError, match="layout: given 'tritn', did you mean 'triton'"):
        bundle(classes, "onnx", tmp_path / "out", layout="tritn")
    with pytest.raises(BundleError, match="layout: triton needs ONNX: use technique onnx, or layout='plain'"):
        bundle(classes, "baseline", tmp_path / "out", layout="triton")
    with pytest.raises(BundleError, match="layout: tensorflow-serving needs a SavedModel: use saved-model"):
        bundle(classes, "onnx", tmp_path / "out", layout="tensorflow-serving")
    assert not list(tmp_path.iterdir())


def test_a_variant_whose_file_changed_is_not_bundle(bundled, classes, tmp_path):
    file = classes.path / "variants" / "onnx" / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    try:
        with pytest.raises(BundleError, match=r"model\.onnx has changed since it was built; delete .*onnx' and bundle"):
            bundle(classes, "onnx", tmp_path / "second")
    finally:
        file.write_bytes(whole)


def test_a_run_that_has_not_completed(classes, tmp_path):
    folder = shutil.copytree(classes.path, tmp_path / "runs" / classes.name)
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "stopped"}))
    with pytest.raises(lk.RunStateError, match="cannot be bundled: it is stopped, expected completed"):
        bundle(folder, "onnx", tmp_path / "out")


# -- servers --------------------------------------------------------------------------------------


def parsed(text):
    """A .pbtxt with messages in brackets, as plain values (names repeated become lists)."""
    tokens = re.findall(r'"[^"]*"|[\w.-]+|[\[\]{}:,]', text)

    def value():
        token = tokens.pop(0)
        if token == "{":
            return message("}")
        if token == "[":
            found = []
            while tokens[0] != "]":
                found.append(value())
                if tokens[0] == ",":
                    tokens.pop(0)
            tokens.pop(0)
            return found
        return token[1:-1] if token.startswith('"') else int(token) if re.fullmatch(r"-?\d+", token) else token

    def message(end):
        found = {}
        while tokens and tokens[0] != end:
            name = tokens.pop(0)
            if tokens[0] == ":":
                tokens.pop(0)
            found[name] = value()
        if tokens:
            tokens.pop(0)
        return found

    return message("")


def test_a_model_repository_of_triton(images, for_triton):
    out = for_triton
    (folder,) = (out / "triton").iterdir()
    config = parsed((folder / "config.pbtxt").read_text())
    path = folder / "1" / "model.onnx"
    onnx.checker.check_model(onnx.load(path), full_check=True)
    graph = onnx.load(path).graph
    (given,), (taken,) = config.pop("input"), config.pop("output")
    assert config == {"name": folder.name, "platform": "onnxruntime_onnx", "max_batch_size": 64}
    assert given == {"name": graph.input[0].name, "data_type": "TYPE_FP32", "dims": [64]}
    assert taken == {"name": graph.output[0].name, "data_type": "TYPE_FP32", "dims": [10]}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert not graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")  # open, as max_batch_size says
    model = lk.load_bundle(out)
    rows = np.array(model.example()["rows"])
    X = images.preprocessing.apply(rows).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run([taken["name"]], {given["name"]: X.reshape(-1, *given["dims"])})
    assert logits.argmax(axis=1).tolist() == images.predict(rows).tolist() == model.predict(rows).tolist()
    assert len(list(out.rglob("*.onnx"))) == 1


def test_the_example_holds_what_the_served_files_take_and_return(
    images, for_triton, in_tensorflow, for_tensorflow_serving, regression, tmp_path
):
    import tensorflow as tf

    def by_onnxruntime(folder, tensors, X):
        session = onnxruntime.InferenceSession(folder / "1/model.onnx", providers=["CPUExecutionProvider"])
        return session.run([tensors["output"]["name"]], {tensors["input"]["name"]: X})[0]

    def by_tensorflow(folder, tensors, X):
        served = tf.saved_model.load(str(folder / "1")).signatures["serving_default"]
        return served(**{tensors["input"]["name"]: tf.constant(X)})[tensors["output"]["name"]].numpy()

    of_regression = bundle(regression, "onnx", tmp_path / "served", layout="triton")
    for run, out, layout, serve in (
        (images, for_triton, "triton", by_onnxruntime),
        (regression, of_regression, "triton", by_onnxruntime),
        (in_tensorflow, for_tensorflow_serving, "tensorflow-serving", by_tensorflow),
    ):
        model = lk.load_bundle(out)
        tensors, example = model.signature["tensors"], model.example()
        X = np.array(example["tensors"]["input"], tensors["input"]["dtype"])
        np.testing.assert_array_equal(model.prepare(example["rows"]), X)
        assert [n or len(X) for n in tensors["input"]["shape"]] == list(X.shape)
        (folder,) = (p for p in out.iterdir() if p.is_dir())
        outputs = serve(next(folder.iterdir()), tensors, X)
        assert [n or len(X) for n in tensors["output"]["shape"]] == list(outputs.shape)
        assert outputs.dtype == tensors["output"]["dtype"]
        np.testing.assert_allclose(outputs, example["tensors"]["output"], rtol=1e-5, atol=1e-5)
        assert model.decode(outputs).tolist() == pytest.approx(example["predictions"])
        assert model.decode(outputs).tolist() == pytest.approx(run.predict(example["rows"]).tolist())
        text = (out / "README.md").read_text()
        assert "prepared rows in, raw outputs out" in text
        for tensor in tensors.values():
            assert f"`{tensor['name']}` | {tensor['dtype']}" in text
        request = require_value(re.search(r"curl \S+ -d '(.*)'", text))[1]
        sent = json.loads(request)["inputs"]
        name, data = (sent[0]["name"], sent[0]["data"]) if layout == "triton" else next(iter(sent.items()))
        assert name == tensors["input"]["name"]
        assert data in (example["tensors"]["input"][:1], [["…"]])


def test_triton_is_told_a_fixed_batch():
    tensors = {"input": {"name": "x", "shape": [8, None], "dtype": "int64"}}
    told = parsed(module.triton_config("m", tensors | {"output": {"name": "y", "shape": [8], "dtype": "float16"}}))
    assert told["max_batch_size"] == 0
    assert told["input"] == [{"name": "x", "data_type": "TYPE_INT64", "dims": [8, -1]}]
    assert told["output"] == [{"name": "y", "data_type": "TYPE_FP16", "dims": [8]}]


def test_a_model_for_tensorflow_serving(in_tensorflow, for_tensorflow_serving):
    import tensorflow as tf

    out = for_tensorflow_serving
    (folder,) = (out / "tfserving").iterdir()
    model = lk.load_bundle(out)
    rows = np.array(model.example()["rows"])
    X = in_tensorflow.preprocessing.apply(rows).astype(np.float32)
    served = tf.saved_model.load(str(folder / "1")).signatures["serving_default"]
    (name,) = served.structured_input_signature[1]
    (logits,) = served(**{name: tf.constant(X)}).values()
    assert logits.numpy().argmax(axis=1).tolist() == in_tensorflow.predict(rows).tolist()
    np.testing.assert_allclose(model.predict_proba(rows), in_tensorflow.predict_proba(rows), atol=1e-6)


def test_other_runtimes(in_tensorflow, classes, tmp_path):
    for run, technique in ((in_tensorflow, "litert"), (classes, "baseline")):
        model = lk.load_bundle(bundle(run, technique, tmp_path / technique))
        rows = model.example()["rows"]
        np.testing.assert_allclose(model.predict_proba(rows), run.predict_proba(rows), atol=1e-5)


# -- with only the runtime ------------------------------------------------------------------------

ALONE = """
import importlib.metadata, json, sys
import lmkit
model = lmkit.load_bundle(sys.argv[1])
rows = json.loads(sys.stdin.read())
print(json.dumps({
    "predictions": model.predict(rows).tolist(),
    "probabilities": model.predict_proba(rows).tolist(),
    "next": lmkit.load_bundle(sys.argv[2]).predict("the quick").tolist(),
    "loaded": sorted({m.partition(".")[0] for m in sys.modules}),
    "installed": sorted(d.name for d in importlib.metadata.distributions()),
}))
"""


def distributions_of(*names):
    """These distributions and those that they require, as they are installed here."""
    found, left = set(), list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found.add(name)
            required = map(Requirement, distribution(name).requires or ())
            left += [r.name for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    return sorted(found)


def link_distribution(name, site):
    """Link the files of an installed distribution into another environment; returns their bytes."""
    installed = distribution(name)
    files = [
        f
        for f in require_value(installed.files)
        if f.parts[0] not in ("..", "__pycache__") and "__pycache__" not in f.parts
    ]
    for top in {f.parts[0] for f in files}:
        if not (site / top).exists():
            (site / top).symlink_to(installed.locate_file(top))
    return sum(Path(str(installed.locate_file(f))).stat().st_size for f in files)


def test_a_new_environment_needs_numpy_and_the_runtime_alone(bundled, classes, of_language, tmp_path):
    home, alone = Path(lk.__file__).parents[1], tmp_path / "alone"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(alone)], check=True, timeout=120)
    python = alone / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = next(alone.rglob("site-packages"))
    size = sum(link_distribution(name, site) for name in distributions_of("numpy", "onnxruntime"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"PYTHONDONTWRITEBYTECODE": "1"}
    (site / "lmkit").symlink_to(home / "lmkit")  # by path, without what it depends on
    run = subprocess.run(
        [str(python), "-c", ALONE, str(bundled), str(of_language)],
        input=json.dumps(as_mappings(FRESH)),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    print(f"an environment of {size / 1e6:.0f} MB predicts: {', '.join(told['installed'])}")
    assert told["predictions"] == classes.predict(FRESH).tolist()
    np.testing.assert_allclose(told["probabilities"], classes.predict_proba(FRESH), atol=1e-6)
    assert told["next"] == lk.load_bundle(of_language).predict("the quick").tolist()
    assert {"lmkit", "numpy", "onnxruntime"} <= set(told["loaded"])
    assert not set(told["loaded"]) & set(FORBIDDEN)
    names = {n.lower().replace("-", "_") for n in told["installed"]}
    assert {"numpy", "onnxruntime"} <= names
    assert not names & {*FORBIDDEN, "scikit_learn", "pyyaml", "safetensors"}
    assert size < 300e6
