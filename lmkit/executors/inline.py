"""Training in this process: for a debugger, or a model that cannot be sent."""

from __future__ import annotations

from lmkit.runfolder import RunFolder


class InlineExecutor:
    """Trains before ``start`` returns."""

    def start(self, folder: RunFolder) -> None:
        """Trains ``folder`` here and now."""
        from lmkit.loop import train

        train(folder)
