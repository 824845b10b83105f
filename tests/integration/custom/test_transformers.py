"""Models of the transformers library, built from a configuration; nothing is downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import lmkit as lk


def gpt2(shape: tuple[int, ...], vocabulary: int, width: int = 32) -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=vocabulary, n_positions=shape[0], n_embd=width, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config)


def bert(shape: tuple[int, ...], vocabulary: int, outputs: int) -> torch.nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(  # type: ignore[call-arg]  # num_labels is a keyword of its base
        vocab_size=vocabulary,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=shape[0],
        num_labels=outputs,
        hidden_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config)


def test_a_language_model_trains_on_the_documentation() -> None:
    run = lk.train(
        model=gpt2,
        data="python_docs",
        inline=True,
        steps=12,
        optimizer="adamw",
        lr=0.003,
        seed=1,
        **{"data.text": {"length": 24}, "data.batch_size": 16, "validate_every": 6},
    )
    assert run.state == "completed", run.status.reason
    assert run.steps["loss"].iloc[0] == pytest.approx(np.log(257), rel=0.03)  # it begins by knowing nothing
    assert run.steps["loss"].iloc[-1] < run.steps["loss"].iloc[0] - 0.5
    model = run.model
    assert type(model).__name__ == "GPT2LMHeadModel"
    assert model.lm_head.weight is model.transformer.wte.weight
    weights = run.folder.load_checkpoint("last")[0]  # type: ignore[index]
    assert "lm_head.weight" not in weights  # it is the table of embeddings, and kept once

    tokens = run.preprocessing.apply("def spam(): return 1")  # type: ignore[arg-type]
    model.eval()
    with torch.no_grad():
        told = model(input_ids=torch.as_tensor(tokens).long()).logits
    assert told.shape == (1, 24, 257)
    assert run.generate("def ", tokens=5, temperature=0).startswith("def ")


def test_a_classifier_trains_on_rows_of_tokens() -> None:
    tokens = np.random.default_rng(0).integers(0, 12, (200, 7))
    tokens[0, 0] = 11
    y = (tokens == 3).any(1).astype(int)
    data = TensorDataset(torch.from_numpy(tokens), torch.from_numpy(y))  # arrays would be scaled as a table
    parts: dict[str, Any] = {"training": data, "validation": TensorDataset(*data[:50])}
    run = lk.train(
        model=bert, data=parts, inline=True, epochs=6, optimizer="adam", lr=0.01, **{"data.task": "multiclass"}
    )
    assert run.state == "completed", run.status.reason
    assert run.model.config.num_labels == 2
    assert run.history["val_accuracy"].iloc[-1] > 0.8
    np.testing.assert_array_equal(run.predict(tokens[:20]).shape, (20,))
