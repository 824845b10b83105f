"""Units taken out of a module that is somebody's own, by torch-pruning, which follows what depends on what."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lmkit.backends.base import CannotNarrow, Removed
from lmkit.backends.quiet import quiet
from lmkit.backends.torch.models.own import OwnModel
from lmkit.data.objects import told

KINDS = (nn.Linear, nn.modules.conv._ConvNd, nn.LSTM, nn.MultiheadAttention)
"""Layers whose outputs can be taken out."""


def removed(model: OwnModel, rows: torch.Tensor, share: float) -> list[Removed]:
    """Takes the ``share`` of the units of each hidden layer that matters least out of ``model``; returns which.

    Units that only change together, as those of layers that are added, go together, by the norm of all their weights
    (Fang et al., *DepGraph*, 2023). What gives the outputs stays as it is, and attention loses of each head as many.

    Args:
        model: is changed.
        rows: a few, as the model takes them.
        share: of the units to take out.

    Raises:
        CannotNarrow: it cannot be done; the message says why.
    """
    pruning = _library()
    expected = _outputs(model, rows).shape
    heads = {m: m.num_heads for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pruner = pruning.pruner.BasePruner(
                model, rows, importance=pruning.importance.GroupMagnitudeImportance(p=2), pruning_ratio=share,
                ignored_layers=_last(pruning, model, rows), out_channel_groups=heads,
            )  # fmt: skip
            pruner.step()
        except Exception as error:
            raise CannotNarrow(f"torch-pruning cannot follow what depends on what in it: {told(error)}") from error
    found = [(name, bool(out), [int(i) for i in places]) for name, out, places in pruner.pruning_history()]
    if not found:
        raise CannotNarrow(f"torch-pruning finds no hidden layer that could lose {share:.0%}: nothing would change")
    _check(model, rows, tuple(expected))
    return found


def remove(model: OwnModel, rows: torch.Tensor, what: Sequence[Removed]) -> None:
    """Takes the same out of a model that is built anew."""
    graph = _graph(_library(), model, rows)
    with quiet():
        graph.load_pruning_history([list(step) for step in what])


def _library() -> Any:
    if importlib.util.find_spec("torch_pruning") is None:
        raise CannotNarrow("torch_pruning is not installed; install it: python -m pip install 'lmkit[prune]'")
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_pruning
    return torch_pruning


def _graph(pruning: Any, model: OwnModel, rows: torch.Tensor) -> Any:
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pruning.DependencyGraph().build_dependency(model, example_inputs=rows, verbose=False)


def _last(pruning: Any, model: OwnModel, rows: torch.Tensor) -> list[nn.Module]:
    """The layers of which no other one reads what they give: they give the outputs."""
    graph = _graph(pruning, model, rows)
    found = []
    for module in model.modules():
        if not isinstance(module, KINDS) or module not in graph.module2node:
            continue
        group = graph.get_pruning_group(module, graph.get_pruner_of_module(module).prune_out_channels, [0])
        if not any(isinstance(d.target.module, KINDS) and graph.is_in_channel_pruning_fn(d.handler) for d, _ in group):
            found.append(module)
    return found


def _outputs(model: OwnModel, rows: torch.Tensor) -> torch.Tensor:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            found: torch.Tensor = model(rows)
    finally:
        model.train(training)
    return found


def _check(model: OwnModel, rows: torch.Tensor, expected: tuple[int, ...]) -> None:
    """Refuses a model whose own code counts on what was taken out."""
    try:
        given = tuple(_outputs(model, rows).shape)
    except Exception as error:
        raise CannotNarrow(f"its code counts on the widths that it was built with: {told(error)}") from error
    if given != expected:
        raise CannotNarrow(f"without the units it gives {given} where it gave {expected}")
