"""Calls of one model from several threads, held to those of a single thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np


def wrong_answers(predict: Callable[[np.ndarray], np.ndarray], X: np.ndarray, calls: int) -> list[str]:
    """Return the calls that failed, or got other answers than a single thread, where eight threads call at once."""
    pieces = [X[i : i + n] for n in (1, 2, 3, 5) for i in range(0, len(X) - n, 3)]
    expected = [np.array(predict(piece)) for piece in pieces]
    wrong: list[str] = []
    together = threading.Barrier(8)

    def ask(number: int) -> None:
        together.wait()
        for i in np.random.default_rng(number).integers(0, len(pieces), calls):
            try:
                answer = predict(pieces[i])
                if answer.shape != expected[i].shape or not np.allclose(answer, expected[i], rtol=1e-4, atol=1e-5):
                    wrong.append(f"{len(pieces[i])} rows: another answer")
            except Exception as error:
                wrong.append(f"{len(pieces[i])} rows: {error}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong
