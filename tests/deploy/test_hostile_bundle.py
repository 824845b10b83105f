"""Bundles from elsewhere: data is loaded, programs are refused, malformed files are errors of the bundle."""

import contextlib
import hashlib
import json
import os
import pickle
import re
import shutil
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lmkit as lk
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.bundle.onnx_files import external_files
from lmkit.deploy.bundle.verify import BundleError, remember_bundle
from lmkit.deploy.runtimes import RUNTIMES, is_program

GOLDEN = Path(__file__).parents[1] / "golden" / "bundle"
"""A bundle as ONNX that an earlier version wrote, of 13 columns and 3 classes."""


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "data"))
    return Path(shutil.copytree(GOLDEN, tmp_path / "mail"))


def sign(folder):
    """Write the checksums anew, as whoever changes a bundle does."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "checksums.txt")
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / "checksums.txt").write_text("".join(lines))
    return folder


def change(folder, name, /, **fields):
    """Change fields of a JSON file of a bundle; None removes one."""
    values = {**json.loads((folder / name).read_text()), **fields}
    (folder / name).write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    return sign(folder)


def put(folder, runtime, entry, *files):
    """Make a bundle one of another runtime, with these files."""
    names = {str(Path(f).relative_to(folder / "artefact")): "0" * 64 for f in files}
    return change(folder, "artefact/artefact.json", runtime=runtime, entry=entry, files=names)


# -- programs -------------------------------------------------------------------------------------


class Payload:
    """An object whose pickle leaves a mark when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """An exported program of any number of rows, with weights, a constant and a size that is computed."""
    import torch

    class Model(torch.nn.Linear):
        constant = torch.arange(3.0)

        def forward(self, rows):
            return super().forward(torch.cat([rows, rows]))[: rows.shape[0]] + self.constant

    path = tmp_path_factory.mktemp("program") / "model.pt2"
    rows = torch.export.Dim("rows", min=1, max=64)
    torch.export.save(
        torch.export.export(Model(13, 3), (torch.zeros(2, 13),), dynamic_shapes={"rows": {0: rows}}), path
    )
    return path


def rewrite(program, target, changes):
    """Write the archive of a program with other entries: end of a name, or a new name → content, or a function."""
    with zipfile.ZipFile(program) as before, zipfile.ZipFile(target, "w") as after:
        root = before.namelist()[0].partition("/")[0]
        added = dict(changes)
        for name in before.namelist():
            content: Any = before.read(name)
            for end in [end for end in changes if name.endswith(end)]:
                change = added.pop(end, changes[end])
                content = change(content) if callable(change) else change
            after.writestr(name, content)
        for name, content in added.items():
            after.writestr(f"{root}/{name}", content)


def pickled(config):
    """Return the list of tensors, all of which it says are pickled."""
    tensors = json.loads(config)["config"]
    return json.dumps({"config": {name: {**tensor, "use_pickle": True} for name, tensor in tensors.items()}})


def custom(config):
    """Return the list of constants, with an object that is none of the framework's."""
    tensors = json.loads(config)["config"]
    tensor = {**next(iter(tensors.values())), "path_name": "opaque_obj_0"}
    return json.dumps({"config": {**tensors, "planted": tensor}})


def computed(model):
    """Return the program, in which a size is the result of a call."""
    content, count = re.subn(rb'"expr_str": ?"(?:[^"\\]|\\.)*"', b'"expr_str": "exec(open(0).read())"', model)
    assert count
    return content


PLANTED: dict[str, Any] = {
    "an example": lambda planted: {"sample_inputs/model.pt": planted},
    "a weight": lambda planted: {"model_weights_config.json": pickled, "weights/weight_0": planted},
    "a constant": lambda planted: {"model_constants_config.json": pickled, "constants/tensor_0": planted},
    "an object": lambda planted: {"model_constants_config.json": custom, "data/constants/opaque_obj_0": planted},
    "old weights": lambda planted: {"data/weights/model.pt": planted},
    "a library": lambda planted: {"data/aotinductor/model/model.so": b"\x7fELF"},
    "another file": lambda planted: {"extra/notes": planted},
    "a size": lambda planted: {"models/model.json": computed},
}


@pytest.mark.parametrize("place", PLANTED)
def test_a_pickle_in_an_exported_program_is_never_loaded(bundle, program, place, tmp_path):
    marker, file = tmp_path / "PWNED", bundle / "artefact" / "model.pt2"
    rewrite(program, file, PLANTED[place](pickle.dumps(Payload(marker))))
    put(bundle, "torch", "model.pt2", file)
    with pytest.raises(BundleError, match=r"is a program \(model.pt2 for torch\).*trust=True"):
        lk.load_bundle(bundle)
    with pytest.raises(BundleError, match=r"model\.pt2 holds '.*', which is neither tensors .* it was not opened"):
        lk.load_bundle(bundle, trust=True)
    assert not marker.exists()


def test_pytorch_itself_would_unpickle_it(program, tmp_path):
    import torch

    marker = tmp_path / "PWNED"
    rewrite(program, tmp_path / "model.pt2", PLANTED["an example"](pickle.dumps(Payload(marker))))
    with contextlib.suppress(Exception):
        torch.export.load(str(tmp_path / "model.pt2"))
    assert marker.exists()  # once this fails, PyTorch refuses it, too


def test_an_exported_program_of_tensors_is_loaded(bundle, program):
    import torch

    file = Path(shutil.copy(program, bundle / "artefact" / "model.pt2"))
    put(bundle, "torch", "model.pt2", file)
    rows = np.random.default_rng(0).normal(size=(5, 13)).astype(np.float32)
    expected = torch.export.load(str(program)).module()(torch.from_numpy(rows))
    model = lk.load_bundle(bundle, trust=True)
    np.testing.assert_array_equal(model._model.predict(rows), expected.detach().numpy())


def test_an_archive_that_two_readers_read_differently_is_refused(bundle, program):
    file = bundle / "artefact" / "model.pt2"
    rewrite(program, file, {"MODELS/MODEL.JSON": b"{}"})
    put(bundle, "torch", "model.pt2", file)
    with pytest.raises(BundleError, match="entries of the same name"):
        lk.load_bundle(bundle, trust=True)


def test_a_saved_model_writes_no_file(bundle, tmp_path):
    import tensorflow as tf

    marker = tmp_path / "PWNED"

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 13))])
        def serve(self, rows):
            with tf.control_dependencies([tf.io.write_file(str(marker), "x")]):
                return rows[:, :3]

    folder = bundle / "artefact" / "saved"
    tf.saved_model.save(Model(), str(folder))
    put(bundle, "tensorflow", "saved", *(p for p in folder.rglob("*") if p.is_file()))
    with pytest.raises(BundleError, match=r"is a program \(saved for tensorflow\)"):
        lk.load_bundle(bundle)
    assert not marker.exists()
    lk.load_bundle(bundle, trust=True).predict(np.zeros((1, 13)))
    assert marker.exists()


@pytest.mark.parametrize(
    ("runtime", "entry", "files"),
    [
        ("aot_inductor", "model.pt2", ["model.pt2"]),
        ("executorch", "model.pte", ["model.pte"]),
        ("torch", "model.json", ["model.json", "weights.safetensors", "builder.pkl"]),
        ("torchao", "model.json", ["model.json", "int8.so"]),
        ("onnxruntime", "model.pt2", ["model.pt2"]),
        ("openvino", "saved_model.pb", ["saved_model.pb"]),
        ("litert", "model.json", ["model.json"]),
        ("tensorflow", "my.model.json", ["my.model.json/x.json"]),
        ("torch", "my.model.json", ["my.model.json/x.json"]),
    ],
)
def test_the_runtime_and_the_files_decide(bundle, runtime, entry, files, monkeypatch):
    monkeypatch.setattr("lmkit.deploy.bundle.load.load", _not_loaded)
    paths = [bundle / "artefact" / name for name in files]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"{}")
    put(bundle, runtime, entry, *paths)
    change(bundle, "signature.json", trust="data")  # what it says of itself does not count
    with pytest.raises(BundleError, match="is a program"):
        lk.load_bundle(bundle)


def test_a_builder_is_found_in_a_specification_of_any_name(bundle):
    model = bundle / "artefact" / "my.model.json"
    model.write_text(json.dumps({"model": {"family": "own", "builder": "subprocess:getoutput"}}))
    put(bundle, "torch", "my.model.json", model)
    with pytest.raises(BundleError, match="a bundle may hold no code"):
        lk.load_bundle(bundle, trust=True)


def test_a_file_that_is_added_to_a_program_is_not_covered_by_trust(bundle, monkeypatch):
    monkeypatch.setattr("lmkit.deploy.bundle.load.load", lambda *_: "loaded")
    folder = bundle / "artefact" / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"program")
    put(bundle, "tensorflow", "saved", folder / "saved_model.pb")
    remember_bundle(bundle)
    assert lk.load_bundle(bundle)._model == "loaded"
    (folder / "saved_model.cpb").write_bytes(b"a program that TensorFlow prefers")
    with pytest.raises(BundleError, match=r"no checksum of artefact/saved/saved_model\.cpb"):
        lk.load_bundle(bundle)


def test_a_runtime_that_does_not_exist_is_named(bundle):
    change(bundle, "artefact/artefact.json", runtime="onnxrutime")
    with pytest.raises(BundleError, match="no runtime 'onnxrutime'; did you mean 'onnxruntime'"):
        lk.load_bundle(bundle, trust=True)


def _not_loaded(*_):
    raise AssertionError("the model was loaded")


def test_a_program_that_was_written_here_is_loaded_unasked(bundle, monkeypatch):
    monkeypatch.setattr("lmkit.deploy.bundle.load.load", lambda *_: "loaded")
    file = bundle / "artefact" / "model.pte"
    file.write_bytes(b"program")
    put(bundle, "torch", "model.pte", file)
    remember_bundle(bundle)
    assert lk.load_bundle(bundle)._model == "loaded"
    file.write_bytes(b"another program")
    sign(bundle)
    with pytest.raises(BundleError, match="is a program"):
        lk.load_bundle(bundle)


@pytest.mark.parametrize("family", ["own", "mlp"])
def test_a_builder_in_a_specification_is_never_called(bundle, family, tmp_path):
    marker = tmp_path / "PWNED"
    call = {"family": family, "builder": "subprocess:getoutput", "arguments": {"cmd": f"touch {marker}"}}
    model = bundle / "artefact" / "model.json"
    model.write_text(json.dumps({"model": call, "signature": {"shape": [13], "outputs": 3}, "precision": "float32"}))
    put(bundle, "torch", "model.json", model)
    with pytest.raises(BundleError, match="a bundle may hold no code"):
        lk.load_bundle(bundle, trust=True)
    assert not marker.exists()


PROGRAMS = {"aot_inductor": "model.pt2", "executorch": "model.pte", "tensorflow": "saved", "torch": "model.pt2"}
DATA = {
    "litert": "model.tflite",
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "tensorflow": "model.json",
    "torch": "model.json",
    "torchao": "model.json",
}


def artifact(runtime, entry):
    return Artifact(runtime, entry, (1,), "float32", {}, files={entry: ""})


def test_each_runtime_says_which_of_its_files_are_data():
    names = {name for name, module in RUNTIMES.items() if module.__name__.startswith("lmkit.")}
    assert {*PROGRAMS, *DATA} == names
    assert all(is_program(artifact(*item)) for item in PROGRAMS.items())
    assert not any(is_program(artifact(*item)) for item in DATA.items())
    assert all(is_program(artifact(name, "model.so")) for name in names)


def test_a_runtime_of_another_package_loads_programs_unless_it_says_otherwise():
    plugin: Any = types.ModuleType("plugin")
    plugin.LIBRARIES, plugin.PACKAGES, plugin.load = (), (), _not_loaded
    RUNTIMES.add("plugin", plugin)
    try:
        assert is_program(artifact("plugin", "model.onnx"))
        plugin.DATA_FORMATS = (".onnx",)
        assert not is_program(artifact("plugin", "model.onnx"))
        assert is_program(artifact("plugin", "model.so"))
    finally:
        RUNTIMES.remove("plugin")


# -- weights elsewhere ----------------------------------------------------------------------------


def external(location):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph(*nodes, **fields):
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    return helper.make_graph(list(nodes), "g", [], [value], **fields)


def placed_everywhere():
    """A model that names a file in each place in which ONNX allows a tensor."""
    constant = helper.make_node("Constant", [], ["y"], value=external("attribute"))
    inner = graph(constant, initializer=[external("inner")])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    several = helper.make_node("Own", [], ["z"], domain="own")
    several.attribute.add(name="t", type=onnx.AttributeProto.TENSORS).tensors.append(external("tensors"))
    several.attribute.add(name="g", type=onnx.AttributeProto.GRAPHS).graphs.append(
        graph(initializer=[external("graphs")])
    )
    sparse = onnx.SparseTensorProto(values=external("values"), indices=external("indices"))
    whole = graph(branch, several, initializer=[external("outer"), numpy_helper.from_array(np.ones(3), "x")])
    whole.sparse_initializer.append(sparse)
    model = helper.make_model(whole)
    model.functions.append(helper.make_function("own", "F", [], ["y"], [constant], []))
    model.functions[0].node[0].attribute[0].t.CopyFrom(external("function"))
    model.training_info.add().initialization.CopyFrom(graph(initializer=[external("training")]))
    return model


def test_all_external_files_of_a_model_are_seen(tmp_path):
    (tmp_path / "model.onnx").write_bytes(placed_everywhere().SerializeToString())
    names = {"attribute", "inner", "tensors", "graphs", "values", "indices", "outer", "function", "training"}
    assert external_files(tmp_path / "model.onnx") == names
    assert external_files(GOLDEN / "artefact" / "model.onnx") == set()


@pytest.mark.parametrize("place", ["relative", "absolute", "link"])
def test_weights_outside_the_folder_are_refused(bundle, place, tmp_path, monkeypatch):
    monkeypatch.setattr("lmkit.deploy.bundle.load.load", _not_loaded)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(8))
    name = {"relative": "../../secret.bin", "absolute": str(secret), "link": "weights.data"}[place]
    file = bundle / "artefact" / "model.onnx"
    file.write_bytes(helper.make_model(graph(initializer=[external(name)])).SerializeToString())
    files = [file]
    if place == "link":
        files.append(bundle / "artefact" / name)
        files[1].symlink_to(secret)
    put(bundle, "onnxruntime", "model.onnx", *files)
    expected = "leads out of the bundle" if place == "link" else "which is no file of the bundle; nothing was loaded"
    with pytest.raises(BundleError, match=expected):
        lk.load_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"\x0a", b"\xff" * 30, b"\x3a\x7f", os.urandom(200)], ids=range(5))
def test_what_is_no_onnx_file_is_an_error_of_the_bundle(bundle, content):
    (bundle / "artefact" / "model.onnx").write_bytes(content)
    sign(bundle)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        lk.load_bundle(bundle)


# -- malformed files ------------------------------------------------------------------------------

CONTENTS = {
    "empty": "",
    "list": "[1]",
    "number": "3",
    "cut": '{"a": ',
    "deep": "[" * 20_000,
    "nothing": "{}",
    "null": "null",
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", ["signature.json", "preprocessing.json", "artefact/artefact.json", "example.json"])
def test_a_malformed_file_is_an_error_of_the_bundle(bundle, name, content):
    (bundle / name).write_text(CONTENTS[content])
    sign(bundle)
    if name == "example.json" and content == "nothing":
        assert lk.load_bundle(bundle).example() == {}
        return
    with pytest.raises(BundleError, match=re.escape(name.rpartition("/")[2])):
        lk.load_bundle(bundle)


WRONG: tuple[Any, ...] = (None, 3, "x", [], {}, [None], {"a": None})


@pytest.mark.parametrize("name", ["signature.json", "preprocessing.json", "artefact/artefact.json"])
def test_fields_of_other_types_never_raise_anything_else(bundle, name, monkeypatch):
    monkeypatch.setattr("lmkit.deploy.bundle.load.load", lambda *_: "loaded")
    original = json.loads((bundle / name).read_text())
    refused = 0
    for field in original:
        for value in WRONG:
            change(bundle, name, **{**original, field: value})
            try:
                lk.load_bundle(bundle, trust=True)
            except BundleError:
                refused += 1
    assert refused > 2 * len(original)


@pytest.mark.parametrize(
    ("name", "field", "problem"),
    [
        (
            "artefact/artefact.json",
            "runtime",
            "no field 'runtime'; the bundle is of format 1, written by lmkit before 0.3",
        ),
        ("artefact/artefact.json", "row", "no field 'row'"),
        ("signature.json", "artefact", "no field 'artefact'; the bundle is of format 1"),
        ("signature.json", "outputs", "no field 'outputs'"),
    ],
)
def test_a_missing_field_names_both_versions(bundle, name, field, problem):
    change(bundle, name, **{field: None})
    with pytest.raises(BundleError, match=re.escape(problem)) as refused:
        lk.load_bundle(bundle)
    assert f"this is lmkit {lk.__version__}, which reads format 1" in str(refused.value)


def test_a_newer_format_is_refused_and_a_new_field_is_not(bundle):
    for name in ("signature.json", "artefact/artefact.json"):
        change(bundle, name, more={"a": 1})
    assert lk.load_bundle(bundle).predict(np.zeros((1, 13))).shape == (1,)
    change(bundle, "signature.json", format=2, lmkit="9.0")
    with pytest.raises(BundleError, match=r"the bundle is of format 2, written by lmkit 9\.0, and this is lmkit"):
        lk.load_bundle(bundle)


@pytest.mark.parametrize("left_out", ["artefact/model.onnx", "artefact/artefact.json", "signature.json", None])
def test_a_file_without_a_checksum_is_an_error(bundle, left_out):
    lines = (bundle / "checksums.txt").read_text().splitlines(keepends=True)
    (bundle / "checksums.txt").write_text("".join(s for s in lines if left_out and not s.endswith(f"  {left_out}\n")))
    with pytest.raises(BundleError, match=f"has no checksum of {left_out or 'signature.json'}; copy the whole folder"):
        lk.load_bundle(bundle)


@pytest.mark.parametrize(
    "line", ["x", "0" * 64, f"{'0' * 64}  ../secret", f"{'0' * 64}  /etc/passwd", "0" * 64 + "  ."]
)
def test_a_line_of_the_checksums_that_is_none(bundle, line):
    with (bundle / "checksums.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BundleError):
        lk.load_bundle(bundle)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_not_waited_for(bundle):
    (bundle / "preprocessing.json").unlink()
    os.mkfifo(bundle / "preprocessing.json")
    with pytest.raises(BundleError, match=r"preprocessing\.json is missing"):
        lk.load_bundle(bundle)


@pytest.mark.parametrize("folder", ["..", "/tmp", "../other", 3, ""])
def test_the_artifact_lies_in_the_bundle(bundle, folder):
    change(bundle, "signature.json", artefact=folder)
    with pytest.raises(BundleError, match="artefact"):
        lk.load_bundle(bundle)
