"""The parts as one model: Qwen2.5-Omni's thinker, with SmolLM2's tokenizer and chat format.

SmolLM2 is a Llama, and the thinker's decoder is one too once its three biases are zero and its
three rotary sections count the same positions, as they do without pictures. Whisper's encoder is
the thinker's with 80 mel bins and windows of 30 s. What has no pretrained weights is the last
projection; it is part of the adapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    WhisperConfig,
    WhisperFeatureExtractor,
)

if TYPE_CHECKING:
    from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
        Qwen2_5OmniAudioEncoder,
        Qwen2_5OmniThinkerTextModel,
    )

#: Control tokens that SmolLM2 does not need for talking -> what they become. The vocabulary keeps
#: its size, and every text its tokens.
RENAMED = {
    "<empty_output>": "<|AUDIO|>",
    "<jupyter_script>": "<|audio_bos|>",
    "<jupyter_output>": "<|audio_eos|>",
    "<jupyter_code>": "<|vision_bos|>",
    "<jupyter_text>": "<|vision_eos|>",
    "<jupyter_start>": "<|IMAGE|>",
    "<issue_closed>": "<|VIDEO|>",
}
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#: SmolLM2's chat format; audio stands where the conversation has it.
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n"
    "{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: The longest audio, in seconds: two of Whisper's windows.
LONGEST = 60

State = dict[str, torch.Tensor]
Thinker = Qwen2_5OmniThinkerForConditionalGeneration


@dataclass(frozen=True)
class Parts:
    """The pretrained parts, in transformers' names."""

    whisper: WhisperConfig
    whisper_state: State
    """Of ``WhisperForConditionalGeneration``."""
    whisper_tokenizer: Tokenizer
    llama: LlamaConfig
    llama_state: State
    """Of ``LlamaModel``; the head is the embedding."""
    tokenizer: Tokenizer
    """SmolLM2's, with the tokens of :data:`RENAMED`."""


@dataclass(frozen=True)
class Omni:
    """A model with what makes its inputs."""

    model: Thinker
    tokenizer: PreTrainedTokenizerFast
    extractor: WhisperFeatureExtractor

    def save(self, folder: Path) -> None:
        """Write a checkpoint that every command takes for ``--model``."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.extractor.save_pretrained(folder)


def assemble(parts: Parts, seed: int = 0) -> Omni:
    """Join the parts, float32; ``seed`` draws the projection between them.

    Raises ``ValueError`` where the parts do not fit the architecture.
    """
    tokenizer = chat_tokenizer(parts.tokenizer, parts.llama.max_position_embeddings)
    torch.manual_seed(seed)
    model = Thinker(config(parts.whisper, parts.llama, tokenizer)).eval()
    encoder, decoder = towers(model)
    _load(encoder, _encoder(parts.whisper_state))
    biases = {k: torch.zeros_like(v) for k, v in decoder.state_dict().items() if "proj.bias" in k}
    _load(decoder, parts.llama_state | biases)
    model.tie_weights()
    settings = model.generation_config
    settings.eos_token_id, settings.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    extractor = WhisperFeatureExtractor(
        feature_size=parts.whisper.num_mel_bins, chunk_length=LONGEST, return_attention_mask=True
    )
    return Omni(model, tokenizer, extractor)


def towers(model: Thinker) -> tuple[Qwen2_5OmniAudioEncoder, Qwen2_5OmniThinkerTextModel]:
    """The audio encoder and the text decoder; transformers before 5.21 keep them elsewhere."""
    inner: Any = model.model
    if hasattr(inner, "language_model"):
        return inner.audio_tower, inner.language_model
    older: Any = model
    return older.audio_tower, inner


def _encoder(whisper: State) -> State:
    """Whisper's encoder in the thinker's names; its sinusoids are computed there."""
    prefix = "model.encoder."
    own = {k.removeprefix(prefix): v for k, v in whisper.items() if k.startswith(prefix)}
    del own["embed_positions.weight"]
    return {
        k.replace("layer_norm.", "ln_post.") if k.startswith("layer_norm.") else k: v
        for k, v in own.items()
    }


def _load(module: nn.Module, state: State) -> None:
    report = module.load_state_dict(state, strict=False)
    fresh = ("proj.", "audio_bos_eos_token.")
    missing = [name for name in report.missing_keys if not name.startswith(fresh)]
    if missing or report.unexpected_keys:
        raise ValueError(
            f"the parts do not fit: {len(missing)} weights are missing {missing[:3]},"
            f" {len(report.unexpected_keys)} are left over {report.unexpected_keys[:3]}"
        )


def chat_tokenizer(bpe: Tokenizer, longest: int) -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer with the special tokens by which Qwen2.5-Omni's processor goes."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "image_token": "<|IMAGE|>",
            "audio_token": "<|AUDIO|>",
            "video_token": "<|VIDEO|>",
            "vision_bos_token": "<|vision_bos|>",
            "vision_eos_token": "<|vision_eos|>",
            "audio_bos_token": "<|audio_bos|>",
            "audio_eos_token": "<|audio_eos|>",
        },
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def config(
    whisper: WhisperConfig, llama: LlamaConfig, tokenizer: PreTrainedTokenizerFast
) -> Qwen2_5OmniThinkerConfig:
    """The thinker's configuration of the sizes that the parts have."""

    def token(name: str) -> int:
        return cast(int, tokenizer.convert_tokens_to_ids(name))

    assert llama.rope_parameters is not None
    half = llama.hidden_size // llama.num_attention_heads // 2
    quarter = half // 4
    joined = Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": whisper.num_mel_bins,
            "d_model": whisper.d_model,
            "encoder_layers": whisper.encoder_layers,
            "encoder_attention_heads": whisper.encoder_attention_heads,
            "encoder_ffn_dim": whisper.encoder_ffn_dim,
            "max_source_positions": whisper.max_source_positions,
            # positions are two mel frames long, and a window is twice n_window frames
            "n_window": whisper.max_source_positions,
            "output_dim": llama.hidden_size,
        },
        # the class insists on a vision tower; it is never called, so it is as small as it can be
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "patch_size": 4,
            "out_hidden_size": llama.hidden_size,
            "fullatt_block_indexes": [0],
        },
        text_config={
            "vocab_size": llama.vocab_size,
            "hidden_size": llama.hidden_size,
            "intermediate_size": llama.intermediate_size,
            "num_hidden_layers": llama.num_hidden_layers,
            "num_attention_heads": llama.num_attention_heads,
            "num_key_value_heads": llama.num_key_value_heads,
            "rms_norm_eps": llama.rms_norm_eps,
            "max_position_embeddings": llama.max_position_embeddings,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": llama.rope_parameters["rope_theta"],
                # as in Qwen2.5-Omni, whose heads are twice as large: 16, 24, 24 of 64
                "mrope_section": [quarter, (half - quarter) // 2, (half - quarter + 1) // 2],
            },
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": token("<|im_start|>"),
            "eos_token_id": tokenizer.eos_token_id,
            "tie_word_embeddings": True,
        },
        audio_token_index=token("<|AUDIO|>"),
        image_token_index=token("<|IMAGE|>"),
        video_token_index=token("<|VIDEO|>"),
        audio_start_token_id=token("<|audio_bos|>"),
        audio_end_token_id=token("<|audio_eos|>"),
        user_token_id=token("user"),
        tie_word_embeddings=True,
    )
    # read by the position code for images, absent from the config class
    joined.vision_start_token_id = token("<|vision_bos|>")
    joined.vision_end_token_id = token("<|vision_eos|>")
    joined.pad_token_id = tokenizer.pad_token_id
    return joined
