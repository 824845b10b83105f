"""How papermill executes a notebook here: all that is printed goes to the log, and what the notebook keeps is held."""

from __future__ import annotations

from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.log import logger

from lmkit.batch.outputs import Held, Text, hold_error

ENGINE = "lmkit"
"""Its name, for papermill."""

ARRIVAL_SECONDS = 60
"""How long what a cell put out may be on its way, once the cell has ended: some of it is large."""


class Client(PapermillNotebookClient):  # type: ignore[misc]
    """Executes the cells, and hears what their kernel says."""

    cell: Any = None

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Holds to a size what a message says is put out."""
        if cell is not self.cell:
            self.cell = cell
            self._empty()
        kind, content = msg["msg_type"], msg["content"]
        if kind == "stream":
            piece = content["text"]
            output = self._printed(msg, cell, cell_index)
            self.stdout_file.write(piece)  # what somebody may have read is in the notebook
            self.stdout_file.flush()
            return output
        if kind in ("display_data", "execute_result"):
            content["data"] = self.held.data(content["data"])
        elif kind == "update_display_data":
            content["data"] = Held().data(content["data"])  # in the place of another
        elif kind == "error":
            hold_error(content)
        return super().process_message(msg, cell, cell_index)

    def _printed(self, msg: Any, cell: Any, cell_index: int) -> Any:
        name, piece = msg["content"]["name"], msg["content"]["text"]
        text, node = self.texts.setdefault(name, Text("; the log has all")), self.ends.get(name)
        shown = text.add(piece)
        if node is not None:
            node["text"] = shown
            self.nb_man.autosave_cell()
            return None
        msg["content"]["text"] = shown
        output = super().process_message(msg, cell, cell_index)
        if text.long and output is not None:
            self.ends[name] = output
        return output

    def log_output_message(self, output: Any) -> None:
        """It was logged as it came, all of it."""

    def clear_output(self, *arguments: Any) -> None:
        """Forgets what the cell had put out."""
        super().clear_output(*arguments)
        self._empty()

    def _empty(self) -> None:
        self.held = Held()
        self.texts: dict[str, Text] = {}
        self.ends: dict[str, Any] = {}
        """Stream → the output that stands for the rest of it, once it is long."""


class Bounded(Engine):  # type: ignore[misc]
    """Executes with it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        """As papermill's own engine does, but for the client."""
        options["startup_timeout"] = options.pop("start_timeout")
        del options["input_path"]
        for place in ("input_path", "output_path"):  # all of it once more, and where it lies meanwhile
            nb_man.nb.metadata.papermill.pop(place, None)
        options |= {"kernel_name": kernel_name, "iopub_timeout": ARRIVAL_SECONDS, "log": logger}
        return Client(nb_man, **options).execute()


papermill_engines.register(ENGINE, Bounded)
