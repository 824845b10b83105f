"""The experiment: data, model and training in one typed, validated, immutable configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from lmkit.exceptions import ConfigError, DamagedFile, join_names, nearest, shorten
from lmkit.experiment.defaults import complete, made_name
from lmkit.experiment.messages import describe_errors
from lmkit.experiment.origin import note_file
from lmkit.experiment.paths import paths, with_paths
from lmkit.specs.base import Spec
from lmkit.specs.data import Data, DataSpec
from lmkit.specs.losses import resolve_loss
from lmkit.specs.models import MLP, Model
from lmkit.specs.plain import dump_yaml, load_yaml, not_yaml, plain
from lmkit.specs.training import EarlyStopping, TrainingSpec
from lmkit.system.files import write_text
from lmkit.system.reading import read_text


class Experiment(Spec):
    """Everything that is needed to repeat a run: name, framework, seed, data, model and training.

    Parts are given as mappings, or as one word where the defaults will do.

    Raises:
        ConfigError: for each problem the path, what was given, what was expected.

    >>> experiment = Experiment(data="digits", model={"family": "mlp", "hidden": [64]})
    >>> experiment.override({"training.optimizer.lr": 0.1}).training.optimizer.lr
    0.1
    >>> Experiment.from_yaml(experiment.to_yaml()) == experiment
    True
    """

    name: Annotated[str, Field(max_length=64)] = ""
    """What runs are called; empty: made from the data and the model."""
    framework: Literal["torch", "tensorflow"] = "torch"
    """Which framework trains."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides the split, the first weights and the order of the data."""
    data: Data = DataSpec()
    """What to train on."""
    model: Model = MLP()
    """What is trained."""
    training: TrainingSpec = TrainingSpec()
    """How it is trained, and when training ends."""

    def __init__(self, /, **values: Any) -> None:
        values = plain({k: v.model_dump() if isinstance(v, Spec) else v for k, v in values.items()})
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(describe_errors(error, values, Experiment)) from None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, values: Any) -> Any:
        """Complete the values with defaults and a name."""
        if not isinstance(values, dict):
            return values
        values = complete(values)
        return values if values.get("name") else {**values, "name": made_name(values["data"], values["model"])}

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name) or ".." in self.name:
            raise ValueError(
                f"name: given {shorten(self.name)}, expected letters, digits, '.', '_' and '-', the first a "
                f"letter or digit"
            )
        if self.training.early_stopping and self.data.validation == 0:
            raise ValueError(
                "training.early_stopping: watches the validation loss, and data.validation is 0; "
                "write early_stopping: null, or "
                "data: {validation: 0.2}"
            )
        bundled = self.data.bundled
        if bundled:
            if self.data.target is not None:
                raise ValueError(
                    f"data.target: given {shorten(self.data.target)}, but {self.data.source} already has a target; "
                    "leave target out"
                )
            task = bundled.task if self.data.task == "auto" else self.data.task
            if task != bundled.task and not bundled.suits(task):
                raise ValueError(f"data.task: given {shorten(task)}, expected {bundled.task!r} for {self.data.source}")
        signature = self.data.signature
        try:
            if bundled or signature:
                task = signature.task if signature else bundled.task  # type: ignore[union-attr]
                resolve_loss(self.training.loss, task, custom_model=self.model.is_custom)
            if signature:
                self.model.check(signature)
        except ConfigError as error:
            raise ValueError(error.problems[0]) from None
        return self

    # -- to and from ------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the whole configuration as plain values."""
        return self.model_dump(mode="json")

    def settings(self) -> dict[str, Any]:
        """Return every path and its value, as ``override`` takes them: ``{"training.optimizer.lr": 0.01, …}``."""
        settings: dict[str, Any] = {}

        def walk(value: Any, path: str) -> None:
            if isinstance(value, Mapping) and value:
                for name, inner in value.items():
                    walk(inner, f"{path}.{name}" if path else str(name))
            else:
                settings[path] = value

        walk(self.to_dict(), "")
        return settings

    def to_yaml(self) -> str:
        """Return the whole configuration as YAML."""
        return dump_yaml(self.to_dict())

    def to_json(self) -> str:
        """Return the whole configuration as JSON."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """Return the experiment of a mapping; missing parts take their defaults."""
        if not isinstance(values, Mapping):
            raise ConfigError([f"given {shorten(values)}, expected a mapping such as {{data: digits, model: mlp}}"])
        unknown = [k for k in values if not isinstance(k, str)]
        if unknown:
            raise ConfigError([f"{shorten(unknown[0])}: expected a name as key"])
        return cls(**values)

    @classmethod
    def from_yaml(cls, text: str) -> Experiment:
        """Return the experiment of a YAML (or JSON) text."""
        try:
            values = load_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError([not_yaml(error)]) from None
        return cls.from_dict({} if values is None else values)

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """Return the experiment of a JSON text."""
        return cls.from_yaml(text)  # JSON is YAML too

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """Return the experiment of a .yaml or .json file.

        Code that it names runs unasked only if it is this user's; see ``lk.trust``.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise ConfigError([f"no file {str(path)!r}; expected an experiment as YAML or JSON"])
        try:
            text = read_text(path)
        except (OSError, DamagedFile) as error:
            problem = getattr(error, "problem", error)
            raise ConfigError([f"the file {str(path)!r} cannot be read as text: {problem}"]) from None
        experiment = cls.from_yaml(text)
        note_file(experiment.to_dict(), path)
        return experiment

    def save(self, path: str | Path) -> None:
        """Write the experiment to a .yaml or .json file.

        Raises:
            ConfigError: the folder of the file does not exist.
            OSError: the file cannot be written.
        """
        path = Path(path).expanduser()
        if not path.parent.is_dir():
            raise ConfigError([f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}"])
        write_text(path, self.to_json() if path.suffix == ".json" else self.to_yaml())

    # -- changes ----------------------------------------------------------------------------------

    def override(self, changes: Mapping[str, Any]) -> Experiment:
        """Return a copy with some paths changed, such as ``{"training.optimizer.lr": 0.1}``.

        The end of a path is enough where only one path has it (``lr``, ``optimizer.lr``, ``hidden``).
        Changing which kind a part is (``training.optimizer.name``) gives it that kind's own defaults.

        Raises:
            ConfigError: a path does not exist, is ambiguous, or its value is not allowed.
        """
        resolved, later = self._resolve_all(changes)
        if later:
            return self.override(resolved).override(later)
        values = with_paths(self.to_dict(), resolved)
        is_set = any(path == "training" or path.startswith("training.early_stopping") for path in resolved)
        if self.training.early_stopping == EarlyStopping() and not is_set:
            values["training"].pop("early_stopping", None)  # the default follows data.validation
        if "name" not in resolved and self.name == made_name(self.data.source, self.model.family):
            values["name"] = ""  # a default name follows the changes
        return Experiment.from_dict(values)

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> Experiment:
        """Return an experiment from some of its paths; defaults depend on the data and the model.

        Raises:
            ConfigError: as for ``override``.

        >>> Experiment.of({"model": "cnn:small", "epochs": 3}).data.source
        'digits'
        """
        resolved, later = cls()._resolve_all(changes)
        parts = ("data.", "model.", "training.steps")
        early = {path: value for path, value in resolved.items() if "." not in path or path.startswith(parts)}
        rest = {path: value for path, value in resolved.items() if path not in early}
        return cls.from_dict(with_paths({}, early)).override({**rest, **later})

    def _resolve_all(self, changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the changes by full path, and those whose path exists at the earliest once these have been made.

        ``momentum`` exists once ``optimizer`` is ``sgd``.
        """
        resolved, later = {}, {}
        for path, value in changes.items():
            try:
                resolved[self._resolve(path)] = value
            except ConfigError:
                later[path] = value
        if not resolved:
            later = {self._resolve(path): value for path, value in later.items()}  # raises
        return resolved, later

    def _resolve(self, path: str) -> str:
        """Return the full path of a short one."""
        everything = list(paths(self))
        head, dot, rest = path.partition(".")
        if head in Experiment.model_fields:
            return path
        ends = [k + dot + rest for k in everything if k.rsplit(".", 1)[-1] == head]
        if len(ends) == 1:
            return ends[0]
        if ends:
            raise ConfigError([f"{path}: ambiguous; write one of {join_names(ends)}"])
        raise ConfigError(
            [f"{path}: no such path; {nearest(path, dict.fromkeys(k.rsplit('.', 1)[-1] for k in everything))}"]
        )

    def __str__(self) -> str:
        return self.to_yaml()

    def _repr_markdown_(self) -> str:
        """YAML without unset fields, for notebooks."""
        return f"```yaml\n{dump_yaml(self.model_dump(mode='json', exclude_none=True))}\n```"
