"""What is checked of a bundle before its model is loaded: versions, files, and whether it is a program."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

from lmkit.deploy.artifact import RECORD, Artifact, digest, is_inside
from lmkit.deploy.bundle.onnx_files import external_files
from lmkit.deploy.runtimes import find, is_program
from lmkit.exceptions import DamagedFile, LmkitError, shorten
from lmkit.system import trust
from lmkit.system.reading import read_object, read_text

CARD, CHECKSUMS, EXAMPLE, PREPROCESSING, SIGNATURE = (
    "README.md",
    "checksums.txt",
    "example.json",
    "preprocessing.json",
    "signature.json",
)
"""The files of a bundle, in addition to its artifact."""

FORMAT = 1
"""The version of a bundle's files; it grows when a reader of an earlier version would misread them."""

FIELDS: dict[str, type] = {"name": str, "task": str, "artefact": str, "inputs": list, "outputs": dict}
"""Fields of the signature that every bundle has → their types."""


class BundleError(LmkitError):
    """A bundle cannot be written or loaded."""


def version_here() -> str:
    """Return the version of lmkit that runs."""
    return str(importlib.import_module("lmkit").__version__)


def check_files(path: Path) -> set[str]:
    """Check each listed file against its checksum, and return the names of the files.

    Raises:
        BundleError: the folder is no bundle, or a file is missing, has changed or lies outside the folder.
    """
    if not (path / CHECKSUMS).is_file():
        what = "is no bundle: it has no checksums.txt" if path.is_dir() else "does not exist"
        raise BundleError(f"{str(path)!r} {what}; expected a folder written by lmkit bundle RUN TECHNIQUE FOLDER")
    names, root = set(), path.resolve()
    try:
        lines = read_text(path / CHECKSUMS).splitlines()
    except DamagedFile as error:
        raise BundleError(f"{error}; {_AGAIN}") from None
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None:
            raise BundleError(f"{path / CHECKSUMS}: line {number} is no checksum and name; {_AGAIN}")
        checksum, name = match.groups()
        file = path / name
        if not is_inside(name) or not file.resolve().is_relative_to(root):
            raise BundleError(f"{path / CHECKSUMS}: {name!r} leads out of the bundle, whose files lie in its folder")
        if not file.is_file() or digest(file) != checksum:
            problem = "not the file that was bundled" if file.is_file() else "missing"
            raise BundleError(f"{file} is {problem}; {_AGAIN}")
        names.add(name)
    return names


_AGAIN = "copy the whole folder again, or write it again: lmkit bundle RUN TECHNIQUE FOLDER"


def read_signature(path: Path) -> dict[str, Any]:
    """Return ``signature.json`` of a bundle.

    Raises:
        BundleError: it is missing or malformed, or of a newer version.
    """
    signature = read_mapping(path, SIGNATURE)
    version = signature.get("format", FORMAT)
    if version != FORMAT:
        raise BundleError(f"{path} cannot be read: {_describe_versions(signature)}; use the lmkit that wrote it")
    for key, kind in FIELDS.items():
        if not isinstance(signature.get(key), kind):
            given = f"{key!r} is a {type(signature[key]).__name__}" if key in signature else f"no field {key!r}"
            raise BundleError(f"{path / SIGNATURE}: {given}; {_describe_versions(signature)}")
    if not is_inside(signature["artefact"]):
        raise BundleError(
            f"{path / SIGNATURE}: artefact: given {shorten(signature['artefact'])}, expected a folder in it"
        )
    return signature


def read_artifact(path: Path, signature: dict[str, Any], names: set[str]) -> Artifact:
    """Return the artifact of a bundle, all of whose files have been checked.

    Args:
        path: the bundle.
        signature: its signature.
        names: the files whose checksums are correct.

    Raises:
        BundleError: the record is malformed, or a file has no checksum.
    """
    folder = signature["artefact"]
    record = f"{folder}/{RECORD}"
    for name in (SIGNATURE, PREPROCESSING, EXAMPLE, record):
        _check_listed(path, name, names)
    try:
        artifact = Artifact.from_record(read_mapping(path, record))
        find(artifact.runtime)
    except LmkitError as error:
        raise error if isinstance(error, BundleError) else BundleError(f"{path / record}: {error}") from None
    except ValueError as error:
        raise BundleError(f"{path / record}: {error}; {_describe_versions(signature)}") from None
    for name in artifact.files:
        _check_listed(path, f"{folder}/{Path(name).as_posix()}", names)
    entry = artifact.entry
    if not (entry == "." or entry in artifact.files or any(name.startswith(f"{entry}/") for name in artifact.files)):
        raise BundleError(f"{path / record}: entry: given {shorten(entry)}, which is none of its files")
    if entry.endswith(".onnx"):
        _check_onnx(path / folder, artifact)
    if is_program(artifact):  # its runtime may read any file beside it
        for file in (path / folder).rglob("*"):
            if file.is_symlink() or not file.is_dir():
                _check_listed(path, file.relative_to(path).as_posix(), names)
    return artifact


def check_trust(path: Path, artifact: Artifact) -> None:
    """Check that a bundle is data, or a program that this user wrote on this machine.

    Raises:
        BundleError: it is a program from elsewhere; nothing of it was loaded.
    """
    if is_program(artifact) and not trust.is_trusted(_identity(path)):
        raise BundleError(
            f"{path} is a program ({artifact.entry} for {artifact.runtime}) that this user did not write on this "
            f"machine, and loading it runs whatever its author put in it; if you trust it, type "
            f"lmkit trust {shlex.quote(str(path))}, or lk.load_bundle({str(path)!r}, trust=True); or ask for a bundle "
            "of technique onnx or litert, which is data"
        )


def remember_bundle(path: Path) -> None:
    """Put a bundle that was written here on record, for ``check_trust``."""
    trust.remember(_identity(path))


def _identity(path: Path) -> str:
    """Return the digest of a bundle, whose checksums list each of its files."""
    return trust.identify("bundle", digest(path / CHECKSUMS))


def _check_listed(path: Path, name: str, names: set[str]) -> None:
    if name not in names:
        raise BundleError(f"{path / CHECKSUMS} has no checksum of {name}; {_AGAIN}")


def _check_onnx(folder: Path, artifact: Artifact) -> None:
    """Check that an ONNX model reads no file but its own."""
    try:
        names = external_files(folder / artifact.entry)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / artifact.entry} is no ONNX file: {error}") from None
    for name in names:
        if name not in artifact.files:
            raise BundleError(
                f"{folder / artifact.entry} reads weights from {name!r}, which is no file of the bundle; nothing was "
                "loaded"
            )


def read_mapping(path: Path, name: str) -> dict[str, Any]:
    """Return the mapping in a JSON file of a bundle.

    Raises:
        BundleError: it cannot be read, or is no mapping.
    """
    try:
        content = read_object(path / name)
    except DamagedFile as error:
        raise BundleError(f"{error}; {_AGAIN}") from None
    if content is None:
        raise BundleError(f"{path / name} is missing; {_AGAIN}")
    return content


def _describe_versions(signature: dict[str, Any]) -> str:
    """Return which versions meet: that of the bundle, and the one that reads it."""
    version, writer = signature.get("format", FORMAT), signature.get("lmkit", "before 0.3")
    return (
        f"the bundle is of format {version!r}, written by lmkit {writer}, and this is lmkit {version_here()}, which "
        f"reads format {FORMAT}"
    )
