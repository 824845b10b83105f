"""An explanation to look through: a menu of methods and of rows, and the chart of what is selected."""

from __future__ import annotations

import base64
import html
from typing import Any

from lmkit.display.figure import Chart
from lmkit.explanations.explanation import Explanation
from lmkit.widgets import elements as E


class ExplanationView(E.FormView):
    """The widget of an explanation; the display of ``lk.explore(explanation)``.

    Attributes:
        method: the menu of methods.
        row: the menu of rows, of a method that has a chart of each.
    """

    def __init__(self, explanation: Explanation) -> None:
        self.explanation = explanation
        self.method = E.ToggleButtons(list(explanation), tooltip="Method of explanation")
        self.row = E.Dropdown([("", 0)], description="Row", tooltip="Row whose chart is shown")
        self._picture, self._sentences = E.HTML(), E.HTML()
        root = E.Box([E.Row([self.method, self.row]), self._picture, self._sentences])
        self._list_rows()
        self._draw()
        super().__init__(root, "explanation of a model")
        self.method.observe(lambda _: self._list_rows(), "value")
        self.row.observe(lambda _: self._draw(), "value")

    @property
    def result(self) -> Any:
        """The result of the selected method."""
        return self.explanation[self.method.value]

    @property
    def chart(self) -> Chart:
        """The chart that is shown."""
        result = self.result
        chart: Chart = result.row_chart(self.row.value) if hasattr(result, "row_chart") else result.chart
        return chart

    def _list_rows(self) -> None:
        """List the rows of the selected method, as far as each has a chart."""
        result = self.result
        self.row.visible = hasattr(result, "row_chart")
        names = result.rows if self.row.visible else ("",)
        self.row.options = tuple((str(name), i) for i, name in enumerate(names))
        self.row.value = 0
        self._draw()

    def _draw(self) -> None:
        picture = base64.b64encode(self.chart.png()).decode()
        title = html.escape(self.chart.title)
        self._picture.value = f'<img alt="{title}" src="data:image/png;base64,{picture}">'
        self._sentences.value = f"<p>{html.escape(self.result.text)}</p>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, and for a saved notebook the chart that is shown as a picture."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        picture = base64.b64encode(self.chart.png()).decode()
        return {**(data or {}), "image/png": picture, "text/plain": self.explanation.text}, metadata
