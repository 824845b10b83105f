"""Outputs that are too large are held to a size, in a notebook as on its page, and the place says what it lacks."""

from __future__ import annotations

import io
import itertools
import random
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from written_notebook import printed, write_notebook

from lmkit.batch.execute import Execution, run_template
from lmkit.batch.html import page
from lmkit.batch.output_limits import MAX_END, MAX_MESSAGE, MAX_SIZE, OutputBudget, TruncatedText, truncate

pytestmark = pytest.mark.usefixtures("kernels")

OMISSION = "\n[… {:,} characters omitted{} …]\n"


def run(tmp_path: Path, *cells: str) -> tuple[Execution, str]:
    """The notebook of these cells executed, and what went to the log."""
    log = io.StringIO()
    return run_template(write_notebook(tmp_path / "own.ipynb", *cells), log=log), log.getvalue()


def outputs(notebook: Path) -> list[nbformat.NotebookNode]:
    return [o for c in nbformat.read(notebook, as_version=4).cells for o in c.get("outputs", [])]


def ends(text: str, whole: str = "") -> str:
    return text[:MAX_END] + OMISSION.format(len(text) - 2 * MAX_END, whole) + text[-MAX_END:]


# -- printed text ---------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, MAX_END, MAX_END + 1, 2 * MAX_END, 2 * MAX_END + 1, 5 * MAX_END])
@pytest.mark.parametrize("pieces", [1, 2, 30])
def test_a_text_keeps_its_two_ends_however_it_comes(length: int, pieces: int) -> None:
    chance = random.Random(length + pieces)
    text = "".join(chance.choices("abc\n", k=length))
    cuts = [0, *sorted(chance.choices(range(length + 1), k=pieces - 1)), length]
    came, seen, end = TruncatedText("; there"), "", ""
    for start, stop in itertools.pairwise(cuts):
        shown = came.add(text[start:stop])
        seen, end = (seen, shown) if came.long else (seen + shown, "")
    assert seen + end == (text if length <= 2 * MAX_END else ends(text, "; there"))


def test_what_is_printed_is_logged_whole_and_kept_by_its_ends(tmp_path: Path) -> None:
    text = "".join(f"{i:07d} {'x' * 41}\n" for i in range(200_000))
    done, log = run(
        tmp_path,
        "for i in range(200_000):\n    print(f'{i:07d}', 'x' * 41)",
        "import sys\nfor i in range(3):\n    print('a' * END)\n    print('b' * END, file=sys.stderr)".replace(
            "END", str(MAX_END)
        ),
        "print('after')",
    )
    assert done.state == "completed"
    assert len(log) == len(text) + 6 * (MAX_END + 1) + 6, "10 MB and all that followed"
    assert log.startswith(text[:MAX_END])
    assert log.endswith("after\n")
    cells = nbformat.read(done.notebook, as_version=4).cells
    whole = "; the log has the full text"
    assert "".join(o.text for o in cells[0].outputs) == ends(text, whole)
    for name, letter in (("stdout", "a"), ("stderr", "b")):
        said = "".join(o.text for o in cells[1].outputs if o.name == name)
        assert said == ends((letter * MAX_END + "\n") * 3, whole), "each stream has its own room"
    assert done.report is not None
    assert done.report.stat().st_size < 10 * MAX_END


def test_what_was_cleared_takes_no_room(tmp_path: Path) -> None:
    done, _ = run(
        tmp_path,
        "from IPython.display import HTML, clear_output, display\n"
        "for i in range(4):\n"
        "    clear_output(wait=True)\n"
        f"    print(i, 'x' * {MAX_END - 10})\n"
        f"    display(HTML('y' * {MAX_SIZE // 2}))",
    )
    text, shown = outputs(done.notebook)
    assert text.text == f"3 {'x' * (MAX_END - 10)}\n"
    assert len(shown.data["text/html"]) == MAX_SIZE // 2


# -- all else -------------------------------------------------------------------------------------


def test_the_kinds_for_which_there_is_room_are_kept() -> None:
    budget = OutputBudget(size=100, text=50)
    large = {"text/html": "h" * 51, "image/png": "p" * 60, "text/plain": "words"}
    assert budget.select(large) == {
        "image/png": "p" * 60,
        "text/plain": "[text/html of 51 B omitted: it is too large]\nwords",
    }
    assert budget.select({"image/png": "p" * 40}) == {"image/png": "p" * 40}
    assert list(budget.select({"application/json": {"a": 1}})) == ["text/plain"], "there is no room left"
    assert budget.select({"text/plain": "x" * 10**6}) == {"text/plain": truncate("x" * 10**6)}


def test_what_is_shown_is_held_to_a_size(tmp_path: Path) -> None:
    done, log = run(
        tmp_path,
        "from IPython.display import HTML, Image, display\n"
        f"display(HTML('h' * {MAX_SIZE + 1}))\n"
        f"handle = display(HTML('first'), display_id=True)\nhandle.update(HTML('u' * {MAX_SIZE + 1}))",
        f"for i in range(3):\n    display(Image(bytes({MAX_SIZE // 3}), format='png'))",
        "'r' * 2_000_000",
    )
    assert (done.state, log) == ("completed", "")
    html, updated, first, second, third, result = outputs(done.notebook)
    said = "[text/html of 20 MB omitted: it is too large]\n<IPython.core.display.HTML object>"
    assert html.data == updated.data == {"text/plain": said}
    assert "image/png" in first.data
    assert "image/png" in second.data
    assert third.data["text/plain"].startswith("[image/png of 8.89 MB omitted: it is too large]\n")
    assert result.data == {"text/plain": truncate(repr("r" * 2_000_000))}
    assert done.report is not None
    assert "[text/html of 20 MB omitted: it is too large]" in done.report.read_text()


def test_an_error_is_held_to_a_size_too(tmp_path: Path) -> None:
    done, _ = run(tmp_path, "raise ValueError('x' * 3_000_000)")
    said = f"ValueError: {'x' * MAX_MESSAGE} [… {3_000_000 - MAX_MESSAGE:,} characters omitted …]"
    assert (done.state, done.error) == ("failed", f"cell [1] failed: {said}")
    assert done.notebook.stat().st_size < 3 * MAX_END
    assert "characters omitted …]" in "\n".join(outputs(done.notebook)[0].traceback)


# -- a page of a notebook that others executed ----------------------------------------------------


def test_a_page_holds_its_outputs_to_a_size(tmp_path: Path) -> None:
    cells = [
        new_code_cell(
            outputs=[new_output("stream", name="stdout", text="x\n" * MAX_END + "y" * MAX_END) for _ in range(3)]
        ),
        new_code_cell(outputs=[new_output("display_data", {"text/html": f"<p>{'h' * 2 * MAX_END}</p>"})]),
        *(new_code_cell(outputs=[new_output("display_data", {"image/png": "A" * (MAX_SIZE // 3)})]) for _ in range(4)),
        new_code_cell(outputs=[new_output("error", ename="E", evalue="e" * 10**6, traceback=["t" * 10**6])]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "x.ipynb")
    text = page(tmp_path / "x.ipynb").read_text(encoding="utf-8")
    assert MAX_SIZE < len(text) < MAX_SIZE + 8 * MAX_END
    assert text.count("<img") == 3
    assert "[image/png of 6.67 MB omitted: it is too large]" in text
    assert "[text/html of 500 kB omitted: it is too large]" in text
    assert "characters omitted …]\nyyy" in text
    assert "characters omitted …]\nttt" in text
    summary = text[text.index("lines; last: ") :].partition("</summary>")[0]
    assert len(summary) < 400, "a last line that is long is shortened"


def test_a_page_of_a_whole_notebook_leaves_the_notebook_as_it_is(tmp_path: Path) -> None:
    text = "a line\n" * MAX_END
    cell = new_code_cell(outputs=[new_output("stream", name="stdout", text=text)])
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "x.ipynb")
    page(tmp_path / "x.ipynb")
    assert printed(tmp_path / "x.ipynb") == text
