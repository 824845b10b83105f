"""The configurator's buttons: Train, Save and Load."""

from __future__ import annotations

import html
import time
from pathlib import Path
from typing import Any, Protocol

from lmkit.exceptions import ConfigError
from lmkit.experiment.experiment import Experiment
from lmkit.widgets import elements as E
from lmkit.widgets.form import in_fields
from lmkit.widgets.trust import TrustButton

FILES = (".yaml", ".yml", ".json")
"""File name extensions of a saved experiment."""


class Owner(Protocol):
    """The part of the configurator that the buttons use."""

    experiment: Any
    problems: Any

    def current_experiment(self) -> Experiment | None:
        """The experiment that the form's values make; None while they are invalid."""

    def show(self, experiment: Experiment) -> None:
        """Fill the form with ``experiment``."""

    def train(self, *, trust: bool = False) -> Any:
        """Start a run."""


class Actions:
    """The buttons Train, Save and Load, and the message of the last action."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.button = E.Button(description="Train", tooltip="Start a run with this configuration")
        self.button.add_class("lkc-train")
        self.path = E.Text(
            "experiment.yaml",
            placeholder="experiment.yaml",
            tooltip="File to save to or load from (.yaml or .json)",
        )
        save = E.Button(description="Save", tooltip="Write the configuration to the file")
        load = E.Button(description="Load", tooltip="Fill the form from the file")
        self.status = E.HTML()
        self.status.add_class("lkc-status")
        file = E.Row([self.path, save, load])
        file.add_class("lkc-file")
        self.widget = E.Row([self.button, self.status, file])
        self.widget.add_class("lkc-actions")
        self._started = 0.0
        self._overwritable = ""
        self.saved: Experiment | None = None
        """The experiment that the form was filled with, or that was saved last."""
        self._discardable: Experiment | None = None
        self.trust = TrustButton("Trust this code")
        self.button.on_click(self._train)
        save.on_click(self._save)
        load.on_click(self._load)

    def show_message(self, text: str, is_error: bool = False) -> None:
        """Show a message next to the buttons."""
        self.trust.hide()
        kind = "lkc-problem" if is_error else "lkc-soft"
        self.status.value = f'<span class="{kind}" role="status">{html.escape(text)}</span>'

    def offer_trust(self, text: str) -> None:
        """Show which code would run, next to a button that trusts it and starts a run."""
        self.show_message("This experiment names code from elsewhere.", is_error=True)
        self.trust.show(text, self._train_trusted)

    def _train_trusted(self) -> str:
        self.owner.train(trust=True)
        return "Its code is trusted on this machine."

    def show(self) -> None:
        """Show whether the experiment can be trained."""
        problems = self.owner.problems
        self.button.disabled = bool(problems)
        if not problems:
            self.show_message("Ready to train.")
            return
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        self.show_message(f"{in_fields(problems[0])}{more}", is_error=True)

    def _train(self, _: Any) -> None:
        if time.monotonic() - self._started < 1.0:
            return  # a double click
        if not self.owner.problems:
            self.owner.train()
        self._started = time.monotonic()

    def _path(self) -> Path | None:
        text = self.path.value.strip()
        if not text.endswith(FILES):
            self.show_message(f"Given {text!r}, expected a file that ends in {', '.join(FILES)}.", is_error=True)
            return None
        return Path(text).expanduser()

    def _save(self, _: Any) -> None:
        path = self._path()
        if path is None:
            return
        if self.owner.problems and self.owner.current_experiment() is None:
            self.show_message(f"Not saved: {self.owner.problems[0]}", is_error=True)
            return
        try:
            if path.exists() and self._overwritable != str(path):
                self._overwritable = str(path)
                self.show_message(f"{path} already exists. Click Save again to overwrite.", is_error=True)
                return
            if not path.parent.is_dir():
                self.show_message(f"Cannot write {path}: there is no folder {str(path.parent)!r}", is_error=True)
                return
            self.owner.experiment.save(path)
        except OSError as error:
            reason = error.strerror
            self.show_message(f"Cannot write {path}: {reason}", is_error=True)
            return
        self._overwritable = str(path)
        self.saved = self.owner.experiment
        self.show_message(f"Saved to {path}.")

    def _load(self, _: Any) -> None:
        path = self._path()
        if path is None:
            return
        try:
            experiment = Experiment.load(path)
        except (ConfigError, OSError) as error:
            self.show_message("; ".join(getattr(error, "problems", [str(error)])), is_error=True)
            return
        current = self.owner.current_experiment() or self.owner.experiment
        if current not in (self.saved, self._discardable):
            self._discardable = current
            self.show_message("The form has unsaved changes. Click Load again to replace them.", is_error=True)
            return
        self.owner.show(experiment)
        self._overwritable = str(path)
        if not self.owner.problems:
            self.show_message(f"Loaded from {path}.")
