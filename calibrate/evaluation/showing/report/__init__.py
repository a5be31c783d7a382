"""``headrouter report``: one page that holds all of an evaluation and needs nothing else."""

from calibrate.evaluation.showing.report.command import run

__all__ = ["run"]
