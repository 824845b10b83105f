"""Text from a language model: drawn as the definition says, the same in both frameworks, reachable in every way."""

from __future__ import annotations

import contextlib
import functools
import io
import json
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.commands import cli
from lmkit.preprocessing.text import TextPreprocessing
from lmkit.specs.models import Transformer
from lmkit.training.generation import generate

KNOWN = TextPreprocessing("language", 6, 257, {})


class Chain:
    """A model that knows the last token alone: row a of ``logits`` is what comes after a."""

    def __init__(self, length: int = 6) -> None:
        self.logits = np.random.default_rng(4).normal(size=(257, 257)) * 2
        self.logits[:, 256] = -50  # the document does not end
        self.rows: list[list[int]] = []

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        assert rows.dtype == np.int32
        self.rows.append(rows[0].tolist())
        return self.logits[rows]


def test_the_most_probable_token_is_taken_at_temperature_zero() -> None:
    model = Chain()
    expected = [ord("a")]
    for _ in range(20):
        expected.append(int(model.logits[expected[-1]].argmax()))
    assert generate(model, KNOWN, "a", 20, temperature=0) == bytes(expected).decode(errors="replace")


def test_the_model_sees_the_last_tokens_in_a_row_of_one_length() -> None:
    model = Chain()
    model.logits[:] = -50.0
    model.logits[np.arange(256), (np.arange(256) + 1) % 256] = 50.0  # each token is followed by the next one
    assert generate(model, KNOWN, "abc", 7) == "abcdefghij"
    seen = [row[: max(i + 1 for i, t in enumerate(row) if t)] for row in model.rows]
    assert {len(row) for row in model.rows} == {6}
    assert [bytes(row).decode() for row in seen[:4]] == ["abc", "abcd", "abcde", "abcdef"]
    assert [bytes(row).decode() for row in seen[4:]] == ["bcdefg", "cdefgh", "defghi"]


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 3)])
def test_tokens_are_drawn_with_their_probabilities(temperature: float, top_k: int | None) -> None:
    logits = np.full(257, -np.inf)
    logits[97:105] = [0.0, 1.0, -1.0, 2.0, 0.5, 0.2, -0.3, 1.5]
    text = generate(lambda rows: np.broadcast_to(logits, (1, 6, 257)), KNOWN, "a", 6000, temperature, top_k)
    z = logits[97:105] / temperature
    z[np.argsort(-z)[top_k or 8 :]] = -np.inf
    expected = np.exp(z) / np.exp(z).sum()
    counts = np.bincount(np.frombuffer(text[1:].encode(), np.uint8) - 97, minlength=8)
    assert counts.sum() == 6000
    assert not counts[expected == 0].any()
    np.testing.assert_allclose(counts / 6000, expected, atol=4 * np.sqrt(0.25 / 6000))


def test_the_seed_decides_what_is_drawn() -> None:
    texts = [generate(Chain(), KNOWN, "a", 30, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_writing_ends_with_the_document_and_begins_with_one() -> None:
    model = Chain()
    model.logits[:] = -50.0
    model.logits[256, 72] = model.logits[72, 105] = model.logits[105, 256] = 50.0
    assert generate(model, KNOWN, "", 100) == "Hi"
    assert model.rows[0][0] == 256


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompt": 3}, "prompt: given 3, expected text"),
        ({"tokens": 0}, "tokens: given 0, expected a whole number of at least 1"),
        ({"tokens": 2.0}, r"tokens: given 2\.0, expected a whole number"),
        ({"temperature": -1}, "temperature: given -1, expected a number of at least 0"),
        ({"temperature": float("nan")}, "temperature: given nan"),
        ({"temperature": "hot"}, "temperature: given 'hot'"),
        ({"top_k": 0}, "top_k: given 0, expected a whole number of at least 1"),
        ({"seed": -1}, "seed: given -1, expected a whole number of at least 0"),
        ({"tokens": True, "seed": "a"}, "tokens: given True.*\n.*seed: given 'a'"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(lk.ConfigError, match=said):
        generate(Chain(), KNOWN, **{"prompt": "a", **settings})


def test_both_frameworks_write_the_same_text() -> None:
    known = TextPreprocessing("language", 16, 257, {})
    spec = Transformer(depth=1, width=16, heads=2)
    draw = np.random.default_rng(3)
    weights = {k: 0.3 * draw.normal(size=v.shape) for k, v in spec.initial_weights(known.signature, 3).items()}
    texts = {}
    for framework in ("torch", "tensorflow"):
        backend = get_backend(framework)
        model = backend.build(spec, known.signature, "float32")
        backend.set_weights(model, weights)
        texts[framework] = [
            generate(functools.partial(backend.predict, model), known, "def ", 40, t, k, seed=1)
            for t, k in ((1.0, None), (1.5, 5), (0, None))
        ]
        backend.set_weights(model, {k: v / 4 for k, v in weights.items()})  # what is compiled sees new weights
        texts[framework].append(generate(functools.partial(backend.predict, model), known, "def ", 40))
    assert texts["torch"] == texts["tensorflow"]
    assert len(set(texts["torch"])) == 4


# -- of a run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    folder = tmp_path_factory.mktemp("written")
    (folder / "a.txt").write_text("the cat sat on the mat. " * 100)
    trained = lk.train(
        {
            "data": {"source": str(folder / "a.txt"), "text": {"length": 16}, "batch_size": 8},
            "model": {"family": "transformer", "depth": 1, "width": 16, "heads": 2},
        },
        steps=60,
        validate_every=30,
        inline=True,
        runs=folder / "runs",
    )
    (folder / "a.txt").unlink()  # nothing of it is needed any more
    return trained


def test_a_run_writes_as_it_has_learned(run: lk.Run) -> None:
    backend = get_backend("torch")
    model = run.load_model()
    expected = "the "
    for _ in range(12):  # greedily, by hand
        row = np.zeros((1, 16), np.int32)
        row[0, : len(expected)] = list(expected.encode())
        expected += chr(int(backend.predict(model, row)[0, len(expected) - 1].argmax()))
    assert run.generate("the ", 12, temperature=0) == expected
    assert run.generate("the ", 12, temperature=0, seed=5) == expected
    assert lk.generate(run, "the ", 12, temperature=0) == expected
    assert run.generate("the ", 40, seed=1) != run.generate("the ", 40, seed=2)
    assert run.generate("the ", 5).startswith("the ")


def test_it_is_reached_from_the_command_line_and_by_the_magic(run: lk.Run) -> None:
    expected = run.generate("the c", 9, temperature=0.8, top_k=4, seed=3)
    words = ["generate", run.name, "the c", "--tokens", "9", "--temperature", "0.8", "--top-k", "4", "--seed", "3"]
    words += ["--runs", str(run.path.parent)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(words) == 0
        assert cli.main([*words, "--json"]) == 0
    printed, as_json = out.getvalue().rsplit("\n", 2)[:2]
    assert printed == expected
    assert json.loads(as_json) == {"text": expected}
    shell = InteractiveShell()
    lk.load_ipython_extension(shell)
    shell.user_ns |= {"its": run, "many": 9}
    line = "generate $its 'the c' --tokens $many --temperature 0.8 --top-k 4 --seed 3"
    assert shell.run_line_magic("lmkit", line) == expected


def test_a_run_of_something_else_does_not_write() -> None:
    other = lk.train(data="wine", epochs=1, inline=True)
    with pytest.raises(lk.ConfigError, match="has learned from a table, expected a run of a language model"):
        other.generate("a")
    with pytest.raises(lk.ConfigError, match="tokens: given 0"):
        other.generate("a", tokens=0)


def test_probabilities_of_what_comes_next_are_asked_for_as_of_any_run(run: lk.Run) -> None:
    found = run.predict_proba("the cat sat on t")
    assert found.shape == (1, 16, 257)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    assert run.predict("the cat sat on t")[0, -1] == found[0, -1].argmax()
