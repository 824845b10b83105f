"""Every place where lmkit writes a file: by ``lmkit.system.files``, or where no link of another person can be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import lmkit

PACKAGE = Path(lmkit.__file__).parent

METHODS = {"mkdir", "touch", "symlink_to", "hardlink_to", "to_parquet", "to_csv", "tofile", "savez", "save"}
"""Methods that write a file or create a folder."""

FUNCTIONS = {"write_text", "write_bytes", "copyfile", "copy2", "copytree", "save_file", "savez_compressed"}
"""Methods and functions that write a file; those of ``lmkit.system.files`` have some of the names."""

NEW = "a folder that ``replace_directory`` has just created, or a temporary one"
USER = "a path that the user named, or a folder of the user's own"
OTHER = "no file"

ALLOWED = {
    "system/files.py": "the mechanism itself",
    "finders/trial.py": "a file of the kernel, /proc/self/clear_refs",
    "system/locks.py": "it follows no link",
    "system/trust.py": USER,
    "sweeping/lock.py": "a new file (O_EXCL), which follows no link",
    "deploy/model_files.py": NEW,
    "deploy/artifact.py": NEW,
    "deploy/bundle/bundle.py": NEW,
    "deploy/bundle/raw_rows.py": NEW,
    "deploy/runtimes/executorch.py": NEW,
    "deploy/techniques/convert.py": NEW,
    "deploy/techniques/executorch.py": NEW,
    "deploy/techniques/litert.py": NEW,
    "deploy/techniques/quantize.py": NEW,
    "deploy/techniques/torchao.py": NEW,
    "deploy/compare/builder.py": NEW,
    "deploy/measure/server.py": NEW,
    "backends/tensorflow/export.py": NEW,
    "backends/torch/export.py": NEW,
    "backends/torch/quantization.py": NEW,
    "runfolder/folder.py": "``create`` makes a new folder, checkpoints are written into a new one",
    "data/tables/array_files.py": NEW,
    "data/tables/streaming.py": NEW,
    "data/text/packing.py": NEW,
    "data/tables/memory.py": "by ``replace_file``, in the folder of the user's runs",
    "custom/objects.py": "in the folder of the user's runs",
    "training/train.py": "by ``replace_file``",
    "run/convert.py": "by ``replace_file``, in a new run",
    "batch/runner.py": "in the folder of a new attempt",
    "batch/execute.py": USER,
    "batch/html.py": USER,
    "batch/remote.py": USER,
    "deploy/bundle/evaluation.py": NEW,
    "batch/pdf.py": USER,
    "commands/streams.py": NEW,
    "planning/calibration.py": USER,
    "deploy/measure/roofline.py": USER,
    "reports.py": USER,
    "trackers/tensorboard.py": USER,
    "widgets/actions.py": USER,
    "widgets/thumbnail.py": OTHER,
    "display/picture.py": OTHER,
    "display/pictures.py": OTHER,
    "commands/surfaces.py": "the player's own method, by ``system.files``",
    "tables/dataset.py": OTHER,
    "runfolder/snapshots.py": "by ``replace_file``",
    "training/checkpoints.py": OTHER,
    "training/control.py": OTHER,
    "training/loaders.py": OTHER,
    "training/setup.py": "by ``RunFolder``",
    "executors/launch.py": "a new file (O_EXCL) in the run's folder, linked into place",
    "runfolder/shards.py": "checkpoints are written into a new folder",
}


def writes(tree: ast.AST) -> Iterator[str]:
    """The calls in a module that may write a file other than by ``lmkit.system.files``."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "lmkit.system.files"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute) and (
            function.attr in METHODS | FUNCTIONS
            or (function.attr in ("copy", "move") and ast.unparse(function.value) == "shutil")
        ):
            yield f"line {node.lineno}: {ast.unparse(function)}"
        elif isinstance(function, ast.Name) and function.id in FUNCTIONS - imported:
            yield f"line {node.lineno}: {function.id}"
        elif getattr(function, "attr", getattr(function, "id", "")) == "open":
            flags = ast.unparse(node)
            if any(f"{q}{mode}" in flags for q in "'\"" for mode in ("w", "a", "x", "r+")) or "O_CREAT" in flags:
                yield f"line {node.lineno}: open"


def test_every_writer_is_on_the_list() -> None:
    modules = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    calls = {name: list(writes(ast.parse(path.read_text(encoding="utf-8")))) for name, path in modules.items()}
    assert {name: lines for name, lines in calls.items() if lines and name not in ALLOWED} == {}
    assert {name for name in ALLOWED if not calls.get(name)} == set(), "these write nothing any more"
