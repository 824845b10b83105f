"""The batches of a loader of somebody's own, as it gives them, epoch after epoch."""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data import objects
from lmkit.data.batches import Part
from lmkit.data.loaders import checked, opened
from lmkit.data.rows import tokens
from lmkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np

SHOWN = 2_000
"""Rows of a stream's beginning that are kept, to measure the training part on."""


Made = Callable[[], Mapping[str, Any]]
"""Makes the parts of the data anew."""


class Survey(NamedTuple):
    """What a look at a loader found.

    Attributes:
        first: the rows that it begins with.
        classes: the values of the target, of the batches that were read.
        most: the largest token.
    """

    first: Part
    classes: set[Any]
    most: int


class Stream:
    """The batches of a loader, in the order in which it gives them.

    Args:
        made: makes the parts anew.
        seed: of the experiment.

    Attributes:
        rows: of an epoch, as far as it is known.
        count: batches of an epoch.
        uneven: batches are of any size.
        error: what the loader raised; its batches end before it.
    """

    uneven = True

    def __init__(self, made: Made, seed: int) -> None:
        self.made, self.seed = made, seed
        self.finish: Callable[[Part], Part] = lambda batch: batch
        self.number = 0
        self.rows = self.count = 0
        self.taken: dict[int, int] = {}
        self.error: DataError | None = None

    def survey(self, loader: Any, classes_told: bool, task: str) -> Survey:
        """Reads the beginning; or all of it, where the loader does not tell its length, or nobody the classes."""
        import numpy as np

        self.count = _length(loader)
        classes: set[Any] = set()
        shown: list[Part] = []
        most, seen = 0, 0
        for batch in self._batches(0, "while it was read to count it"):
            seen += 1
            self.rows += len(batch.X)
            if sum(len(p.X) for p in shown) < SHOWN:
                shown.append(batch)
            regression = task == "regression" or (task == "auto" and batch.y.dtype.kind == "f")
            if not regression:
                classes.update(np.unique(batch.y).tolist())
            if tokens(batch.X):
                most = max(most, int(batch.X.max()))
            if seen == self.count or (self.count and (regression or classes_told) and not tokens(batch.X)):
                break
        if self.error:
            raise self.error
        if not shown:
            raise DataError("data.source: training gave no batches")
        if seen < self.count:
            self.rows = self.count * len(shown[0].X)
        self.count = self.count or seen
        same = [p for p in shown if p.X.shape[1:] == shown[0].X.shape[1:]]
        first = Part(np.concatenate([p.X for p in same]), np.concatenate([p.y for p in same]))
        return Survey(first, classes, most)

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begins an epoch; the order is the loader's own."""
        self.number = number
        self.taken = {}

    def take(self, first: int) -> Iterator[Part]:
        """The epoch's batches from ``first`` on; those before are made and let go."""
        at = -1
        for at, batch in enumerate(self._batches(self.number, f"of epoch {self.number + 1}")):
            self.taken[at] = len(batch.X)
            if at >= first:
                try:
                    yield self.finish(batch)
                except DataError as error:
                    self.error = error
                    return
            if at + 1 == self.count:
                return
        if self.error is None:
            self.error = DataError(
                f"data.source: the loader gave {at + 1} batches in epoch {self.number + 1}, expected {self.count} as "
                "before; an iterable must begin anew each time it is iterated"
            )

    def sizes(self, first: int, count: int) -> np.ndarray:
        """Rows of each of so many batches that were taken."""
        import numpy as np

        return np.array([self.taken[i] for i in range(first, first + count)])

    def _batches(self, number: int, when: str) -> Iterator[Part]:
        """All batches of an epoch; they end where the loader raises, and the error is kept."""
        import numpy as np

        self.error = None
        draws = Draws(int(np.random.SeedSequence([self.seed, 4, number]).generate_state(1)[0]))
        at, shape = 0, None
        try:
            with draws:
                draws.reseed(None)
                loader = opened(self.made()["training"])
                draws.reseed(loader)
                batches = iter(loader)
            while True:
                with draws:
                    item = next(batches, self)
                if item is self:
                    return
                batch = checked(item, "training")
                here = batch.X.shape[1:]
                if shape not in (None, here) and not tokens(batch.X):
                    raise DataError(f"data.source: batch {at + 1} has rows of shape {here}, those before have {shape}")
                shape, at = here, at + 1
                yield batch
        except GeneratorExit:
            raise
        except DataError as error:
            self.error = error
        except Exception as error:
            traceback.print_exception(error)
            self.error = DataError(f"data.source: the loader raised {objects.told(error)}, at batch {at + 1} {when}")


def _length(loader: Any) -> int:
    """Batches of an epoch, where the loader tells; else 0."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return 0


class Draws:
    """The global generators as one loader sees them: seeded, and apart from everything else that draws from them."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self.seed = seed
        outside = _states()
        random.seed(seed)
        np.random.seed(seed)
        torch = sys.modules.get("torch")
        if torch:
            torch.default_generator.manual_seed(seed)
        self.inside = _states()
        _set_states(outside)
        self.outside = outside

    def __enter__(self) -> Draws:
        self.outside = _states()
        _set_states(self.inside)
        return self

    def __exit__(self, *_: object) -> None:
        self.inside = _states()
        _set_states(self.outside)

    def reseed(self, loader: Any) -> None:
        """Seeds the generators that a loader holds itself, and what TensorFlow shuffles by."""
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow and loader is None:
            tensorflow.random.set_seed(self.seed)
        for holder in (loader, getattr(loader, "sampler", None)):
            generator: Any = getattr(holder, "generator", None)
            if hasattr(generator, "manual_seed"):
                generator.manual_seed(self.seed)


def _states() -> tuple[Any, ...]:
    import numpy as np

    torch = sys.modules.get("torch")
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state() if torch else None


def _set_states(states: tuple[Any, ...]) -> None:
    import numpy as np

    random.setstate(states[0])
    np.random.set_state(states[1])
    torch = sys.modules.get("torch")
    if torch and states[2] is not None:
        torch.default_generator.set_state(states[2])
