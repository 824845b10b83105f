"""lmkit's engine for papermill: all output is copied to the log, and the notebook's outputs are limited in size."""

from __future__ import annotations

from typing import Any

from nbclient.exceptions import CellExecutionError
from nbclient.util import run_sync
from nbformat import from_dict
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.log import logger

from lmkit.batch.output_limits import OutputBudget, TruncatedText, truncate_error

ENGINE = "lmkit"
"""The engine's name in papermill."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

OUTPUT_TIMEOUT = 60
"""Seconds that outputs may take to arrive after their cell has ended, as large ones do."""


class Client(PapermillNotebookClient):  # type: ignore[misc]
    """Executes the cells and receives the kernel's messages."""

    cell: Any = None

    async def async_execute_cell(self, cell: Any, cell_index: int, *arguments: Any, **options: Any) -> Any:
        """Execute a cell; an error that the kernel only replies with, or prints, becomes an output too."""
        try:
            return await super().async_execute_cell(cell, cell_index, *arguments, **options)
        except CellExecutionError as error:
            if all(o.output_type != "error" for o in cell.outputs):
                content = {"ename": error.ename or "Error", "evalue": error.evalue, "traceback": []}
                truncate_error(content)
                cell.outputs.append(new_output("error", **content))
            raise

    execute_cell = run_sync(async_execute_cell)

    def set_widgets_metadata(self) -> None:
        """Write no state of widgets, which would be megabytes; what ``Output`` widgets captured becomes outputs."""
        for cell in self.nb.cells:
            outputs = cell.get("outputs", [])
            for i, output in reversed(list(enumerate(outputs))):
                view = output.get("data", {}).get(WIDGET_VIEW)
                if isinstance(view, dict):
                    outputs[i + 1 : i + 1] = self._captured_outputs(str(view.get("model_id")), set())

    def _captured_outputs(self, model: str, seen: set[str]) -> list[Any]:
        """Return the outputs of a widget and of the widgets in it, in their order."""
        state = self.widget_state.get(model, {})
        if model in seen:
            return []
        seen.add(model)
        outputs = [from_dict(o) for o in state.get("outputs") or () if isinstance(o, dict)]
        for child in state.get("children") or ():
            outputs += self._captured_outputs(str(child).removeprefix("IPY_MODEL_"), seen)
        return outputs

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Limit the size of a message's output, and add it to the cell."""
        if cell is not self.cell:
            self.cell = cell
            self._reset()
        kind, content = msg["msg_type"], msg["content"]
        if kind == "stream":
            text = content["text"]
            output = self._add_text(msg, cell, cell_index)
            self.stdout_file.write(text)  # second: what was printed on the log is in the notebook
            self.stdout_file.flush()
            return output
        if kind in ("display_data", "execute_result"):
            content["data"] = self.budget.select(content["data"])
        elif kind == "update_display_data":
            content["data"] = OutputBudget().select(content["data"])  # it replaces another output
        elif kind == "error":
            truncate_error(content)
        return super().process_message(msg, cell, cell_index)

    def _add_text(self, msg: Any, cell: Any, cell_index: int) -> Any:
        name, piece = msg["content"]["name"], msg["content"]["text"]
        text = self.texts.setdefault(name, TruncatedText("; the log has the full text"))
        visible, node = text.add(piece), self.tails.get(name)
        if node is not None:
            node["text"] = visible
            self.nb_man.autosave_cell()
            return None
        msg["content"]["text"] = visible
        output = super().process_message(msg, cell, cell_index)
        if text.long and output is not None:
            self.tails[name] = output
        return output

    def log_output_message(self, output: Any) -> None:
        """Do nothing: the output was logged when it arrived."""

    def clear_output(self, *arguments: Any) -> None:
        """Remove the cell's outputs."""
        super().clear_output(*arguments)
        self._reset()

    def _reset(self) -> None:
        self.budget = OutputBudget()
        self.texts: dict[str, TruncatedText] = {}
        self.tails: dict[str, Any] = {}
        """Stream → the output that holds the rest of its text, once it is truncated."""


class LimitedEngine(Engine):  # type: ignore[misc]
    """Executes notebooks with ``Client``."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        """Execute a notebook as papermill's own engine does, with another client."""
        options["startup_timeout"] = options.pop("start_timeout")
        del options["input_path"]
        for key in ("input_path", "output_path"):  # a copy of the whole notebook, and a temporary path
            nb_man.nb.metadata.papermill.pop(key, None)
        if folder := options.pop("folder"):
            options["resources"] = {"metadata": {"path": folder}}
        options |= {"kernel_name": kernel_name, "iopub_timeout": OUTPUT_TIMEOUT, "log": logger}
        return Client(nb_man, **options).execute()


papermill_engines.register(ENGINE, LimitedEngine)
