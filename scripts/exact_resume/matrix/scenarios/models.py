"""Real architectures with the collators that they are usually trained with."""

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

from exact_resume.matrix import model_pieces
from exact_resume.matrix.scenarios.base import (
    ARGUMENTS,
    CONVERSIONS,
    PER_STEP,
    PIPELINE,
    WORKERS,
    Scenario,
    worker_arguments,
)

# Whether weights may be saved under other names than the model's.
CONVERTS = importlib.util.find_spec("transformers.core_model_loading") is not None

CHECKPOINTING = next(name for name in ("activation_checkpointing", "gradient_checkpointing") if name in ARGUMENTS)

# Steps take longer than with the model of the other scenarios, so there are fewer.
DEFAULTS = {"num_train_epochs": 2}
# For the slowest: at the beginning and in the middle of an epoch, and on both sides of its end.
INTERRUPTS = (1, 3, 6, 7)


def masking_collator(**kwargs) -> DataCollatorForLanguageModeling:
    """The standard collator of masked language modeling."""
    return DataCollatorForLanguageModeling(model_pieces.tokenizer(), mlm_probability=0.3, **kwargs)


def padding_collator() -> DataCollatorForLanguageModeling:
    """The standard collator of causal language modeling, which draws nothing."""
    return DataCollatorForLanguageModeling(model_pieces.tokenizer(), mlm=False)


def seq2seq_collator() -> DataCollatorForSeq2Seq:
    """The standard collator of encoder-decoder models, which draws nothing."""
    return DataCollatorForSeq2Seq(model_pieces.tokenizer())


def mixing_collator() -> Callable:
    """The collator that mixes images."""
    return model_pieces.mix_up


def _scenario(
    name: str, title: str, fixed_by: str | None, *, arguments: dict[str, Any] | None = None, **fields
) -> Scenario:
    fields = {"tier": "suite", **fields}
    return Scenario(name, title, "models", fixed_by, arguments={**DEFAULTS, **(arguments or {})}, **fields)


def scenarios() -> list[Scenario]:
    """Language, speech and vision models, and what the Trainer can add to a model."""
    return [*_language(), *_masked_language(), *_sequence_to_sequence(), *_speech_and_vision()]


def _language() -> list[Scenario]:
    fixed = {"dataset": model_pieces.TokenDataset, "make_collator": padding_collator}
    return [
        _scenario("gpt2_dropout", "GPT-2, dropout", None, model=model_pieces.gpt2, **fixed),
        _scenario(
            "gpt2_random_windows",
            "GPT-2, random windows of a text",
            PER_STEP,
            dataset=model_pieces.WindowDataset,
            model=model_pieces.gpt2,
            arguments={"gradient_accumulation_steps": 2, "num_train_epochs": 3},
        ),
        _scenario(
            "gpt2_activation_checkpointing",
            "GPT-2, activation checkpointing, dropout",
            None,
            model=partial(model_pieces.gpt2, dropout=0.3),
            arguments={CHECKPOINTING: True},
            **fixed,
        ),
        _scenario(
            "gpt2_compiled",
            "GPT-2, torch.compile, random windows",
            PER_STEP,
            dataset=partial(model_pieces.WindowDataset, 24),
            model=partial(model_pieces.gpt2, layers=1),
            arguments={"torch_compile": True},
            tier="long",
        ),
        # Saving splits its fused experts, and a resume has to fuse them again.
        _scenario(
            "mixtral_router_jitter",
            "Mixtral, router jitter",
            CONVERSIONS,
            model=model_pieces.mixtral,
            lacks=None if CONVERTS else "weights are saved under their own names",
            tier="core",
            **fixed,
        ),
        _scenario(
            "llama_lora_dropout",
            "Llama, LoRA dropout",
            None,
            model=model_pieces.llama_with_lora,
            requires=("peft",),
            **fixed,
        ),
        _scenario(
            "llama_neftune",
            "Llama, NEFTune",
            None,
            model=model_pieces.llama,
            arguments={"neftune_noise_alpha": 5.0},
            **fixed,
        ),
    ]


def _masked_language() -> list[Scenario]:
    bert = {"dataset": model_pieces.TokenDataset, "model": model_pieces.bert}
    two_workers = worker_arguments(2, 2, True, "fork")
    return [
        _scenario("bert_masked_lm", "BERT, masking collator", PER_STEP, make_collator=masking_collator, **bert),
        _scenario(
            "bert_masked_lm_workers",
            "BERT, masking collator, 2 persistent",
            WORKERS,
            make_collator=masking_collator,
            arguments=two_workers,
            interrupts=INTERRUPTS,
            **bert,
        ),
        _scenario(
            "bert_masked_lm_seeded",
            "BERT, seeded masking collator",
            PIPELINE,
            make_collator=partial(masking_collator, seed=7),
            **bert,
        ),
        _scenario(
            "bert_masked_lm_seeded_workers",
            "BERT, seeded masking collator, 2 persistent",
            PIPELINE,
            make_collator=partial(masking_collator, seed=7),
            arguments=two_workers,
            interrupts=INTERRUPTS,
            **bert,
        ),
    ]


def _sequence_to_sequence() -> list[Scenario]:
    pairs = {
        "dataset": partial(model_pieces.TokenDataset, with_labels=True),
        "make_collator": seq2seq_collator,
        "trainer_class": Seq2SeqTrainer,
        "trainer_options": partial(dict, args_class=Seq2SeqTrainingArguments),
        "interrupts": INTERRUPTS,
    }
    return [
        _scenario("t5_dropout", "T5, Seq2SeqTrainer, dropout", None, model=model_pieces.t5, **pairs),
        _scenario(
            "switch_router_jitter",
            "Switch Transformers, router jitter",
            None,
            model=model_pieces.switch_transformers,
            **pairs,
        ),
    ]


def _speech_and_vision() -> list[Scenario]:
    images = {"dataset": model_pieces.ImageDataset}
    return [
        _scenario(
            "wav2vec2_specaugment",
            "Wav2Vec2, SpecAugment, LayerDrop",
            None,
            dataset=model_pieces.AudioDataset,
            model=model_pieces.wav2vec2,
        ),
        _scenario(
            "wav2vec2_random_crops",
            "Wav2Vec2, SpecAugment, random crops of audio",
            PER_STEP,
            dataset=partial(model_pieces.AudioDataset, augment=True),
            model=model_pieces.wav2vec2,
        ),
        # Saving renames most of its weights, and a resume has to name them back.
        _scenario(
            "vit_crops_flips",
            "ViT, random crops and flips",
            CONVERSIONS if CONVERTS else PER_STEP,
            model=model_pieces.vit,
            **images,
        ),
        _scenario(
            "resnet_batch_norm",
            "ResNet, batch normalization",
            None,
            dataset=partial(model_pieces.ImageDataset, augment=False),
            model=model_pieces.resnet,
        ),
        _scenario(
            "resnet_mix_up",
            "ResNet, random crops and flips, mixing collator",
            PER_STEP,
            model=model_pieces.resnet,
            make_collator=mixing_collator,
            **images,
        ),
        _scenario(
            "resnet_mix_up_workers",
            "ResNet, the same with 3 workers",
            WORKERS,
            model=model_pieces.resnet,
            make_collator=mixing_collator,
            arguments=worker_arguments(3, 2, False, "fork"),
            interrupts=INTERRUPTS,
            **images,
        ),
    ]
