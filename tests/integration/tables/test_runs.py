"""Tables show themselves as aligned text and as HTML without script, and hold what the run's folder holds."""

from __future__ import annotations

from sklearn.datasets import load_breast_cancer

import lmkit as lk
from lmkit.display.table import Table


def rows(table: Table) -> dict[str, tuple[object, ...]]:
    return {str(row[0]): row[1:] for row in table.rows}


# -- of a run -------------------------------------------------------------------------------------


def test_tables_of_a_real_run() -> None:
    run = lk.train(data="breast_cancer", epochs=2, inline=True)
    table = rows(lk.tables.metrics(run))
    last = run.history.iloc[-1]
    for name in ("loss", "accuracy", "auc"):
        assert table[name][:3] == (last[name], last[f"val_{name}"], run.metrics[name])
    assert rows(lk.tables.environment(run))["device"][0] == run.environment["backend"]["device"]
    assert rows(lk.tables.summary(run))["state"] == ("completed",)
    assert len(run.predictions) == round(0.2 * len(load_breast_cancer().target))
