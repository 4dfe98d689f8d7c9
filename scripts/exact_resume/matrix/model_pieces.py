"""Real architectures with random weights, and the data they train on, all too small for anything but a resume."""

import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    SwitchTransformersConfig,
    SwitchTransformersForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
)

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL_TOKENS))
VOCAB_SIZE = 48
LONGEST = 12
IMAGE_SIZE, CROP_SIZE = 10, 8
AUDIO_SIZE, AUDIO_CROP_SIZE = 200, 160
NUM_LABELS = 3


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, made in memory."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [*SPECIAL_TOKENS.values(), *(f"w{number}" for number in range(VOCAB_SIZE - len(SPECIAL_TOKENS)))]
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL_TOKENS)


class TokenDataset(Dataset):
    """
    Made-up sequences of different lengths, each between [CLS] and [SEP].

    Args:
        size: Number of sequences.
        with_labels: Whether each has a target sequence, of another length.
    """

    def __init__(self, size: int = 22, with_labels: bool = False):
        generator = torch.Generator().manual_seed(0)

        def sequence() -> list[int]:
            length = int(torch.randint(4, LONGEST - 1, (), generator=generator))
            words = torch.randint(MASK + 1, VOCAB_SIZE, (length,), generator=generator)
            return [CLS, *words.tolist(), SEP]

        names = ["input_ids", "labels"] if with_labels else ["input_ids"]
        self.samples = [{name: sequence() for name in names} for _ in range(size)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return dict(self.samples[index])


class WindowDataset(Dataset):
    """Windows at random places of one long text, as many pretraining scripts take them."""

    def __init__(self, size: int = 22):
        generator = torch.Generator().manual_seed(0)
        self.size = size
        self.text = torch.randint(MASK + 1, VOCAB_SIZE, (200,), generator=generator)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        start = int(torch.randint(len(self.text) - LONGEST, ()))
        window = self.text[start : start + LONGEST]
        return {"input_ids": window, "labels": window}


class ImageDataset(Dataset):
    """
    Images with labels.

    Args:
        size: Number of images.
        augment: Whether each is cropped at a random place and flipped at random with torch's generator, as
            torchvision's transforms do, instead of cropped in the middle.
    """

    def __init__(self, size: int = 22, augment: bool = True):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(size, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        margin = IMAGE_SIZE - CROP_SIZE
        top = left = margin // 2
        flip = False
        if self.augment:
            top, left = torch.randint(margin + 1, (2,)).tolist()
            flip = bool(torch.rand(()) < 0.5)
        image = self.images[index, :, top : top + CROP_SIZE, left : left + CROP_SIZE]
        return {"pixel_values": image.flip(-1) if flip else image, "labels": torch.tensor(index % NUM_LABELS)}


class AudioDataset(Dataset):
    """
    Noise with transcripts.

    Args:
        size: Number of recordings.
        augment: Whether each is cropped at a random place and scaled by a random gain, both from NumPy.
    """

    def __init__(self, size: int = 18, augment: bool = False):
        generator = torch.Generator().manual_seed(0)
        self.audio = torch.randn(size, AUDIO_SIZE, generator=generator)
        self.labels = torch.randint(MASK + 1, VOCAB_SIZE, (size, 3), generator=generator)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.audio)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        start, gain = 0, 1.0
        if self.augment:
            start = np.random.randint(AUDIO_SIZE - AUDIO_CROP_SIZE)
            gain = np.random.uniform(0.5, 1.5)
        crop = self.audio[index, start : start + AUDIO_CROP_SIZE] * gain
        return {"input_values": crop, "labels": self.labels[index]}


def mix_up(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack images, and mix each with another of the batch by a share from Python's generator, keeping its label."""
    images = torch.stack([sample["pixel_values"] for sample in samples])
    share = random.betavariate(0.8, 0.8)
    mixed = share * images + (1 - share) * images[torch.randperm(len(images))]
    return {"pixel_values": mixed, "labels": torch.stack([sample["labels"] for sample in samples])}


def gpt2(dropout: float = 0.1, layers: int = 2) -> GPT2LMHeadModel:
    """GPT-2, with dropout on embeddings, attention and residuals."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB_SIZE,
            n_positions=LONGEST,
            n_embd=16,
            n_layer=layers,
            n_head=2,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            resid_pdrop=dropout,
            bos_token_id=CLS,
            eos_token_id=SEP,
            pad_token_id=PAD,
        )
    )


def bert() -> BertForMaskedLM:
    """BERT with a masked language modeling head."""
    return BertForMaskedLM(
        BertConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=LONGEST,
            pad_token_id=PAD,
        )
    )


ENCODER_DECODER: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 16,
    "num_layers": 1,
    "num_heads": 2,
    "dropout_rate": 0.1,
    "pad_token_id": PAD,
    "eos_token_id": SEP,
    "decoder_start_token_id": PAD,
}


def t5() -> T5ForConditionalGeneration:
    """T5."""
    return T5ForConditionalGeneration(T5Config(**ENCODER_DECODER))


def switch_transformers() -> SwitchTransformersForConditionalGeneration:
    """Switch Transformers: T5 with four experts, and noise on what their router sees."""
    return SwitchTransformersForConditionalGeneration(
        SwitchTransformersConfig(
            **ENCODER_DECODER,
            num_decoder_layers=1,
            num_sparse_encoder_layers=1,
            num_sparse_decoder_layers=1,
            num_experts=4,
            expert_capacity=8,
            router_jitter_noise=0.1,
        )
    )


DECODER: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": LONGEST,
    "attention_dropout": 0.1,
    "pad_token_id": PAD,
    "bos_token_id": CLS,
    "eos_token_id": SEP,
}


def mixtral() -> MixtralForCausalLM:
    """Mixtral with four experts, noise on what its router sees, and a loss that balances the experts."""
    return MixtralForCausalLM(
        MixtralConfig(**DECODER, num_local_experts=4, router_jitter_noise=0.1, output_router_logits=True)
    )


def llama() -> LlamaForCausalLM:
    """Llama."""
    return LlamaForCausalLM(LlamaConfig(**DECODER))


def llama_with_lora() -> nn.Module:
    """Llama with LoRA adapters that have dropout of their own."""
    from peft import LoraConfig, get_peft_model

    adapters = LoraConfig(
        task_type="CAUSAL_LM", r=2, lora_alpha=8, lora_dropout=0.3, target_modules=["q_proj", "v_proj"]
    )
    return get_peft_model(llama(), adapters)


def wav2vec2() -> Wav2Vec2ForCTC:
    """Wav2Vec2 for speech recognition; SpecAugment and LayerDrop draw from NumPy and torch in `forward`."""
    return Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=VOCAB_SIZE,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            conv_dim=(8, 8),
            conv_stride=(5, 2),
            conv_kernel=(10, 3),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            layerdrop=0.3,
            mask_time_prob=0.3,
            mask_time_length=3,
            mask_feature_prob=0.3,
            mask_feature_length=3,
            ctc_loss_reduction="mean",
            pad_token_id=PAD,
        )
    )


def vit() -> ViTForImageClassification:
    """A vision transformer."""
    return ViTForImageClassification(
        ViTConfig(
            image_size=CROP_SIZE,
            patch_size=4,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1,
            num_labels=NUM_LABELS,
        )
    )


def resnet() -> ResNetForImageClassification:
    """A residual network, whose batch normalization keeps running statistics in buffers."""
    return ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=NUM_LABELS)
    )
