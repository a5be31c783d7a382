"""The class that lmms-eval makes for ``--model headrouter_qwen2_5_omni``: a thin adapter."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from tqdm import tqdm

from calibrate.evaluation.lmms_eval.answering import Answerer
from calibrate.evaluation.lmms_eval.requests import read_request
from calibrate.evaluation.lmms_eval.settings import read_settings
from calibrate.terminal.console import say
from headrouter_core.errors import UsageError


class PrunedOmni(lmms):  # type: ignore[misc]  # of an untyped library
    """Qwen2.5-Omni, or another model that ``headrouter prune`` takes, with audio tokens pruned.

    Unlike lmms-eval's own models it never scores an empty answer for a request that failed: every
    error ends the run.
    """

    is_simple = True

    def __init__(self, **arguments: Any) -> None:
        """Load the model.

        Args:
            arguments: see :class:`calibrate.evaluation.lmms_eval.settings.Settings`.

        Raises:
            HeadRouterError: an argument, the profile or the model is not as it should be.
        """
        super().__init__()
        system = arguments.get("system_prompt")
        if isinstance(system, str):
            # as for lmms-eval's own models: a file, because --model_args are split at commas
            arguments["system_prompt"] = self._resolve_system_prompt(system)
        self._settings = read_settings(arguments)
        self._answerer: Answerer | None = Answerer(self._settings)
        self._device = self._answerer.loaded.device

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answer requests about audio, and log how many audio tokens were kept.

        Raises:
            HeadRouterError: a request cannot be answered exactly; the message names its document.
        """
        if self._answerer is None:
            raise UsageError("lmms-eval has cleaned up this model; make a new one")
        limit = self._settings.max_new_tokens
        # all of them read at once: settings that are not known end the run before it begins
        questions = [read_request(each.args, self.task_dict, limit) for each in requests]
        answers: list[str] = []
        with tqdm(total=len(questions), desc="Model Responding", disable=self.rank != 0) as bar:
            for batch in self._answerer.batches(questions):
                answers += batch
                bar.update(len(batch))
        self._log(self._answerer)
        return answers

    def _log(self, answerer: Answerer) -> None:
        """Say what was pruned, and write it into lmms-eval's results under ``throughput``."""
        tally = answerer.tally
        say(tally.describe())
        if tally.kept:
            requests = len(tally.kept)
            log_metrics(
                total_elapsed_time=tally.seconds,
                total_gen_tokens=tally.generated,
                avg_speed=tally.generated / tally.seconds,
                additional_metrics={
                    "audio_tokens": sum(tally.audio_tokens) / requests,
                    "kept_tokens": sum(tally.kept) / requests,
                },
            )

    def loglikelihood(self, requests: list[Instance]) -> NoReturn:
        """Refuse: what lmms-eval wants back is not one thing.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "this model does not answer loglikelihood requests: lmms-eval's interface asks for"
            " log-likelihoods and its multiple_choice tasks take the least, as of losses; use a"
            " generate_until task, or headrouter evaluate, which scores options by likelihood"
        )

    def generate_until_multi_round(self, requests: list[Instance]) -> NoReturn:
        """Refuse: audio that comes in a later round cannot be pruned from a cache.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "this model does not answer generate_until_multi_round requests; use a task with one"
            " round"
        )

    def clean(self) -> None:
        """Give the memory back, as lmms-eval asks for once all requests are answered."""
        self._answerer = None
        super().clean()
