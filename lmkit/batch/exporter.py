"""nbconvert's exporter to HTML, with formulas drawn and without reading files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from lmkit.batch.formulas import MAX_FORMULAS, formula_html


class PageExporter(HTMLExporter):  # type: ignore[misc]
    """Converts the cells of a page."""

    formulas = 0
    """The number of formulas so far."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Convert Markdown with formulas and attachments."""
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, attachments=attachments, embed_images=False, exclude_anchor_links=True)
        renderer.draw = self.draw_formula
        return str(MarkdownWithMath(renderer=renderer).render(source))

    def draw_formula(self, tex: str, block: bool) -> str:
        """Return the HTML of a formula, drawn unless there are too many."""
        self.formulas += 1
        return formula_html(tex, block, self.formulas <= MAX_FORMULAS)


class _Renderer(IPythonRenderer):  # type: ignore[misc]
    """Draws formulas; a picture that is missing in the attachments stays as its address."""

    draw: Callable[[str, bool], str]

    def inline_math(self, body: str) -> str:
        """Draw a formula in a line."""
        return self.draw(body, False)

    def block_math(self, body: str) -> str:
        """Draw a formula in a line of its own."""
        return self.draw(body, True)

    def latex_environment(self, name: str, body: str) -> str:
        """Draw an environment, such as ``align``."""
        return self.draw(f"\\begin{{{name}}}{body}\\end{{{name}}}", True)

    def _embed_image_or_attachment(self, src: str) -> str:
        name = src.removeprefix("attachment:")
        return src if src != name and name not in self.attachments else str(super()._embed_image_or_attachment(src))
