"""Units taken out of a custom module by torch-pruning, which follows the dependencies between its layers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lmkit.backends.base import CannotPrune, Removed
from lmkit.backends.quiet import quiet
from lmkit.backends.torch.models.custom import CustomModel
from lmkit.system.optional import require

PRUNABLE = (nn.Linear, nn.modules.conv._ConvNd, nn.LSTM, nn.MultiheadAttention)
"""Layers whose outputs can be taken out."""


def prune_units(model: CustomModel, rows: torch.Tensor, share: float) -> list[Removed]:
    """Take the least important ``share`` of the units of each hidden layer out of ``model``; return which.

    Units that only change together, as those of layers that are added, are taken out together, by the norm of all
    their weights (Fang et al., *DepGraph*, 2023). The output layer stays as it is; attention loses as many units of
    each head.

    Args:
        model: is changed.
        rows: as the model takes them.
        share: of the units to take out.

    Raises:
        CannotPrune: the model cannot be pruned; the message says why.
    """
    pruning = _library()
    expected = _outputs(model, rows).shape
    heads = {m: m.num_heads for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pruner = pruning.pruner.BasePruner(
                model,
                rows,
                importance=pruning.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=share,
                ignored_layers=_output_layers(pruning, model, rows),
                out_channel_groups=heads,
            )
            pruner.step()
        except Exception as error:
            raise CannotPrune(_describe_failure(model)) from error
    removed = [(name, bool(out), [int(i) for i in units]) for name, out, units in pruner.pruning_history()]
    if not removed:
        raise CannotPrune(f"torch-pruning finds no hidden layer that could lose {share:.0%}: nothing would change")
    _check_outputs(model, rows, tuple(expected))
    return removed


def remove_units(model: CustomModel, rows: torch.Tensor, removed: Sequence[Removed]) -> None:
    """Remove the same units from a newly built module."""
    graph = _graph(_library(), model, rows)
    with quiet():
        graph.load_pruning_history([list(step) for step in removed])


def _library() -> Any:
    require("torch_pruning", extra="prune", error=CannotPrune)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_pruning
    return torch_pruning


def _graph(pruning: Any, model: CustomModel, rows: torch.Tensor) -> Any:
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pruning.DependencyGraph().build_dependency(model, example_inputs=rows, verbose=False)


def _output_layers(pruning: Any, model: CustomModel, rows: torch.Tensor) -> list[nn.Module]:
    """Return the layers whose outputs no other layer reads."""
    graph = _graph(pruning, model, rows)
    layers: list[nn.Module] = []
    for module in model.modules():
        if not isinstance(module, PRUNABLE) or module not in graph.module2node:
            continue
        group = graph.get_pruning_group(module, graph.get_pruner_of_module(module).prune_out_channels, [0])
        if not any(
            isinstance(d.target.module, PRUNABLE) and graph.is_in_channel_pruning_fn(d.handler) for d, _ in group
        ):
            layers.append(module)
    return layers


def _describe_failure(model: CustomModel) -> str:
    """Return why torch-pruning fails on a model, as far as its layers tell."""
    leaves = [m for m in model.modules() if not list(m.children()) and list(m.parameters(recurse=False))]
    known = (*PRUNABLE, nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.PReLU, nn.modules.batchnorm._BatchNorm)
    unknown = sorted({type(m).__name__ for m in leaves if not isinstance(m, known)})
    reason = f"; it has no rule for {', '.join(unknown)}" if unknown else ""
    return f"torch-pruning cannot follow which of its layers depend on each other{reason}; use prune-unstructured-50"


def _outputs(model: CustomModel, rows: torch.Tensor) -> torch.Tensor:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            outputs: torch.Tensor = model(rows)
    finally:
        model.train(training)
    return outputs


def _check_outputs(model: CustomModel, rows: torch.Tensor, expected: tuple[int, ...]) -> None:
    """Refuse a model whose own code relies on the units that were taken out."""
    try:
        shape = tuple(_outputs(model, rows).shape)
    except Exception as error:
        raise CannotPrune("its code counts on the widths that it was built with") from error
    if shape != expected:
        raise CannotPrune(f"without the units it gives {shape} where it gave {expected}")
