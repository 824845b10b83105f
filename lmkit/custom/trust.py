"""Whether code that an experiment names may run: the one question before any of it is imported or unpickled.

Code runs unasked in three cases: it is part of the caller's own call (``lk.train(model=build)``); an experiment's file
names it, and it is defined in the current folder, which is the caller's project (``lmkit.custom.project``); or this
user ran the same code on this machine before. The same code is the same reference in the same role with the same
arguments, and for a pickle the same content; where the run's folder lies, what it is called and how long it trains
does not matter. Everything else is refused with what would run and what to type, and nothing is imported before.

Reading a run never comes here. Training and sweeping call ``adopt``; predicting, resuming, comparing, bundling and
converting, and each process that works for them, call ``require``.
"""

from __future__ import annotations

import contextlib
import hashlib
import reprlib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.custom import objects
from lmkit.custom.project import is_project_code
from lmkit.exceptions import UntrustedCode
from lmkit.experiment.origin import file_of, note_file
from lmkit.runfolder.folder import runs_root
from lmkit.specs.models.custom import Custom
from lmkit.specs.references import HELD, KEPT, OBJECT
from lmkit.system import trust as record

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment

DATA = "data.source"
"""The path of a loader, which is called only where the data is prepared."""

_excerpt = reprlib.Repr()
_excerpt.maxstring = _excerpt.maxother = 400
"""How values of arguments are shown: longer than in other messages, as they are what a reader decides about."""


class Code(NamedTuple):
    """Code that an experiment names.

    Attributes:
        path: its path in the experiment, such as ``model.builder``.
        reference: the object that is called.
        arguments: the plain values that it is called with, of a model's builder.
    """

    path: str
    reference: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        values = ", ".join(f"{name}={_excerpt.repr(value)}" for name, value in self.arguments.items())
        return f"{self.reference} with {values}" if values else self.reference

    def identity(self, pickle: Path | None = None) -> str:
        """Return the digest of what would run.

        Raises:
            FileNotFoundError: ``pickle`` does not exist.
        """
        content = None
        if self.reference.startswith(KEPT) and pickle is not None:
            with pickle.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        role = ".".join(part for part in self.path.split(".") if not part.isdecimal())
        return record.identify("code", role, self.reference, dict(self.arguments), content)


def list_code(experiment: Experiment, *, data: bool = True) -> list[Code]:
    """Return the code that an experiment names, without a loader of data if ``data`` is false.

    Objects in the memory of a process are left out, since no other process can reach them.
    """
    arguments = experiment.model.arguments if isinstance(experiment.model, Custom) else {}
    return [
        Code(path, reference, arguments if path == "model.builder" else {})
        for path, reference in objects.references(experiment).items()
        if not reference.startswith(HELD) and (data or path != DATA)
    ]


def code_of_source(source: str) -> list[Code]:
    """Return the loader that a source of data names, as ``list_code`` does."""
    reference = source.removeprefix(OBJECT)
    return [] if reference.startswith(HELD) else [Code(DATA, reference, {})]


def _identities(code: Iterable[Code], root: str | Path | None) -> Iterator[tuple[Code, str]]:
    """Iterate over code and its identity; left out is a pickle that does not exist, and an object passed again."""
    for part in code:
        if objects.is_provided(part.reference):
            continue
        with contextlib.suppress(FileNotFoundError):
            yield part, part.identity(objects.pickle_path(part.reference, root))


def require(code: Iterable[Code], root: str | Path | None = None, owner: str | Path = "") -> None:
    """Permit code to run in this process.

    Args:
        code: what an experiment names.
        root: the folder of the runs, which holds pickled objects.
        owner: the run or file that names it, for the message; empty: a text in the caller's call.

    Raises:
        UntrustedCode: some of it did not come from this user on this machine; nothing was run.
    """
    identities = list(_identities(code, root))
    if refused := _refused(identities, owner):
        raise UntrustedCode(_describe(refused, owner))
    for part, _ in identities:
        objects.permit(part.reference)


def find_untrusted(code: Iterable[Code], root: str | Path | None = None, owner: str | Path = "") -> list[Code]:
    """Return the code that ``require`` would refuse."""
    return _refused(_identities(code, root), owner)


def _refused(identities: Iterable[tuple[Code, str]], owner: str | Path) -> list[Code]:
    return [
        part
        for part, identity in identities
        if (owner or not objects.is_passed(part.reference)) and not record.is_trusted(identity)
    ]


def require_builder(model: Custom, pickle: Path, owner: Path) -> None:
    """Permit the builder of a custom model, whose pickle may lie beside the files of a variant; see ``require``."""
    if model.builder.startswith(HELD):
        return
    code = Code("model.builder", model.builder, model.arguments)
    if pickle.is_file() or not model.builder.startswith(KEPT):
        if not record.is_trusted(code.identity(pickle)):
            raise UntrustedCode(_describe([code], owner))
        objects.permit(model.builder)


def _describe(code: list[Code], owner: str | Path) -> str:
    listed = "; ".join(f"{part.path}: {part}" for part in code)
    if not owner:
        return f"{listed} is named by a text, which runs nothing before training; pass the object itself, or train"
    path, problem = repr(str(owner)), record.problem()
    call = f"lk.train({path}, trust=True)" if Path(owner).is_file() else f"lk.attach({path}, trust=True)"
    return (
        f"{owner} would run code that this user has not run on this machine before: {listed}; if you trust it, type "
        f"lmkit trust {shlex.quote(str(owner))}, or {call}" + (f"; {problem}" if problem else "")
    )


def load(experiment: Experiment, root: str | Path | None = None, owner: str | Path = "") -> None:
    """Permit and unpickle the code that ``experiment`` names, apart from its loader of data.

    Raises:
        ConfigError: a pickle is missing, or cannot be loaded.
        UntrustedCode: some of it did not come from this user on this machine; nothing was run.
    """
    code = list_code(experiment, data=False)
    require(code, root, owner or "the experiment")
    for part in code:
        if not objects.is_provided(part.reference):
            objects.unpickle(part.reference, part.path, root)


def remember(experiment: Experiment, root: str | Path | None = None) -> list[Code]:
    """Put the code that an experiment names on record, and permit it in this process; return it."""
    code = list_code(experiment)
    for part, identity in _identities(code, root):
        record.remember(identity)
        objects.permit(part.reference)
    return code


# -- experiments that are passed on ---------------------------------------------------------------


class _Origin(NamedTuple):
    """Where code was read from: a run or a file, and the folder that holds its pickles."""

    root: Path
    owner: str


def mark(experiment: Experiment, folder: Path) -> None:
    """Note that an experiment was read from the folder of a run: it may be passed to ``train``."""
    note_file(experiment.to_dict(), folder / "experiment.yaml")


def _origin(part: Code, root: str | Path | None) -> _Origin | None:
    """Return where code was read from; None if it is the caller's, which is code of their project in a file, too."""
    file = file_of(part.reference)
    if file is None:
        return None
    if folder := run_folder(file):
        return _Origin(folder.parent, str(folder))
    return None if is_project_code(part.reference) else _Origin(runs_root(root), str(file))


def run_folder(file: Path) -> Path | None:
    """Return the folder of the run whose experiment a file is; None of any other file."""
    is_of_run = file.name == "experiment.yaml" and (file.parent / "status.json").exists()
    return file.parent.absolute() if is_of_run else None


def adopt(experiment: Experiment, root: str | Path | None = None, *, text: bool = False) -> None:
    """Permit the code of an experiment that the caller passes to be trained, without putting it on record.

    Args:
        experiment: what is to be trained.
        root: the folder of the runs, which holds pickled objects.
        text: whether the caller wrote it out, as a mapping or arguments, rather than passing an experiment, a file or
            a run.

    Raises:
        UntrustedCode: the code was read from a run or a file of someone else.
    """
    code = list_code(experiment)
    for part in [] if text else code:
        origin = None if objects.is_passed(part.reference) else _origin(part, root)
        if origin:
            require([part], origin.root, origin.owner)
    for part in code:
        objects.permit(part.reference)
