"""The batches of a loader, as it yields them, epoch after epoch."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.custom import objects
from lmkit.data.batches import Part
from lmkit.data.loaders.loaders import call_factory, check_batch
from lmkit.data.overlap import StreamOverlap
from lmkit.exceptions import DataError
from lmkit.preprocessing.loader import is_tokens
from lmkit.specs.frameworks import global_generators, seed_functions
from lmkit.specs.inference import Target
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np

FIRST_ROWS = 2_000
"""Rows of the beginning of a stream that are stored, to evaluate the training part on."""


PartsFactory = Callable[[], Mapping[str, Any]]
"""Returns new parts of the data."""


class LoaderScan(NamedTuple):
    """The result of reading a loader, or its beginning.

    Attributes:
        first: its first rows.
        values: the different values of the target in the batches that were read.
        target: what the target holds.
        max_token: the largest token.
    """

    first: Part
    values: set[Any]
    target: Target
    max_token: int


class Stream:
    """The batches of a loader, in the order in which it yields them.

    Args:
        make_parts: returns new parts of the data.
        seed: the seed of the experiment.

    Attributes:
        rows: rows per epoch, estimated where the loader was not read to its end.
        count: batches per epoch.
        uneven: whether batches differ in size.
        error: an error that the loader raised; its batches end there.
        overlap: compares the batches of the first epoch with the rows of the other parts.
    """

    uneven = True

    def __init__(self, make_parts: PartsFactory, seed: int) -> None:
        self.make_parts, self.seed = make_parts, seed
        self.prepare: Callable[[Part], Part] = lambda batch: batch
        self.number = 0
        self.rows = self.count = 0
        self.error: DataError | None = None
        self.overlap = StreamOverlap({})

    def scan(self, loader: Any, names: list[str], task: str) -> LoaderScan:
        """Read the first rows; or the whole loader, where its length, its classes or its largest token are unknown."""
        import numpy as np

        self.count = _length(loader)
        values: set[Any] = set()
        numeric = task != "auto" and get_task(task).numeric
        first: list[Part] = []
        max_token, count = 0, 0
        for batch in self._batches(0, "while it was read to count it"):
            count += 1
            self.rows += len(batch.X)
            if sum(len(part.X) for part in first) < FIRST_ROWS:
                first.append(batch)
            distinct = np.unique(batch.y)
            values.update(distinct.tolist())
            if task == "auto" and not names:  # whole numbers may be classes, which all have to be known
                numeric = numeric or bool((distinct % 1 != 0).any())
            if is_tokens(batch.X):
                max_token = max(max_token, int(batch.X.max()))
            is_enough = self.count and (numeric or names) and not is_tokens(batch.X)
            if count == self.count or is_enough:
                break
        if self.error:
            raise self.error
        if not first:
            raise DataError("data.source: training has no batches")
        if count < self.count:
            self.rows = self.count * len(first[0].X)
        is_complete = self.count in (0, count)
        self.count = self.count or count
        same = [part for part in first if part.X.shape[1:] == first[0].X.shape[1:]]
        rows = Part(np.concatenate([part.X for part in same]), np.concatenate([part.y for part in same]))
        summary = Target.of(list(values), self.rows, labels=True, more=not is_complete)
        return LoaderScan(rows, values, summary, max_token)

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begin an epoch; the loader decides the order."""
        del order
        self.number = number

    def take(self, first: int) -> Iterator[Part]:
        """Iterate over the batches of the epoch from ``first`` on; earlier batches are loaded and dropped."""
        index = -1
        for index, batch in enumerate(self._batches(self.number, f"of epoch {self.number + 1}")):
            if index >= first:
                try:
                    prepared = self.prepare(batch)
                except DataError as error:
                    self.error = error
                    return
                if self.number == 0:
                    self.overlap.add(index, prepared)
                yield prepared
            if index + 1 == self.count:
                return
        if self.error is None:
            self.error = DataError(
                f"data.source: the loader has {index + 1} batches in epoch {self.number + 1}, expected {self.count} as "
                "before; an iterable must start over each time it is iterated"
            )

    def _batches(self, number: int, when: str) -> Iterator[Part]:
        """Iterate over the batches of an epoch up to an error, which is stored in ``error``."""
        import numpy as np

        self.error = None
        generators = IsolatedGenerators(int(np.random.SeedSequence([self.seed, 4, number]).generate_state(1)[0]))
        count, previous_shape = 0, None
        try:
            with generators:
                generators.reseed(None)
                loader = call_factory(self.make_parts()["training"])
                generators.reseed(loader)
                batches = iter(loader)
            while True:
                with generators:
                    item = next(batches, self)
                if item is self:
                    return
                batch = check_batch(item, "training")
                shape = batch.X.shape[1:]
                if previous_shape not in (None, shape) and not is_tokens(batch.X):
                    raise DataError(
                        f"data.source: batch {count + 1} has rows of shape {shape}, expected {previous_shape} as before"
                    )
                previous_shape, count = shape, count + 1
                yield batch
        except GeneratorExit:
            raise
        except DataError as error:
            self.error = error
        except Exception as error:
            traceback.print_exception(error)
            self.error = DataError(
                f"data.source: the loader raised {objects.describe_error(error)}, at batch {count + 1} {when}"
            )


def _length(loader: Any) -> int:
    """Return the batches per epoch; 0 where the loader has no length."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return 0


class IsolatedGenerators:
    """A context in which the global generators are seeded for one loader, isolated from all other draws."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self.seed = seed
        outside = _get_states()
        random.seed(seed)
        np.random.seed(seed)
        for generator in global_generators().values():
            generator.manual_seed(seed)
        self.inside = _get_states()
        _set_states(outside)
        self.outside = outside

    def __enter__(self) -> IsolatedGenerators:
        self.outside = _get_states()
        _set_states(self.inside)
        return self

    def __exit__(self, *_: object) -> None:
        self.inside = _get_states()
        _set_states(self.outside)

    def reseed(self, loader: Any) -> None:
        """Seed the generators of a loader and its sampler; None: the global ones whose state cannot be restored."""
        for seed in seed_functions() if loader is None else ():
            seed(self.seed)
        for owner in (loader, getattr(loader, "sampler", None)):
            generator: Any = getattr(owner, "generator", None)
            if hasattr(generator, "manual_seed"):
                generator.manual_seed(self.seed)


def _get_states() -> tuple[Any, ...]:
    import numpy as np

    states = {name: generator.get_state() for name, generator in global_generators().items()}
    return random.getstate(), np.random.get_state(), states


def _set_states(states: tuple[Any, ...]) -> None:
    import numpy as np

    random.setstate(states[0])
    np.random.set_state(states[1])
    for name, generator in global_generators().items():
        if name in states[2]:
            generator.set_state(states[2][name])
