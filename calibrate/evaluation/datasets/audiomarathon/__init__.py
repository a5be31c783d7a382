"""AudioMarathon (arXiv 2510.07293) as it lies on disk: the paper's nine tasks and the tenth, SD."""

from calibrate.evaluation.datasets.audiomarathon.reader import audiomarathon
from calibrate.evaluation.datasets.audiomarathon.tasks import IDENTITY, TASKS

__all__ = ["IDENTITY", "TASKS", "audiomarathon"]
