"""What the form shows of a text: its size, its parts, how it begins; counted another way."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from narrowing import require_value

import lmkit as lk
from lmkit.data.text import rows
from lmkit.specs.data import DataSpec
from lmkit.widgets import preview, texts
from lmkit.widgets.configurator import Configurator

DOCUMENT = "Größe & <Maß>: the cat sat on the mat.\n" * 300


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "cats.txt"
    place.write_text(DOCUMENT, encoding="utf-8")
    return place


def plain(shown: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", shown))


def test_a_text_is_counted(file: Path) -> None:
    spec = DataSpec(source=str(file), text={"length": 32})
    found = preview.load_preview(spec)
    size = len(DOCUMENT.encode())
    assert found.signature == spec.signature
    said = plain(preview.preview_html(found, spec))
    assert f"{size:,} bytes, {len(DOCUMENT):,} characters, 1 document" in said
    assert f"{size + 1:,} tokens, vocabulary of 257" in said
    rows = [
        int(n.replace(",", ""))
        for n in require_value(re.search(r"(\S+) training, (\S+) validation, (\S+) test", said)).groups()
    ]
    assert sum(rows) == found.rows
    assert abs(sum(rows) - size / 32) < 4
    assert rows[1] / sum(rows) == pytest.approx(0.1, abs=0.01)
    assert DOCUMENT[:200] in said


def test_pairs_of_bytes_are_told_apart(file: Path) -> None:
    found = preview.load_preview(DataSpec(source=str(file), text={"tokenizer": "bpe", "vocabulary": 300, "length": 32}))
    assert found.signature.vocabulary <= 300
    assert "bytes per token)" in plain(found.text)
    spans = re.findall(r"<span[^>]*>([^<]*)</span>", found.text)
    assert "".join(map(html.unescape, spans)).startswith(DOCUMENT[:100])
    assert any(len(html.unescape(s)) > 3 for s in spans)


def test_other_shares_give_other_parts(file: Path) -> None:
    spec = DataSpec(source=str(file), text={"length": 32})
    found = preview.load_preview(spec)
    half = preview.split(found, spec.model_copy(update={"test": 0.5}), 0)
    assert half.text != found.text
    none = preview.split(found, spec.model_copy(update={"test": 0.0001}), 0)  # too little for a row, said elsewhere
    assert none == found


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_a_large_text_is_counted_but_not_made_into_tokens(
    tokenizer: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "EAGER_BYTES", 1000)
    found = preview.load_preview(DataSpec(source=str(file), text={"tokenizer": tokenizer, "length": 32}))
    said = plain(found.text)
    assert f"{len(DOCUMENT.encode()):,} bytes" in said
    assert ("when training starts" in said) == (tokenizer == "bpe")
    assert DOCUMENT[:100] in said
    assert not (tmp_path / "runs" / ".data").exists()


def test_a_text_that_is_too_short_is_refused(file: Path) -> None:
    with pytest.raises(lk.DataError, match=r"the training part .* too few for a row of 20000"):
        preview.load_preview(DataSpec(source=str(file), text={"length": 20_000}))


def test_a_large_text_is_left_to_the_worker(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DataSpec(source=str(file), text={"tokenizer": "bpe"})
    monkeypatch.setattr(rows, "EAGER_BYTES", 1000)
    assert rows.check(spec) is None
    monkeypatch.setattr(rows, "READ_BYTES", 1000)
    file.write_bytes(b"\xff" * 2000)
    assert rows.check(DataSpec(source=str(file))) is not None  # nor is it read
    assert not (tmp_path / "runs" / ".data").exists()


def test_the_form_offers_the_documentation_of_python() -> None:
    form = Configurator(lk.Experiment(model="transformer:nano"))
    assert form._source.menu.value == "python_docs"
    assert not form.form.field("data.target").row.visible
    assert form.problems == ()
    assert form.experiment.training.validate_every == 50
