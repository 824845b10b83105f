"""The live comparison's side of the kernel: what it tells the page, what it does when asked, what a notebook keeps."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from IPython import get_ipython
from live_page import Page

import lmkit as lk
from lmkit.deploy.compare import job as working
from lmkit.deploy.compare.benchmark import Cancelled
from lmkit.deploy.compare.comparison import Comparison
from lmkit.deploy.measure.statistics import Interval, Latency
from lmkit.deploy.techniques.base import techniques
from lmkit.deploy.variant import Variant
from lmkit.widgets.comparison import LiveComparison, comparison_state
from lmkit.widgets.output import comparison_outputs

SURE = Interval(1.0, 0.98, 1.02)


def timed(variant: Variant, ratio: float, size: int, accuracy: float, flags: tuple[str, ...] = ()) -> Variant:
    """The variant as it would be measured."""
    own = Interval(ratio, 0.97 * ratio, 1.03 * ratio)
    p50 = Interval(1e-3 * ratio, 0.97e-3 * ratio, 1.03e-3 * ratio)
    latency = Latency(batch=1, p50=p50, p95=None, ratio=own, control=SURE, calls=90)
    seconds = {"import_seconds": 0.1, "load_seconds": 0.2, "first_seconds": 0.3}
    return replace(
        variant,
        state="measured",
        size_bytes=size,
        seconds=seconds,
        latency=(latency,),
        metrics={"accuracy": accuracy},
        agreement=1.0,
        flags=flags,
    )


FOUND: dict[str, Callable[[Variant], Variant]] = {
    "baseline": lambda v: timed(v, 1.0, 200_000, 0.95),
    "onnx": lambda v: timed(v, 0.4, 210_000, 0.95),
    "onnx-int8-static": lambda v: timed(v, 0.3, 60_000, 0.945),
    "onnx-int8-dynamic": lambda v: timed(v, 0.2, 60_000, 0.2, ("should compute in int8, but computes in float32",)),
    "saved-model": lambda v: replace(v, state="not applicable", reason="PyTorch does not write it"),
}


class Pass:
    """Takes the place of a session: each variant is measured when the test says so."""

    def __init__(self, variants: list[Variant], runs: Any, scratch: Any, settings: Any, report: Any) -> None:
        self.variants, self.report = variants, report
        self.step, self.cancelled = threading.Semaphore(0), False
        passes.append(self)

    def run(self) -> None:
        for i, variant in enumerate(self.variants):
            if variant.state != "pending":
                continue
            self.report(f"building {variant.name}")
            self.step.acquire(timeout=20)
            if self.cancelled:
                raise Cancelled
            self.variants[i] = FOUND[variant.technique](variant)
            self.report(variant.name)

    def cancel(self) -> None:
        self.cancelled = True
        self.step.release()


passes: list[Pass] = []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    return lk.train(data="wine", epochs=1, inline=True, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def compared(run: lk.Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Comparison]:
    """A comparison of which nothing is measured yet; ``passes[-1].step`` lets it go on."""
    monkeypatch.setattr(working, "Benchmark", Pass)
    monkeypatch.setattr("lmkit.deploy.compare.comparison.CACHED_SECONDS", 0.0)
    passes.clear()
    found = lk.compare(run, list(FOUND), wait=False)
    yield found
    found.cancel()


def go_on(compared: Comparison, variants: int) -> None:
    """Lets so many variants be measured, and waits until the next one is begun, or all is done."""
    until = time.monotonic() + 20
    while not compared.doing.startswith("building") and time.monotonic() < until:
        time.sleep(0.01)  # a pass that was just started
    begun = threading.Event()
    wanted = sum(v.state == "pending" for v in compared.variants) - variants

    def listen(*_: Any) -> None:
        left = sum(v.state == "pending" for v in compared.variants)
        if left <= wanted and (compared.doing.startswith("building") or compared.state != "running"):
            begun.set()

    assert compared.job
    compared.job.listeners.append(listen)
    for _ in range(variants):
        passes[-1].step.release()
    assert begun.wait(20)
    compared.job.listeners.remove(listen)


def test_the_page_is_told_what_is_new(compared: Comparison) -> None:
    page = Page(LiveComparison(compared))
    page.ask("ready")
    whole = page.take("update")
    assert whole["reset"]
    assert [r["technique"] for r in whole["rows"]] == list(FOUND)
    assert {r["state"] for r in whole["rows"]} == {"pending"}
    assert whole["chart"] is None
    go_on(compared, 1)
    (news,) = [h for h in page.messages if "rows" in h]
    assert [r["technique"] for r in news["rows"]] == ["baseline"]
    assert news["advice"]["name"].endswith("/baseline")
    assert news["chart"]["series"]
    assert page.messages[-1]["status"]["activity"].endswith("/onnx")
    assert page.messages[-1]["status"]["done"] == 1
    json.dumps(page.messages)


def test_numbers_sort_as_numbers_and_ratios_carry_their_interval(compared: Comparison) -> None:
    go_on(compared, 5)
    news = comparison_state(compared, "smallest")
    size, ratio = news["columns"].index("size"), news["columns"].index("ratio to baseline [95 %]")
    assert [r["cells"][size]["value"] for r in news["rows"][:2]] == [200_000, 210_000]
    assert news["rows"][1]["cells"][size]["text"] == "210 kB"
    cell = news["rows"][1]["cells"][ratio]
    assert cell["span"] == pytest.approx((0.388, 0.412))
    assert cell["band"][0] <= 1 <= cell["band"][1]
    flagged, lacking = news["rows"][3], news["rows"][4]
    assert flagged["flags"] == ["should compute in int8, but computes in float32"]
    assert lacking["state"] == "not applicable"
    assert lacking["reason"] == "PyTorch does not write it"
    drawn = [series for series in news["chart"]["series"] if series["labels"]]
    named = {label for s in drawn for label, shown in zip(s["labels"], s["labelled"], strict=True) if shown}
    assert named == {"onnx", "onnx-int8-static"}, "what no other one beats in latency and accuracy"


def test_what_to_ship_follows_the_words(compared: Comparison) -> None:
    page = Page(LiveComparison(compared, stay=True))
    go_on(compared, 5)
    page.ask("constraint", text="smallest within 1 point of accuracy")
    assert page.take("update")["advice"]["name"].endswith("/onnx-int8-static")
    page.ask("constraint", text="prettiest")
    advice = page.take("update")["advice"]
    assert advice["is_error"]
    assert "given 'prettiest', but 'prettiest' cannot be read" in advice["text"]
    page.ask("constraint", text="under 1 kB")
    assert "no variant is under 1 kB" in page.take("update")["advice"]["text"]


def test_cancelled_and_resumed_from_the_page(compared: Comparison) -> None:
    page = Page(LiveComparison(compared))
    go_on(compared, 2)
    page.ask("cancel")
    compared.wait(20)
    assert [v.state for v in compared] == ["measured"] * 2 + ["cancelled"] * 3
    assert compared.state == "cancelled"
    assert page.take("update")["status"]["state"] == "cancelled"
    page.ask("resume")
    go_on(compared, 3)
    assert compared.wait(20).state == "completed"
    assert len(compared.measured) == 4


def test_further_techniques_are_measured_as_well(compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(LiveComparison(compared, stay=True))
    names = {t["name"] for t in page.live.widget.techniques}
    assert names == set(techniques())
    assert all(t["help"] for t in page.live.widget.techniques)
    go_on(compared, 5)
    page.ask("add", names=["onxx"])
    assert "techniques: given 'onxx'" in page.take("message")["text"]
    monkeypatch.setitem(FOUND, "torch-export", FOUND["onnx"])
    page.ask("add", names=["torch-export", "onnx"])
    go_on(compared, 1)
    assert [v.technique for v in compared.wait(20)] == [*FOUND]


def test_a_page_may_ask_nothing_else(compared: Comparison) -> None:
    page = Page(LiveComparison(compared))
    for kind in ("wait", "say", "_tell", "__class__"):
        page.ask(kind, text="x", message={})
    assert page.messages == []


def test_a_bundle_is_asked_for_by_a_folder(compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    def write_bundle(self: Variant, out: str) -> Path:
        written.append((self.technique, out))
        return Path(out)

    monkeypatch.setattr(Variant, "bundle", write_bundle)
    page = Page(LiveComparison(compared, stay=True))
    go_on(compared, 2)
    page.ask("bundle", name=compared.variants[1].name, out=" ")
    assert "Enter a folder" in page.take("message")["text"]
    assert not written
    page.ask("bundle", name=compared.variants[1].name, out="out")
    assert page.take("message")["text"] == "Bundle of onnx: out"
    assert written == [("onnx", "out")]


def test_live_it_is_a_widget_and_in_the_end_words_table_and_chart(
    compared: Comparison, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "on")
    get_ipython().display_formatter.format(compared)
    assert "application/vnd.jupyter.widget-view+json" in outputs[0]["data"]
    places = [o["transient"]["display_id"] for o in outputs]
    outputs.clear()
    go_on(compared, 5)
    compared.wait(20)
    assert [o["transient"]["display_id"] for o in outputs] == places
    assert all(o["update"] for o in outputs)
    words, table, chart = [o["data"] for o in outputs]
    assert "onnx-int8-static is the fastest" in words["text/plain"]
    assert "<script" not in table["text/html"]
    assert "PyTorch does not write it" in table["text/html"]
    assert set(chart) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}


def test_whoever_uses_it_keeps_it_until_it_is_closed(
    compared: Comparison, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "on")
    live = LiveComparison(compared)
    page = Page(live)
    live._ipython_display_()
    page.ask("keep")
    outputs.clear()
    go_on(compared, 5)
    compared.wait(20)
    assert outputs == []
    page.ask("close")
    assert len(outputs) == 3
    assert len(page.take("ended")["outputs"]) == 3


def test_without_widgets_it_waits_and_shows_table_and_chart(
    compared: Comparison, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "off")
    go_on(compared, 5)
    get_ipython().display_formatter.format(compared)
    assert [set(o["data"]) for o in outputs] == [
        {"text/html", "text/plain"},
        {"application/vnd.plotly.v1+json", "image/png", "text/plain"},
    ]


def test_what_a_notebook_keeps_of_forty_variants_is_small() -> None:
    def numbered(i: int) -> Variant:
        return timed(
            Variant("r", f"prune-{i}+onnx-int8-static" if i else "baseline", "prune"), 0.5 + i / 40, 10_000 * i + 1, 0.9
        )

    many = Comparison(map(numbered, range(40)))
    assert len(json.dumps([data for data, _ in comparison_outputs(many)])) <= 60_000


def test_the_chart_calls_variants_as_the_table_does_however_few_are_measured() -> None:
    runs = {"torch": "20260101-000000-a-1a2b3c", "tensorflow": "20260101-000001-a-4d5e6f"}
    asked = [
        Variant(run, t, techniques()[t].group, framework=f) for f, run in runs.items() for t in ("baseline", "onnx")
    ]
    for measured in (2, 4):
        now = [FOUND[v.technique](v) if i < measured else v for i, v in enumerate(asked)]
        page = comparison_state(Comparison(now), "smallest")
        rows = {r["label"]: r["run"] for r in page["rows"]}
        assert rows == {f"{framework}/{t}": framework for framework in runs for t in ("baseline", "onnx")}
        drawn = {label for series in page["chart"]["series"] for label in series["labels"]}
        assert drawn == set(list(rows)[:measured])
