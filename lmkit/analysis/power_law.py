"""Power laws of learning curves: error(n) = a·n^(−b) + c, fitted and extrapolated with an interval.

Errors fall with the number of training rows n as a power of it, towards a limit c that no number of rows removes
(Cortes et al., 1994; Hestness et al., 2017). The fit is by variable projection (Golub and Pereyra, 1973): for each
exponent on a grid the best a and c follow in closed form, so that it has no start value and no local minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lmkit.exceptions import DataError

if TYPE_CHECKING:
    import numpy as np

MIN_SIZES = 4
"""Different numbers of rows to which a law of three parameters is fitted, at least."""

MAX_FACTOR = 4.0
"""How many times the rows of the largest measurement the law is extrapolated, at most."""

EXPONENTS = (0.02, 2.0, 60)
"""The smallest and largest exponent b, and how many are tried, evenly on a logarithmic scale."""

REPLICATES = 1000
"""Curves that are drawn for an interval."""

COVERAGE = (0.025, 0.975)
"""The quantiles of an interval of 95 %."""

MIN_NOISE = 1e-3
"""The smallest deviation of a measurement, as a share of the mean error: repeated seeds may agree by chance."""


@dataclass(frozen=True)
class PowerLaw:
    """A law error(n) = a·n^(−b) + c, with a, c ≥ 0, fitted to errors of several numbers of rows and seeds.

    Attributes:
        rows: (sizes,), the numbers of training rows, ascending.
        errors: (sizes, seeds), the error of each.

    >>> import numpy as np
    >>> rows = np.array([25, 50, 100, 200, 400])
    >>> law = PowerLaw(rows, (2 * rows**-0.5 + 0.1)[:, None])
    >>> round(law(800), 3), round(2 * 800**-0.5 + 0.1, 3)
    (0.171, 0.171)
    """

    rows: np.ndarray
    errors: np.ndarray

    def __post_init__(self) -> None:
        if len(self.rows) < MIN_SIZES:
            raise DataError(
                f"{len(self.rows)} numbers of rows with a score, expected at least {MIN_SIZES} to fit a power law"
            )

    def __call__(self, rows: float) -> float:
        """Return the error of the fitted law for a number of rows."""
        return float(_evaluate(self._parameters, float(rows / self.rows[-1]))[0])

    @property
    def exponent(self) -> float:
        """The exponent b; 0 where more rows do not lower the error."""
        amplitude, exponent, _ = self._parameters[0]
        return float(exponent) if amplitude > 0 else 0.0

    @property
    def limit(self) -> float:
        """The error c that remains with any number of rows."""
        return float(self._parameters[0, 2])

    def interval(self, rows: float) -> tuple[float, float]:
        """Return the 95 % interval of the error for a number of rows: the mean over the same seeds and test parts."""
        low, high = _hull(self(rows), self.replicates(rows))
        return max(0.0, low), high

    def gain_interval(self, rows: float) -> tuple[float, float]:
        """Return the 95 % interval of the error at the largest number of rows measured minus that at another."""
        gain = self(self.rows[-1]) - self(rows)
        low, high = _hull(gain, self.replicates(self.rows[-1]) - self.replicates(rows))
        return max(0.0, low), high

    def replicates(self, rows: float) -> np.ndarray:
        """Return the error (replicates,) for a number of rows, of laws fitted to curves drawn anew.

        A bootstrap over seeds. A few seeds are too few to be drawn from, so that the deviations of all numbers of rows
        are pooled: the level of a seed at all numbers of rows (its test part is easy or hard) stays what it is, and
        what remains is drawn with replacement. A χ² factor accounts for the pooled deviation being an estimate.
        """
        return _evaluate(self._drawn, float(rows / self.rows[-1]))

    # -- the fit ----------------------------------------------------------------------------------

    @cached_property
    def _parameters(self) -> np.ndarray:
        return fit(self.rows / self.rows[-1], self.errors.mean(axis=1)[None, :], 1 / self._noise**2)

    @cached_property
    def _deviations(self) -> np.ndarray:
        """What remains of each error (sizes, seeds) without the means of its number of rows and of its seed."""
        centred = self.errors - self.errors.mean(axis=1, keepdims=True)
        deviations: np.ndarray = centred - centred.mean(axis=0)
        return deviations

    @cached_property
    def _noise(self) -> np.ndarray:
        """The deviation (sizes,) of a measurement from its seed's level, smoothed as a power of the number of rows."""
        import numpy as np

        sizes, seeds = self.errors.shape
        smallest = MIN_NOISE * max(abs(float(self.errors.mean())), 1e-12)
        if seeds < 2:
            return np.full(sizes, max(smallest, 0.05 * float(self.errors.mean())))
        degrees = (seeds - 1) * (sizes - 1) / sizes
        deviation = np.sqrt((self._deviations**2).sum(axis=1) / degrees)
        logs = np.log(np.maximum(deviation, smallest))
        x = np.log(self.rows) - np.log(self.rows).mean()
        slope = float(np.clip((x * logs).sum() / (x**2).sum(), -1.0, 0.0))
        shape = np.exp(slope * x)
        level = np.sqrt(np.mean((deviation / shape) ** 2))
        return np.asarray(np.maximum(level * shape, smallest))

    @cached_property
    def _drawn(self) -> np.ndarray:
        """The parameters (replicates, 3) of laws fitted to drawn curves."""
        import numpy as np

        sizes, seeds = self.errors.shape
        draw = np.random.default_rng(0)
        law = _evaluate(self._parameters, self.rows / self.rows[-1])
        if seeds < 2:
            noise = draw.standard_normal((REPLICATES, sizes))
        else:
            pool = (self._deviations / self._noise[:, None]).ravel()
            pool = pool / np.sqrt(np.mean(pool**2) or 1)
            degrees = (seeds - 1) * (sizes - 1)
            spread = np.sqrt(degrees / draw.chisquare(degrees, REPLICATES))
            noise = draw.choice(pool, (REPLICATES, sizes, seeds)).mean(axis=2) * spread[:, None]
        return fit(self.rows / self.rows[-1], law + noise * self._noise, 1 / self._noise**2)


def _hull(value: float, replicates: np.ndarray) -> tuple[float, float]:
    """Return the hull of the percentile interval and the basic one (Davison and Hinkley, 1997, section 5.2).

    At the bounds of the parameters, a = 0 and c = 0, each alone is too narrow on one side.
    """
    import numpy as np

    low, high = (float(v) for v in np.quantile(replicates, COVERAGE))
    return min(low, 2 * value - high), max(high, 2 * value - low)


def fit(x: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit a·x^(−b) + c with a, c ≥ 0 to curves by weighted least squares.

    Args:
        x: (sizes,), numbers of rows, in any unit.
        errors: (curves, sizes).
        weights: (sizes,), one over the variance of each error.

    Returns:
        a, b and c of each curve, (curves, 3).
    """
    import numpy as np

    w = weights / weights.sum()
    exponents = np.geomspace(EXPONENTS[0], EXPONENTS[1], int(EXPONENTS[2]))[None, :]
    best = _best_parameters(x, errors, w, exponents)
    step = exponents[0, 1] / exponents[0, 0]
    return _best_parameters(x, errors, w, best[:, 1:2] * np.geomspace(1 / step, step, int(EXPONENTS[2]) // 2))


def _best_parameters(x: np.ndarray, errors: np.ndarray, w: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Return a, b and c (curves, 3) of the best of some exponents, (1, exponents) or (curves, exponents)."""
    import numpy as np

    powers = x ** -exponents[:, :, None]  # (1 or curves, exponents, sizes)
    mean_power, mean_error = powers @ w, (errors @ w)[:, None]
    square = powers**2 @ w
    product = ((errors * w)[:, None, :] * powers).sum(axis=2)
    slope = np.maximum((product - mean_error * mean_power) / (square - mean_power**2), 0)  # a = 0 where a < 0 is best
    limit = mean_error - slope * mean_power
    slope, limit = np.where(limit < 0, np.maximum(product / square, 0), slope), np.maximum(limit, 0)
    misfit = ((slope[:, :, None] * powers + limit[:, :, None] - errors[:, None, :]) ** 2) @ w
    curves, best = np.arange(len(errors)), misfit.argmin(axis=1)
    exponent = np.broadcast_to(exponents, misfit.shape)[curves, best]
    return np.stack([slope[curves, best], exponent, limit[curves, best]], axis=1)


def _evaluate(parameters: np.ndarray, x: np.ndarray | float) -> np.ndarray:
    """Return the law (curves,) at one x, or of one curve at x (sizes,); an error is never below 0."""
    import numpy as np

    amplitude, exponent, limit = parameters.T
    return np.asarray(amplitude * np.asarray(x, dtype=np.float64) ** -exponent + limit)
