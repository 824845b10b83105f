"""The fused operations take the steps of ``torch.optim``, bit by bit."""

from __future__ import annotations

import pytest
import torch

from lmkit.backends.torch.optimizers import build_optimizer
from lmkit.specs.optimizers import Adam, AdamW


@pytest.mark.parametrize("types", [(torch.float32,), (torch.float32, torch.float64)], ids=["alike", "mixed"])
@pytest.mark.parametrize(("spec", "reference"), [(Adam(), torch.optim.Adam), (AdamW(), torch.optim.AdamW)])
def test_adam_is_that_of_torch(spec, reference, types):
    torch.manual_seed(0)
    weights = {str(i): torch.nn.Parameter(torch.randn(5, i + 1, dtype=types[i % len(types)])) for i in range(4)}
    twins = [torch.nn.Parameter(p.detach().clone()) for p in weights.values()]
    options = {"betas": (spec.beta1, spec.beta2), "eps": spec.epsilon}
    if decay := getattr(spec, "weight_decay", 0.0):
        options["weight_decay"] = decay
    optimizer, twin = build_optimizer(spec, weights), reference(twins, lr=0.01, fused=True, **options)
    for _ in range(5):
        for p, q in zip(weights.values(), twins, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        optimizer.step(0.01)
        twin.step()
    for p, q in zip(weights.values(), twins, strict=True):
        assert torch.equal(p, q)
    assert {float(value) for name, value in optimizer.state.items() if name.endswith("/step")} == {5.0}
