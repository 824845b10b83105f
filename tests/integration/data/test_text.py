"""Texts as tokens: equal to encodings made another way, in parts that share nothing, in constant memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from narrowing import require_type

import lmkit as lk
from lmkit.data.kinds import read_preprocessing
from lmkit.data.preparation import prepare
from lmkit.data.text import corpus, packing, rows
from lmkit.data.text.packing import pack
from lmkit.preprocessing.text import TextPreprocessing
from lmkit.specs.data import DataSpec

WORDS = "the cat's 12 mice,\n\n  don't (ever)  sleep;\tthey'll dance_on 3.5 tables.\n"
SOURCES = ["I am one.\n", "A second  document; it's longer.\n\n", "x", WORDS * 20, "y y y\n" * 40]


def spec_of(source: object, **fields: Any) -> DataSpec:
    return DataSpec.model_validate({"source": str(source), "batch_size": 2, **fields})


def whole(made: packing.Corpus) -> list[int]:
    """All tokens of a text, as they lie in the file."""
    return np.fromfile(made.path / "tokens", "<u2").tolist()


def by_hand(document: str, model: str) -> list[int]:
    """Byte-pair encoding of an ASCII text, pair by pair: of all pairs in a word, the one learned first is joined."""
    told = json.loads(model)["model"]
    rank = {tuple(pair): i for i, pair in enumerate(told["merges"])}
    known = {"\n": "Ċ", " ": "Ġ", "\t": "ĉ"}
    words = re.findall(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", document)
    found = []
    for word in words:
        parts = [known.get(c, c) for c in word]
        while True:
            pairs = [(rank[p], i) for i, p in enumerate(pairwise(parts)) if p in rank]
            if not pairs:
                break
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        found += [told["vocab"][part] for part in parts]
    return found


# -- tokens ---------------------------------------------------------------------------------------


def test_the_documentation_of_python_is_its_topics_in_order() -> None:
    from pydoc_data.topics import topics

    expected: list[int] = []
    for name in sorted(topics):
        expected += [*topics[name].encode(), 256]
    assert whole(pack(spec_of("python_docs"))) == expected


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv", "folder"])
def test_documents_come_from_lines_rows_and_files(ending: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"number": range(len(SOURCES)), "body": SOURCES})
    place = tmp_path / f"texts.{ending}"
    if ending == "jsonl":
        place.write_text("".join(json.dumps({"number": 1, "body": s}) + "\n\n" for s in SOURCES))
    elif ending == "parquet":
        frame.to_parquet(place)
    elif ending == "csv":
        frame.to_csv(place, index=False)
    else:
        place.mkdir()
        for i, source in enumerate(SOURCES):
            (place / f"{i}.txt").write_text(source)
        (place / "5.txt").write_text("")  # nothing in it: no document
    expected = [token for source in SOURCES for token in [*source.encode(), 256]]
    assert whole(pack(spec_of(place, text={"column": "body"}))) == expected


def test_a_text_that_is_read_in_pieces_has_the_tokens_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 50)
    document = "héllo wörld " + WORDS * 30
    (tmp_path / "a.txt").write_text(document, encoding="utf-8")
    spec = spec_of(tmp_path / "a.txt", validation=0, test=0)
    assert len(list(corpus.pieces(spec))) > 20
    assert whole(pack(spec)) == [*document.encode(), 256]


@pytest.mark.parametrize("block", [40, 2**20])
def test_pairs_are_joined_as_byte_pair_encoding_says(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", block)
    document = (WORDS + "a  \n  b \t c\n\n\n") * 30
    (tmp_path / "a.txt").write_text(document)
    made = pack(spec_of(tmp_path / "a.txt", validation=0, test=0, text={"tokenizer": "bpe", "vocabulary": 300}))
    assert made.tokenizer.vocabulary == 300
    tokens = whole(made)
    assert tokens.pop() == 299
    assert len(tokens) < 0.6 * len(document)
    assert tokens == by_hand(document, made.model)


def test_pairs_are_learned_from_the_training_part_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("aab " * 300)
    (tmp_path / "b.txt").write_text("xyz " * 300)
    made = pack(spec_of(tmp_path, validation=0, test=0.5, text={"tokenizer": "bpe", "vocabulary": 300}))
    joined = [word for word in json.loads(made.model)["model"]["vocab"] if len(word) > 1]
    assert joined
    assert set("".join(joined)) == set("Ġaab")
    assert made.learned_from == 1200


def test_pairs_of_a_long_text_are_learned_from_a_sample_spread_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "SAMPLE_BYTES", 2000)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"{i % 10}" * 100}) + "\n" for i in range(200)))
    spec = spec_of(tmp_path / "a.jsonl", validation=0, test=0)
    sample = list(packing._sample(spec, 20_000))
    assert 2000 <= sum(map(len, sample)) <= 2100
    places = [i for i, line in enumerate(corpus.pieces(spec)) if line.text in sample]
    assert places[-1] > 180
    assert (
        pack(spec.model_copy(update={"text": spec.tokens.model_copy(update={"tokenizer": "bpe"})})).learned_from == 2000
    )


# -- parts ----------------------------------------------------------------------------------------


def test_parts_are_whole_documents_in_order(tmp_path: Path) -> None:
    documents = [f"document {i} " * (1 + i % 7) for i in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    made = pack(spec_of(tmp_path / "a.jsonl", validation=0.2, test=0.3))
    parts = [made.tokens(name).tolist() for name in packing.PARTS]
    assert list(chain(*parts)) == [t for d in documents for t in [*d.encode(), 256]]
    assert all(part[-1] == 256 for part in parts)
    shares = [len(part) / sum(map(len, parts)) for part in parts]
    np.testing.assert_allclose(shares, [0.5, 0.2, 0.3], atol=0.01)
    for name, part in zip(packing.PARTS, parts, strict=True):
        assert made.parts[name] == (len(part), sum(t < 256 for t in part), part.count(256))


def test_one_document_is_cut_at_a_line(tmp_path: Path) -> None:
    document = "".join(f"line {i} of a text\n" for i in range(1000))
    (tmp_path / "a.txt").write_text(document)
    made = pack(spec_of(tmp_path / "a.txt"))
    parts = [bytes(made.tokens(name)[: made.parts[name].bytes].tolist()).decode() for name in packing.PARTS]
    assert "".join(parts) == document
    assert all(part.startswith("line") and part.endswith("\n") for part in parts)
    np.testing.assert_allclose([len(p) / len(document) for p in parts], [0.8, 0.1, 0.1], atol=0.002)


def test_a_document_without_a_line_is_cut_between_characters(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("é" * 999, encoding="utf-8")
    made = pack(spec_of(tmp_path / "a.txt", validation=0, test=0.25))
    parts = {name: made.tokens(name).tolist() for name in packing.PARTS}
    assert not parts["validation"]
    assert len(bytes(parts["training"]).decode()) in (748, 749, 750)
    assert len(bytes(parts["test"][:-1]).decode()) + len(bytes(parts["training"]).decode()) == 999


def test_rows_follow_each_other_and_are_predicted_one_place_on() -> None:
    spec = spec_of("python_docs", text={"length": 50})
    made, data = pack(spec), prepare(spec, 0, "float32")
    for name in packing.PARTS:
        part, tokens = getattr(data, name), made.tokens(name)
        rows = (len(tokens) - 1) // 50
        assert part.X.shape == part.y.shape == (rows, 50)
        assert part.X.dtype == np.int32
        np.testing.assert_array_equal(part.X.reshape(-1), tokens[: rows * 50])
        np.testing.assert_array_equal(part.y.reshape(-1), tokens[1 : rows * 50 + 1])
    assert data.batches is None


def test_tokens_are_made_once_per_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(WORDS * 20)
    (tmp_path / "b.txt").write_text(WORDS * 20)
    first = pack(spec_of(tmp_path / "a.txt"))
    monkeypatch.setattr(packing, "_write", lambda *_: pytest.fail("made again"))
    assert pack(spec_of(tmp_path / "b.txt")) == first
    assert [p.name for p in first.path.parent.iterdir()] == [first.path.name]
    (tmp_path / "a.txt").write_text(WORDS * 20 + ".")
    with pytest.raises(pytest.fail.Exception, match="made again"):
        pack(spec_of(tmp_path / "a.txt"))


# -- large texts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_rows_in_a_file_train_as_rows_in_memory_do(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text(WORDS * 60)
    experiment = {
        "framework": framework,
        "data": {"source": str(tmp_path / "a.txt"), "text": {"length": 16}, "batch_size": 4},
        "model": {"family": "transformer", "depth": 1, "width": 8, "heads": 2},
        "training": {"epochs": 1, "validate_every": 20},
    }
    kept = lk.train(experiment, inline=True)
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    data = prepare(kept.experiment.data, 0, "float32")
    assert isinstance(data.training.X, rows.TokenRows)
    assert data.batches is not None
    mapped = lk.train(experiment, inline=True)
    assert kept.state == mapped.state == "completed"
    np.testing.assert_allclose(mapped.steps["loss"], kept.steps["loss"], rtol=1e-5)
    np.testing.assert_allclose(mapped.history["val_loss"], kept.history["val_loss"], rtol=1e-5)


LARGE = """
import resource, sys
import lmkit as lk
from lmkit.backends import get_backend

get_backend("torch")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def train(source, share):
    run = lk.train(
        {"data": {"source": source, "text": {"length": 128}, "batch_size": 4, "validation": share, "test": share},
         "model": {"family": "transformer", "depth": 1, "width": 8, "heads": 2},
         "training": {"steps": 3, "threads": 1}}, inline=True)
    assert run.state == "completed", run.status.reason

train(sys.argv[2], 0.1)
before = peak()
train(sys.argv[1], 0.0001)
print(peak() - before)
"""


def test_a_large_text_is_prepared_and_trained_on_in_constant_memory(tmp_path: Path) -> None:
    line = ("".join(f"{i} bottles of beer on the wall; " for i in range(40)) + "\n").encode()
    lines = 32 * 2**20 // len(line)
    with (tmp_path / "large.txt").open("wb") as file:
        for _ in range(lines):
            file.write(line)
    (tmp_path / "small.txt").write_bytes(line * 20)
    command = [sys.executable, "-c", LARGE, str(tmp_path / "large.txt"), str(tmp_path / "small.txt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 32  # MB, where the tokens alone are 64
    stored = max((tmp_path / "runs" / ".data").glob("*/tokens"), key=lambda p: p.stat().st_size)
    tokens = np.memmap(stored, "<u2", "r")
    assert len(tokens) == lines * len(line) + 1
    expected = np.frombuffer(line, np.uint8)
    for at in (0, lines // 2, lines - 1):
        np.testing.assert_array_equal(tokens[at * len(line) : (at + 1) * len(line)], expected)


# -- what a run keeps -----------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_a_run_keeps_all_that_makes_tokens_of_text(tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(WORDS * 40)
    data = prepare(spec_of(tmp_path / "a.txt", text={"tokenizer": tokenizer, "length": 16}), 0, "float32")
    kept = require_type(read_preprocessing(json.loads(json.dumps(data.preprocessing.to_dict()))), TextPreprocessing)
    assert kept == data.preprocessing
    for given in (WORDS, "", "naïve 漢字 🙂\r\n\x00"):
        tokens = kept.tokens(given)
        assert kept.text(tokens) == given
        assert b"".join(kept.strings(tokens)).decode() == given
    assert kept.signature.vocabulary == kept.signature.outputs == kept.vocabulary
    assert kept.vocabulary == (257 if tokenizer == "bytes" else kept.separator + 1)
    counted = pack(spec_of(tmp_path / "a.txt", text={"tokenizer": tokenizer, "length": 16})).parts
    assert kept.bytes_a_token["test"] == pytest.approx(counted["test"].bytes / counted["test"].tokens)


def test_rows_for_a_model_come_of_texts_and_of_tokens() -> None:
    known = TextPreprocessing("language", 4, 257, {})
    assert known.apply("abcdef").tolist() == [[97, 98, 99, 100], [101, 102, 256, 256]]
    assert known.apply(["a", "b"]).tolist() == [[97, 256, 256, 256], [98, 256, 256, 256]]
    assert known.apply([[1, 2, 3, 256]]).tolist() == [[1, 2, 3, 256]]
    logits = np.zeros((1, 4, 257))
    logits[0, :, 7] = 3
    assert known.decode(logits).tolist() == [[7, 7, 7, 7]]
    np.testing.assert_allclose(known.probabilities(logits).sum(-1), 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([[1, 2, 3, 257]], "unknown tokens: 257; the vocabulary is 0 to 256"),
        ([[1, -5, 300, 257]], "unknown tokens: -5, 257, 300;"),
        ([[1.5, 2, 3, 4]], "given tokens of type float64, expected integers"),
        ([[1, 2, 3]], r"given tokens of shape \(1, 3\), expected \(rows, 4\)"),
    ],
)
def test_unknown_tokens_are_named(given: list[list[float]], said: str) -> None:
    known = TextPreprocessing("language", 4, 257, {})
    with pytest.raises(lk.DataError, match=said):
        known.apply(np.array(given))


def test_tokens_that_are_no_text_are_refused() -> None:
    known = TextPreprocessing("language", 4, 257, {})
    with pytest.raises(lk.DataError, match="unknown tokens: 400"):
        known.text([400])
    with pytest.raises(lk.DataError, match="half of a surrogate pair"):
        known.tokens("a\ud800")
    with pytest.raises(lk.DataError, match="given bytes, expected text"):
        known.tokens(b"a")


# -- what cannot be trained on --------------------------------------------------------------------

BROKEN: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "empty": ("a.txt", b"", {}, "contains no text"),
    "too short": ("a.txt", b"short", {}, r"data.text.length: the training part of .* has 4 tokens, too few for a row"),
    "a part too short": ("a.txt", b"1234567890" * 20, {}, "the validation part of .* has 20 tokens.*or validation: 0"),
    "fewer than a batch": (
        "a.txt",
        b"1234567890" * 200,
        {"batch_size": 99},
        "data.batch_size: given 99, but the training part of .* has only 12 rows of 128 tokens; use at most 12",
    ),
    "not UTF-8": ("a.txt", b"fine so far\ncaf\xe9 au lait", {}, r"is not UTF-8: byte 15 is 0xe9; convert it: iconv"),
    "cut off": ("a.txt", "naïve é".encode()[:-1], {}, "is not UTF-8: byte 7 is 0xc3"),
    "no JSON": ("a.jsonl", b'{"text": "a"}\n\nnot JSON\n', {}, "line 3 of .* is not JSON: Expecting value"),
    "no object": ("a.jsonl", b'{"text": "a"}\n["text"]\n', {}, "line 2 of .* is list, expected an object"),
    "no field": ("a.jsonl", b'{"texts": "a"}\n', {}, "line 1 of .* has no field 'text'; .* did you mean 'texts'"),
    "no text": ("a.jsonl", b'{"text": 7}\n', {}, "line 1 of .* contains int in 'text', expected text; given 7"),
    "a line not UTF-8": ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', {}, "line 2 of .* is not UTF-8: its byte 10"),
    "no column": ("a.csv", b"body\nhello\n", {"text": {}}, "has no column 'text'; .*olumns: body"),
    "no Parquet": ("a.parquet", b"text", {"text": {}}, "cannot be read: "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_text_that_cannot_be_trained_on_is_refused_before_anything_starts(case: str, tmp_path: Path) -> None:
    name, content, fields, said = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(lk.DataError, match=said):
        lk.train({"data": {"source": str(tmp_path / name), **fields}}, inline=True)
    assert not list((tmp_path / "runs").glob("*/experiment.yaml"))
    assert not list((tmp_path / "runs").glob(".data/.*"))  # nor half a file of tokens


def test_a_byte_that_is_wrong_far_into_a_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 7)
    (tmp_path / "a.txt").write_bytes("é".encode() * 20 + b"\xff")
    with pytest.raises(lk.DataError, match="byte 40 is 0xff"):
        pack(spec_of(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("source", "said"),
    [("gone.txt", "no file or folder 'gone.txt'"), ("gone.jsonl", "no file or folder 'gone.jsonl'")],
)
def test_a_text_that_is_not_there_is_missed(source: str, said: str) -> None:
    with pytest.raises(lk.DataError, match=said):
        lk.train(data=source)


def test_a_column_of_numbers_is_no_text(tmp_path: Path) -> None:
    pd.DataFrame({"text": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(lk.DataError, match=r"row 1 of .* contains int in 'text', expected text"):
        pack(spec_of(tmp_path / "a.parquet", text={}))


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(lk.DataError, match=r"contains no \.txt file"):
        pack(spec_of(tmp_path / "empty", text={}))


def test_a_missing_library_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(lk.MissingPackage, match=r"python -m pip install 'jupyter-lmkit\[text\]'"):
        lk.train({"data": {"source": "python_docs", "text": {"tokenizer": "bpe"}}}, inline=True)
    assert pack(spec_of("python_docs")).tokenizer.vocabulary == 257  # bytes need none
