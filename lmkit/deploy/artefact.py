"""What a technique leaves: files that a runtime can load, and a record of how they were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lmkit.errors import LmkitError

RECORD = "artefact.json"


class StaleArtefact(LmkitError):
    """The files are not those that were made."""


@dataclass(frozen=True)
class Artefact:
    """Files in one folder that one runtime can load.

    Attributes:
        runtime: what loads them, such as ``onnxruntime``.
        entry: the file, or folder, that is given to the runtime.
        row: shape of a row as the runtime is given it.
        dtype: of the rows.
        recipe: how it was made: the technique, and every number that it used.
        claims: the type that its heavy operations are meant to run in, such as ``int8``; what really ran is asked of
            the runtime.
        stores: the type that its weights are meant to be kept in, where that is another one than they are computed
            with, such as ``float16`` of a file that is widened while it loads.
        options: what the runtime is to be told.
        files: each file that deployment needs, and the SHA-256 of its content.
        made: with which versions, on which machine; by which technique of one's own, if it was one; and how many
            multiplications a row takes.
    """

    runtime: str
    entry: str
    row: tuple[int, ...]
    dtype: str
    recipe: Mapping[str, Any]
    claims: str = "float32"
    stores: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Artefact:
        """Writes the record beside the files, which are hashed now; returns it with the hashes."""
        files = {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}
        files.pop(RECORD, None)
        whole = Artefact(**{**asdict(self), "files": files})
        (folder / RECORD).write_text(json.dumps(asdict(whole), indent=1), encoding="utf-8")
        return whole

    @classmethod
    def read(cls, folder: Path, *, check: bool = True) -> Artefact:
        """The artefact in ``folder``.

        Raises:
            StaleArtefact: a file is missing, or is not the one that was made.
        """
        values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        found = cls(**{**values, "row": tuple(values["row"])})
        for name, made in found.files.items() if check else ():
            path = folder / name
            if not path.is_file() or digest(path) != made:
                raise StaleArtefact(f"{path} is {'missing' if not path.is_file() else 'not the file that was made'}")
        return found

    def size(self, folder: Path) -> int:
        """Bytes of all files that deployment needs, each once."""
        return sum((folder / name).stat().st_size for name in self.files)


def digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
