"""The model in training and its losses."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from small_omni.adapter import LoRA, Places, attach
from small_omni.assembly import Omni, towers
from tiny_omni.batches import IGNORE, Batch, log_mel
from tiny_omni.trainee import packed_mask


class Trainee(nn.Module):
    """small-omni with LoRA: audio embeddings, the loss of answers, the drift from SmolLM2."""

    def __init__(self, omni: Omni, places: Places) -> None:
        super().__init__()
        self.omni, self.tokenizer, self.extractor = omni.model, omni.tokenizer, omni.extractor
        attach(self.omni, places)
        self.encoder, self.decoder = towers(self.omni)
        self._changes = [m for m in self.decoder.modules() if isinstance(m, LoRA)]

    def encode(self, samples: torch.Tensor) -> torch.Tensor:
        """Audio embeddings [B, N_a, D] of scenes [B, n]."""
        mel = log_mel(samples, self.extractor)
        if self.training:
            mel = mask_bands(mel)
        rows, _, frames = mel.shape
        lengths = torch.full((rows,), frames, device=mel.device)
        flat = mel.transpose(0, 1).reshape(mel.shape[1], -1)
        embedded: torch.Tensor = self.encoder(flat, feature_lens=lengths).last_hidden_state
        return embedded.view(rows, -1, embedded.shape[-1])

    def answers(self, embedded: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and correctness of the tokens of the answers [n]."""
        inputs = self.decoder.embed_tokens(batch.ids)
        audio = (batch.ids == self.tokenizer.audio_token_id).unsqueeze(-1)
        inputs = inputs.masked_scatter(audio, embedded.to(inputs.dtype))
        states = self.decoder(
            inputs_embeds=inputs,
            attention_mask={"full_attention": packed_mask(batch.segments)},
            position_ids=batch.positions.expand(3, -1, -1),
            use_cache=False,
        ).last_hidden_state
        wanted = batch.labels != IGNORE
        logits = self.omni.lm_head(states[wanted]).float()
        target = batch.labels[wanted]
        loss = functional.cross_entropy(logits, target, reduction="none")
        return loss, logits.argmax(-1) == target

    def drift(self, ids: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        """KL divergence from SmolLM2 to the trained model on text, nats a token.

        ``ids`` [B, L] are conversations without audio; ``counted`` [B, L] marks the positions whose
        next token is the assistant's.
        """
        with torch.no_grad():
            self._switch(off=True)
            original = self._next(ids, counted)
            self._switch(off=False)
        changed = self._next(ids, counted)
        divergence = functional.kl_div(changed, original, log_target=True, reduction="sum")
        return divergence / counted.sum()

    def _next(self, ids: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        states = self.decoder(input_ids=ids, use_cache=False).last_hidden_state
        logits: torch.Tensor = self.omni.lm_head(states[counted])
        return logits.float().log_softmax(-1)

    def _switch(self, *, off: bool) -> None:
        for change in self._changes:
            change.off = off


def mask_bands(mel: torch.Tensor) -> torch.Tensor:
    """Blank up to two random bands of a tenth of the mel bins in each scene (SpecAugment)."""
    bins = torch.arange(mel.shape[1], device=mel.device)
    most = mel.shape[1] // 10
    for _ in range(2):
        width = torch.randint(0, most + 1, (len(mel), 1), device=mel.device)
        start = torch.randint(0, mel.shape[1] - most, (len(mel), 1), device=mel.device)
        hit = (bins >= start) & (bins < start + width)
        mel = torch.where(hit.unsqueeze(-1), mel.mean(dim=(1, 2), keepdim=True), mel)
    return mel
