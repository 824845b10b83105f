"""A damaged record of a variant is no record: the variant is measured again, and nothing is raised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from damage import damaged, damages
from written_run import written_run

from lmkit.deploy.artifact import MEASUREMENT, RECORD, Artifact
from lmkit.deploy.compare.records import cached, conditions, is_current, read_variants, save_record
from lmkit.deploy.compare.table import table
from lmkit.deploy.measure.statistics import Interval, Latency
from lmkit.deploy.variant import Variant
from lmkit.run.run import Run

COUNT = 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a measured baseline."""
    run = written_run(tmp_path_factory.mktemp("runs"), losses=[1.0], prepared=False)
    folder = run.path / "variants" / "baseline"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"x" * 100)
    Artifact("specified", "model.bin", (4,), "float32", {"technique": "baseline"}).write(folder)
    save_record(folder, VARIANT, {"batches": [1]}, conditions())
    return run


INTERVAL = Interval(1.0, 0.9, 1.1)
VARIANT = Variant(
    "r",
    "baseline",
    "reference",
    state="measured",
    size_bytes=100,
    seconds={"import_seconds": 0.1, "load_seconds": 0.1},
    metrics={"loss": 0.5},
    latency=(Latency(1, INTERVAL, None, INTERVAL, INTERVAL, 100),),
    differences={"loss": INTERVAL},
    operations=(("add", "float32", 1),),
)


def test_a_variant_survives_its_file() -> None:
    assert Variant.from_dict(json.loads(json.dumps(VARIANT.to_dict()))) == VARIANT


@pytest.mark.parametrize("file", [MEASUREMENT, RECORD])
def test_a_damaged_record_is_no_record(run: Run, file: str) -> None:
    path, now = run.path / "variants" / "baseline" / file, conditions()
    for damage in damages(path.read_bytes(), seed=1, count=COUNT):
        with damaged(path, damage):
            variants = read_variants(run)
            assert len(variants) <= 1
            assert not variants or table(variants).text
            cached(path.parent, {"batches": [1]}, now)
            is_current(path.parent, now, "")
    assert [v.technique for v in read_variants(run)] == ["baseline"]
    assert Path(read_variants(run)[0].folder) == run.path
