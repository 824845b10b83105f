"""The experiment: data, model and training in one typed, validated, immutable configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from lmkit.errors import ConfigError, nearest
from lmkit.specs.base import Spec
from lmkit.specs.data import Data, DataSpec
from lmkit.specs.losses import resolve_loss
from lmkit.specs.models import DATA, FOR_KIND, MLP, OF_KIND, TRAINING, Model
from lmkit.specs.plain import dump_yaml, load_yaml, not_yaml, plain
from lmkit.specs.references import OBJECT, label
from lmkit.specs.training import TrainingSpec

TAGS = ("name", "family")
"""The fields that choose which kind of part it is."""

WORDS = {"data": "source", "model": "family", "optimizer": "name", "schedule": "name"}
"""Part → the field that one word stands for: ``optimizer: adam`` is ``optimizer: {name: adam}``."""


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
            raise ConfigError(_problem(e, values) for e in error.errors()) from None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, values: Any) -> Any:
        """Data, model and training that are not given suit those that are; a name is made of data and model."""
        if not isinstance(values, dict):
            return values
        values = _suited(values)
        return values if values.get("name") else {**values, "name": made_name(values["data"], values["model"])}

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name) or ".." in self.name:
            raise ValueError(
                f"name: given {self.name!r}, expected letters, digits, '.', '_' and '-', the first a letter or digit"
            )
        if self.training.early_stopping and self.data.validation == 0:
            raise ValueError(
                "training.early_stopping: watches the validation loss, and data.validation is 0; "
                "write data: {validation: 0.2}"
            )
        known = self.data.bundled
        if known:
            if self.data.target is not None:
                raise ValueError(
                    f"data.target: given {self.data.target!r}, but {self.data.source} has a target of its own; "
                    "leave target out"
                )
            task = known.task if self.data.task == "auto" else self.data.task
            if task != known.task:
                raise ValueError(f"data.task: given {task!r}, expected {known.task!r} for {self.data.source}")
        signature = self.data.signature
        try:
            if known or signature:
                resolve_loss(self.training.loss, known.task if known else signature.task)  # type: ignore[union-attr]
            if signature:
                self.model.check(signature)
        except ConfigError as error:
            raise ValueError(error.problems[0]) from None
        return self

    # -- to and from ------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The whole configuration as plain values."""
        return self.model_dump(mode="json")

    def settings(self) -> dict[str, Any]:
        """Every path and its value, as ``override`` takes them: ``{"training.optimizer.lr": 0.01, …}``."""
        found: dict[str, Any] = {}

        def walk(value: Any, path: str) -> None:
            if isinstance(value, Mapping) and value:
                for name, inner in value.items():
                    walk(inner, f"{path}.{name}" if path else str(name))
            else:
                found[path] = value

        walk(self.to_dict(), "")
        return found

    def to_yaml(self) -> str:
        """The whole configuration as YAML."""
        return dump_yaml(self.to_dict())

    def to_json(self) -> str:
        """The whole configuration as JSON."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """The experiment that a mapping describes; missing parts take their defaults."""
        if not isinstance(values, Mapping):
            raise ConfigError([f"given {values!r}, expected a mapping such as {{data: digits, model: mlp}}"])
        unknown = [k for k in values if not isinstance(k, str)]
        if unknown:
            raise ConfigError([f"{unknown[0]!r}: expected a name as key"])
        return cls(**values)

    @classmethod
    def from_yaml(cls, text: str) -> Experiment:
        """The experiment that a YAML (or JSON) text describes."""
        try:
            values = load_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError([not_yaml(error)]) from None
        return cls.from_dict({} if values is None else values)

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """The experiment that a JSON text describes."""
        return cls.from_yaml(text)  # JSON is YAML too

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """The experiment in a .yaml or .json file."""
        path = Path(path)
        if not path.is_file():
            raise ConfigError([f"there is no file {str(path)!r}; expected an experiment as YAML or JSON"])
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"the file {str(path)!r} cannot be read as text: {error}"]) from None
        return cls.from_yaml(text)

    def save(self, path: str | Path) -> None:
        """Writes the experiment to a .yaml or .json file."""
        path = Path(path)
        path.write_text(self.to_json() if path.suffix == ".json" else self.to_yaml(), encoding="utf-8")

    # -- changes ----------------------------------------------------------------------------------

    def override(self, changes: Mapping[str, Any]) -> Experiment:
        """A copy with some paths changed, such as ``{"training.optimizer.lr": 0.1}``.

        The end of a path is enough where only one path has it (``lr``, ``optimizer.lr``, ``hidden``).
        Changing which kind a part is (``training.optimizer.name``) gives it that kind's own defaults.

        Raises:
            ConfigError: a path does not exist, is ambiguous, or its value is not allowed.
        """
        resolved = {self._resolve(path): value for path, value in changes.items()}
        values = _placed(self.to_dict(), resolved)
        if "name" not in resolved and self.name == made_name(self.data.source, self.model.family):
            values["name"] = ""  # a name that was made is made anew
        return Experiment.from_dict(values)

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> Experiment:
        """An experiment of which only some paths are given: what is not suits the data and the model that are.

        Raises:
            ConfigError: as for ``override``.

        >>> Experiment.of({"model": "cnn:small", "epochs": 3}).data.source
        'digits'
        """
        default = cls()
        resolved = {default._resolve(path): value for path, value in changes.items()}
        parts = ("data.", "model.", "training.steps")
        chosen = {path: value for path, value in resolved.items() if "." not in path or path.startswith(parts)}
        rest = {path: value for path, value in resolved.items() if path not in chosen}
        return cls.from_dict(_placed({}, chosen)).override(rest)

    def _resolve(self, path: str) -> str:
        """The whole path that ``path`` names."""
        known = list(paths(self))
        head, dot, rest = path.partition(".")
        if head in Experiment.model_fields:
            return path
        ends = [k + dot + rest for k in known if k.rsplit(".", 1)[-1] == head]
        if len(ends) == 1:
            return ends[0]
        if ends:
            raise ConfigError([f"{path}: more than one path ends so; write one of {', '.join(ends)}"])
        raise ConfigError(
            [f"{path}: no such path; {nearest(path, dict.fromkeys(k.rsplit('.', 1)[-1] for k in known))}"]
        )

    def __str__(self) -> str:
        return self.to_yaml()

    def _repr_markdown_(self) -> str:
        """How a notebook shows it: as YAML, without what is not set."""
        return f"```yaml\n{dump_yaml(self.model_dump(mode='json', exclude_none=True))}\n```"


def _placed(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an experiment with some whole paths changed."""
    for path in sorted(changes, key=lambda p: (p.count("."), p.rsplit(".", 1)[-1] not in TAGS)):
        *parents, last = path.split(".")
        part = values
        for parent in parents:
            inner = part.get(parent)
            if isinstance(inner, str) and parent in WORDS:
                inner = {WORDS[parent]: inner}  # one word, given in the same call, and more of it
            part[parent] = part = dict(inner) if isinstance(inner, Mapping) else {}
        value = changes[path]
        if last in TAGS and parents and part.get(last) != value:
            part.clear()
        part[last] = value
    return values


def _suited(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with what is not given chosen by what is."""
    data, model, training = (values.get(part) for part in ("data", "model", "training"))
    if "data" not in values or (isinstance(data, Mapping) and "source" not in data):
        data = {"source": _shown_on(model), **(data or {})}
    kind = _data_kind(data)
    if "model" not in values:
        model = FOR_KIND[kind]
    if "training" not in values or isinstance(training, Mapping):
        better = {**TRAINING.get(_word(model, "family"), {}), **OF_KIND.get(kind, {})}
        steps = (training or {}).get("steps")
        if isinstance(steps, int) and (warmup := better.get("schedule", {}).get("warmup", 0)):
            better["schedule"] = {**better["schedule"], "warmup": min(warmup, steps // 5)}
        training = {**better, **{part: _joined(better.get(part), given) for part, given in (training or {}).items()}}
    return {**values, "data": data, "model": model, "training": training}


def _shown_on(model: Any) -> str:
    """The data of a model for which none is named: its preset's, or its family's."""
    preset = model.get("preset") if isinstance(model, Mapping) else None
    word = model.get("family") if isinstance(model, Mapping) else model
    return DATA.get(f"{word}:{preset}" if preset else str(word)) or DATA.get(_word(model, "family")) or DATA["mlp"]


def _data_kind(data: Any) -> str:
    """The kind of the data; a table, where it cannot be told: what is wrong with it is told later."""
    try:
        return _DATA.validate_python(data).kind
    except (ValidationError, TypeError, ValueError):
        return "table"


_DATA: TypeAdapter[DataSpec] = TypeAdapter(Data)


def _joined(better: Any, given: Any) -> Any:
    """A part of ``training``; one that does not say which kind it is is of the kind that suits better."""
    if isinstance(better, Mapping) and isinstance(given, Mapping) and not any(tag in given for tag in TAGS):
        return {**better, **given}
    return given


def _word(part: Any, tag: str) -> str:
    """The word that says which kind a part is, as it was given, without its preset."""
    word = part.get(tag, "") if isinstance(part, Mapping) else part
    return word.partition(":")[0] if isinstance(word, str) else ""


def made_name(data: Any, model: Any) -> str:
    """The name of an experiment that was given none: its data and its model.

    >>> made_name({"source": "tables/my prices.csv"}, "mlp:wide")
    'my-prices-mlp'
    """
    source = (data.get("source") if isinstance(data, Mapping) else data) or "breast_cancer"
    own = "own" if isinstance(model, Mapping) and "builder" in model else ""
    family = (model.get("family") if isinstance(model, Mapping) else model) or own or "mlp"
    named = label(source) if str(source).startswith(OBJECT) else Path(str(source)).stem.partition(":")[0]
    words = f"{named}-{str(family).partition(':')[0]}"
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-")[:64]


def paths(part: Spec, prefix: str = "") -> Iterator[str]:
    """Every path of ``part``, such as ``training.optimizer.lr``, groups before their members."""
    for name in type(part).model_fields:
        yield prefix + name
        value = getattr(part, name)
        if isinstance(value, Spec):
            yield from paths(value, f"{prefix}{name}.")


# -- messages -------------------------------------------------------------------------------------


def _problem(error: ErrorDetails, values: Any) -> str:
    """One validation error as a sentence: path, what was given, what was expected."""
    path: list[str] = []
    at = values
    for place in map(str, error["loc"]):
        if isinstance(at, Mapping) and place not in at and place in (at.get(t) for t in TAGS):
            continue  # the tag of a union, which nobody wrote
        if place in (tag_of(s) for s in _members(path)):
            continue
        path.append(str(place))
        at = at.get(place) if isinstance(at, Mapping) else None
    where = ".".join(path)
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        owner = _spec_at(path[:-1], values)
        return (
            f"{where}: unknown key{_kind(path[:-1], owner)}; {nearest(path[-1], owner.model_fields if owner else ())}"
        )
    if kind == "union_tag_invalid":
        tag = context["discriminator"].strip("'")
        choices = [c.strip(" '") for c in context["expected_tags"].split(",")]
        return f"{where}.{tag}: given {context['tag']!r}, {nearest(context['tag'], choices)}"
    if kind == "union_tag_not_found":
        return f"{where}: expected {context['discriminator']} to say which kind it is; given {given!r}"
    if kind == "literal_error":
        choices = [c.strip(" '") for c in context["expected"].replace(" or ", ", ").split(",")]
        return f"{where}: given {given!r}, {nearest(str(given), choices)}"
    if kind == "value_error":
        text = str(context["error"])
        return text if not where or text.startswith(where) else f"{where}: {text}"
    if kind in ("model_type", "model_attributes_type"):
        owner = _spec_at(path, values)
        return f"{where}: given {given!r}, expected a mapping of {', '.join(owner.model_fields) if owner else 'fields'}"
    if kind == "missing":
        owner = _spec_at(path[:-1], values)
        about = owner.model_fields[path[-1]].description if owner else None
        return f"{where}: is missing; expected {(about or 'a value').rstrip('.')}"
    expected = "a list" if kind == "tuple_type" else re.sub(r"^(Input should be|String should have) ", "", error["msg"])
    return f"{where}: given {given!r}, expected {expected}"


def _kind(path: list[str], owner: type[Spec] | None) -> str:
    """Which kind of part it is, where there are several."""
    return f" of {tag_of(owner)!r}" if owner and len(_members(path)) > 1 else ""


def tag_of(spec: type[Spec]) -> str:
    """The word that says that a part is of this kind, such as ``adam``."""
    return next((str(spec.model_fields[t].default) for t in TAGS if t in spec.model_fields), "")


def _members(path: list[str]) -> list[type[Spec]]:
    """The kinds of part that may stand at ``path``."""
    annotation: Any = Experiment
    for name in path:
        found = [s.model_fields[name].annotation for s in _specs(annotation) if name in s.model_fields]
        if not found:
            return []
        annotation = found[0]
    members = _specs(annotation)
    return members if len(members) > 1 else []


def _specs(annotation: Any) -> list[type[Spec]]:
    """The parts that an annotation admits."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _specs(get_args(annotation)[0])
    if get_origin(annotation) in (Union, type(int | str)):
        return [s for a in get_args(annotation) for s in _specs(a)]
    return []


def _spec_at(path: list[str], values: Any) -> type[Spec] | None:
    """The kind of part at ``path``, chosen by its tag where there are several."""
    spec: type[Spec] = Experiment
    for name in path:
        if name not in spec.model_fields:
            return None
        values = values.get(name) if isinstance(values, Mapping) else None
        members = _specs(spec.model_fields[name].annotation)
        if not members:
            return None
        tags = [values.get(t) for t in TAGS] if isinstance(values, Mapping) else [values]
        spec = next(
            (s for s in members if any(s.model_fields[t].default in tags for t in TAGS if t in s.model_fields)),
            members[0],
        )
    return spec
