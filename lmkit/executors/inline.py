"""Training in this process: for a debugger, or a model that cannot be pickled."""

from __future__ import annotations

from lmkit.runfolder.folder import RunFolder


class InlineExecutor:
    """Trains within ``start``."""

    def start(self, folder: RunFolder) -> None:
        """Train ``folder`` to its end."""
        from lmkit.training.train import train

        train(folder)
