"""A new task flows through the training, the charts and the tables."""

import pytest

import lmkit as lk


@pytest.mark.parametrize("streaming", ["off", "on"])
def test_a_new_task_is_trained_and_read(multilabel, tags, tmp_path, streaming):
    run = lk.train(
        lk.Experiment(
            data={**tags, "streaming": streaming},
            model="mlp",
            training={"epochs": 40, "optimizer": {"name": "sgd", "lr": 0.1}},
        ),
        runs=tmp_path / "runs",
        inline=True,
    )
    assert run.metrics["subset_accuracy"] > 0.6
    assert set(run.predict([{"a": 2.0, "b": -2.0}])) == {"up"}
    assert "share of rows with every label right" in str(lk.tables.metrics(run))
    with pytest.raises(lk.DataError, match="predicts classes, of which there is no chart"):
        lk.charts.predictions(run)
