"""An artifact: files that a runtime loads, and the record of how a technique produced them."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lmkit.exceptions import LmkitError
from lmkit.system import trust
from lmkit.system.numbers import to_json
from lmkit.system.reading import open_file, read_json

RECORD, MEASUREMENT = "artefact.json", "measurement.json"
"""Files beside those of an artifact: its record, and the measurement of its variant."""

_KEYS = {"compute_dtype": "claims", "weight_dtype": "stores", "provenance": "made"}
"""Attribute → its key in the record, where the two differ."""

_TYPES = dict.fromkeys(("runtime", "entry", "dtype", "compute_dtype", "weight_dtype"), str) | {"row": list}
"""Attribute → its type in the record; a mapping where none is named."""

_WORDS: dict[type, str] = {str: "text", list: "list", dict: "mapping"}


class StaleArtifact(LmkitError):
    """A file of an artifact is missing or has changed."""


@dataclass(frozen=True)
class Artifact:
    """Files in one folder that one runtime can load.

    Attributes:
        runtime: name of the runtime, such as ``onnxruntime``.
        entry: file or folder that the runtime opens.
        row: shape of an input row.
        dtype: type of the input rows.
        recipe: the technique and every number that it used.
        compute_dtype: type in which the heavy operations should run, such as ``int8``; verification compares it with
            the operations that the runtime reports.
        weight_dtype: type in which the weights should be stored, where it differs from ``compute_dtype``, such as
            ``float16`` for a file whose weights are widened at load time.
        options: options of the runtime.
        files: file name → SHA-256, for each file that deployment needs.
        provenance: versions and machine of the build, the user's technique if any, and the multiplications per row.
    """

    runtime: str
    entry: str
    row: tuple[int, ...]
    dtype: str
    recipe: Mapping[str, Any]
    compute_dtype: str = "float32"
    weight_dtype: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Artifact:
        """Hash the files in ``folder``, write the record beside them, and return the artifact with the hashes."""
        files = {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}
        files.pop(RECORD, None)
        artifact = replace(self, files=files)
        record = {_KEYS.get(name, name): value for name, value in asdict(artifact).items()}
        (folder / RECORD).write_text(to_json(record, indent=1), encoding="utf-8")
        return artifact

    @classmethod
    def read(cls, folder: Path, *, check: bool = True) -> Artifact:
        """Read the artifact in ``folder``.

        Args:
            folder: the artifact's folder.
            check: compare each file with its hash.

        Raises:
            StaleArtifact: a file is missing or has changed.
            ValueError: the record is malformed.
        """
        record = read_json(folder / RECORD)
        if record is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / RECORD))
        artifact = cls.from_record(record)
        for name, checksum in artifact.files.items() if check else ():
            path = folder / name
            if not path.is_file():
                raise StaleArtifact(f"{path} is missing")
            if digest(path) != checksum:
                raise StaleArtifact(f"{path} has changed since it was built")
        return artifact

    @classmethod
    def from_record(cls, record: Any) -> Artifact:
        """Return the artifact of a record; fields that this version does not know are ignored.

        Raises:
            ValueError: a field is missing or of another type, or a file lies outside the folder.
        """
        if not isinstance(record, dict):
            raise ValueError(f"expected a mapping, given a {type(record).__name__}")
        values: dict[str, Any] = {}
        for field_ in fields(cls):
            key = _KEYS.get(field_.name, field_.name)
            if key in record:
                values[field_.name] = _checked(key, record[key], _TYPES.get(field_.name, dict))
            elif field_.default is MISSING and field_.default_factory is MISSING:
                raise ValueError(f"no field {key!r}")
        if not all(isinstance(n, int) and n >= 0 for n in values["row"]):
            raise ValueError(f"row: given {values['row']!r}, expected whole numbers")
        for name in (values["entry"], *values.get("files", ())):
            if not is_inside(name):
                raise ValueError(f"{name!r} leads out of the folder")
        return cls(**{**values, "row": tuple(values["row"])})

    def on(self, device: str) -> Artifact:
        """Return the artifact to be loaded on a device, which ``options`` then name; the processor is the default."""
        return self if device == "cpu" else replace(self, options={**self.options, "device": device})

    def size(self, folder: Path) -> int:
        """Return the size of all files that deployment needs, in bytes."""
        return sum((folder / name).stat().st_size for name in self.files)


def remember_variant(folder: Path) -> None:
    """Put the artifact of a run's variant, which was built here just now, on record; see ``is_built_here``."""
    if identity := _variant_identity(folder):
        trust.remember(identity)


def is_built_here(folder: Path) -> bool:
    """Return whether this user built the artifact of a run's variant on this machine, for that run as it is.

    Whoever sends a run may have put any files and hashes under ``variants/``, of any technique and runtime. So what was
    not built here is built again: then its model, technique and recipe are those of the run.

    Args:
        folder: ``variants/TECHNIQUE`` in the run's folder.
    """
    identity = _variant_identity(folder)
    return identity is not None and trust.is_trusted(identity)


def _variant_identity(folder: Path) -> str | None:
    """Return the digest of a variant's record and of what it was built from; None where there is none."""
    run = folder.parent.parent
    state = run / "checkpoints" / "last" / "state.json"
    try:
        sources = [digest(file) for file in (folder / RECORD, run / "experiment.yaml", state)]
    except OSError:
        return None
    return trust.identify("variant", folder.name, *sources)


def _checked(key: str, value: Any, kind: type) -> Any:
    """Return the value of a field of a record."""
    if not isinstance(value, kind):
        raise ValueError(f"{key}: given a {type(value).__name__}, expected a {_WORDS[kind]}")
    return value


def is_inside(name: str) -> bool:
    """Return whether a relative path stays in its folder.

    >>> is_inside("model.onnx"), is_inside("../model.onnx"), is_inside("/model.onnx")
    (True, False, False)
    """
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(name) and not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[:1]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
