"""What can be configured, free of any framework."""

from lmkit.specs.data import DataSpec
from lmkit.specs.models import MLP
from lmkit.specs.training import TrainingSpec

__all__ = ["MLP", "DataSpec", "TrainingSpec"]
