"""
Trainers of other projects that build on Trainer, interrupted and resumed.

`python external_trainers.py RESULT CASE...` runs cases on the transformers tree that it imports, and writes what came
of them as JSON. It is a process of its own, as the tests have no say in which tree theirs imports.
"""

import copy
import itertools
import json
import random
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import BertModel, PreTrainedTokenizerFast, PrinterCallback, Trainer, TrainerCallback, set_seed

from exact_resume.matrix import model_pieces
from exact_resume.matrix.compare import first_divergence
from exact_resume.matrix.recording import Event, Recorder
from exact_resume.matrix.running import release_workers

# Two epochs of six steps, of which the last has a ragged batch.
SIZE = 22
ARGUMENTS = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "save_strategy": "steps",
    "save_steps": 1,
    "logging_steps": 1,
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "use_cpu": True,
    "seed": 42,
}
INTERRUPTS = (1, 4, 5, 6, 7, 10)
TWO_WORKERS = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that marks the end of a text."""
    tokenizer = model_pieces.tokenizer()
    tokenizer.eos_token = "[SEP]"
    return tokenizer


def texts(count: int, seed: int) -> list[str]:
    """Made-up texts of different lengths."""
    generator = random.Random(seed)
    words = range(model_pieces.VOCAB_SIZE - len(model_pieces.SPECIAL_TOKENS))
    return [" ".join(f"w{generator.choice(words)}" for _ in range(generator.randint(2, 8))) for _ in range(count)]


class TokenDropout:
    """
    Replaces random tokens of what another collator returns, as denoising objectives do.

    Args:
        collate: The other collator.
    """

    def __init__(self, collate: Callable):
        self.collate = collate
        # The trainer of sentence-transformers asks its collator for these.
        self.valid_label_columns = getattr(collate, "valid_label_columns", [])

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate the samples and replace tokens."""
        batch = self.collate(samples)
        for name in batch if isinstance(batch, dict) else ():
            if name.endswith("input_ids"):
                batch[name] = batch[name].masked_fill(torch.rand(batch[name].shape) < 0.2, model_pieces.UNK)
        return batch


class ContinuedTokenCount(TrainerCallback):
    """Continues TRL's count of tokens, which it logs and does not store: a resumed run counts from 0."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if state.log_history and "num_tokens" in state.log_history[-1]:
            self.trainer._total_train_tokens = int(state.log_history[-1]["num_tokens"])


def sft(folder: Path, lora: bool = False, **arguments) -> Trainer:
    """TRL's trainer for supervised fine-tuning."""
    from trl import SFTConfig, SFTTrainer

    options = {}
    if lora:
        from peft import LoraConfig

        options["peft_config"] = LoraConfig(
            task_type="CAUSAL_LM", r=2, lora_dropout=0.3, target_modules=["q_proj", "v_proj"]
        )
    return SFTTrainer(
        model=model_pieces.llama(),
        args=SFTConfig(output_dir=str(folder), **{**ARGUMENTS, **arguments}),
        train_dataset=datasets.Dataset.from_dict({"text": texts(SIZE, 0)}),
        processing_class=tokenizer(),
        **options,
    )


def dpo(folder: Path, **arguments) -> Trainer:
    """TRL's trainer for direct preference optimization."""
    from trl import DPOConfig, DPOTrainer

    model = model_pieces.llama()
    columns = {name: texts(SIZE, seed) for seed, name in enumerate(("prompt", "chosen", "rejected"))}
    return DPOTrainer(
        model=model,
        ref_model=copy.deepcopy(model),
        args=DPOConfig(output_dir=str(folder), disable_dropout=False, **{**ARGUMENTS, **arguments}),
        train_dataset=datasets.Dataset.from_dict(columns),
        processing_class=tokenizer(),
    )


class Attributes:
    """
    The state of some attributes of a trainer, to be registered for checkpoints.

    Args:
        trainer: The trainer.
        names: The names of the attributes.
    """

    def __init__(self, trainer: Trainer, *names: str):
        self.trainer, self.names = trainer, names

    def state_dict(self) -> dict[str, Any]:
        """Their values."""
        return {name: getattr(self.trainer, name) for name in self.names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set them to what `state_dict` returned."""
        for name, value in state.items():
            setattr(self.trainer, name, value)


def registered(make: Callable[..., Trainer], *names: str, modules: tuple[str, ...] = ()) -> Callable[..., Trainer]:
    """Makes a trainer of which attributes, and modules, are registered for checkpoints as Accelerate has it."""

    def make_registered(folder: Path, **arguments) -> Trainer:
        trainer = make(folder, **arguments)
        objects = [Attributes(trainer, *names), *(getattr(trainer, name) for name in modules)]
        trainer.accelerator.register_for_checkpointing(*objects)
        return trainer

    return make_registered


def count_long_words(completions: list[str], **kwargs) -> list[float]:
    """A reward: the longer the words, the better, with a little noise."""
    return [sum(map(len, completion.split())) + random.random() for completion in completions]


def grpo(folder: Path, **arguments) -> Trainer:
    """TRL's trainer for group relative policy optimization, which trains several times on what it has generated."""
    from trl import GRPOConfig, GRPOTrainer

    options = {"num_generations": 2, "max_completion_length": 5, "num_iterations": 2, "steps_per_generation": 2}
    return GRPOTrainer(
        model=model_pieces.llama(),
        reward_funcs=count_long_words,
        args=GRPOConfig(output_dir=str(folder), **{**ARGUMENTS, **options, "num_train_epochs": 1, **arguments}),
        train_dataset=datasets.Dataset.from_dict({"prompt": texts(SIZE, 0)}),
        processing_class=tokenizer(),
    )


def sentence_transformer(folder: Path, num_datasets: int = 1, **arguments) -> Trainer:
    """The trainer of sentence-transformers, on pairs of texts from one or more datasets."""
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer import SentenceTransformerTrainingArguments, losses, modules

    # It takes its base model from files only.
    base = folder / "base"
    BertModel(model_pieces.bert().config).save_pretrained(base)
    tokenizer().save_pretrained(base)
    transformer = modules.Transformer(str(base))
    pooling = modules.Pooling(transformer.get_embedding_dimension())
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    pairs = datasets.DatasetDict()
    for number in range(num_datasets):
        columns = {name: texts(SIZE // num_datasets, seed + number) for name, seed in (("anchor", 0), ("positive", 9))}
        pairs[f"pairs_{number}"] = datasets.Dataset.from_dict(columns)
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(output_dir=str(folder), **{**ARGUMENTS, **arguments}),
        train_dataset=pairs if num_datasets > 1 else pairs["pairs_0"],
        loss=losses.MultipleNegativesRankingLoss(model),
    )


CASES: dict[str, Callable[..., Trainer]] = {
    "sft": sft,
    "sft_lora": partial(sft, lora=True),
    "sft_packing": partial(sft, packing=True, packing_strategy="wrapped", max_length=model_pieces.LONGEST // 2),
    "sft_workers": partial(sft, **TWO_WORKERS),
    "dpo": dpo,
    "dpo_accumulation": partial(dpo, gradient_accumulation_steps=2, num_train_epochs=4),
    # Its reference model follows the model, and TRL does not store it.
    "dpo_synchronized": partial(dpo, sync_ref_model=True, ref_model_sync_steps=2, ref_model_mixup_alpha=0.5),
    "dpo_registered": registered(
        partial(dpo, sync_ref_model=True, ref_model_sync_steps=2, ref_model_mixup_alpha=0.5), modules=("ref_model",)
    ),
    "sft_registered": registered(sft, "_total_train_tokens"),
    "grpo": grpo,
    "grpo_registered": registered(grpo, "_step", "_buffered_inputs"),
    "sentence_transformer": sentence_transformer,
    "sentence_transformer_no_duplicates": partial(sentence_transformer, batch_sampler="no_duplicates"),
    "sentence_transformer_two_datasets": partial(sentence_transformer, num_datasets=2),
    "sentence_transformer_workers": partial(sentence_transformer, **TWO_WORKERS),
}
_runs = itertools.count(1)


def train(case: str, folder: Path, checkpoint: Path | None = None, continue_token_count: bool = True) -> list[Event]:
    """
    Train from the beginning or from `checkpoint`, and return what was recorded.

    Args:
        case: A key of `CASES`.
        folder: Where checkpoints are written.
        checkpoint: The checkpoint to resume from.
        continue_token_count: Whether TRL's count of tokens is continued.
    """
    # A process that resumes may be in any state before its Trainer is built.
    run = next(_runs)
    random.seed(run)
    np.random.seed(run)
    torch.manual_seed(run)
    set_seed(ARGUMENTS["seed"])
    # Only the golden run's checkpoints are needed.
    trainer = CASES[case](folder, save_strategy="no" if checkpoint else "steps")
    trainer.data_collator = TokenDropout(trainer.data_collator)
    trainer.remove_callback(PrinterCallback)
    if continue_token_count and hasattr(trainer, "_total_train_tokens"):
        trainer.add_callback(ContinuedTokenCount(trainer))
    recorder = Recorder(trainer)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    release_workers(trainer)
    return recorder.events


def run_case(case: str, work: Path) -> dict[str, Any]:
    """
    Train without interruption, twice, and resume from the checkpoints.

    Returns:
        `{"deterministic", "resumes", "without_rng_state", "without_token_count"}`: a boolean, divergences by step, and
        two divergences, each of which is `None` if there is none.
    """
    golden = train(case, work / "golden")
    checkpoints = {step: work / "golden" / f"checkpoint-{step}" for step in INTERRUPTS}
    resume = partial(train, case)
    result = {
        "deterministic": first_divergence(golden, train(case, work / "again"), 0) is None,
        "resumes": {
            step: first_divergence(golden, resume(work / f"resumed-{step}", checkpoint), step)
            for step, checkpoint in checkpoints.items()
        },
    }
    step, checkpoint = next(iter(checkpoints.items()))
    events = resume(work / "without-token-count", checkpoint, continue_token_count=False)
    result["without_token_count"] = first_divergence(golden, events, step)
    (checkpoint / "rng_state.pth").unlink()
    result["without_rng_state"] = first_divergence(golden, resume(work / "without-rng-state", checkpoint), step)
    return result


def main() -> None:
    """Run the cases that are named."""
    record, *cases = sys.argv[1:]
    warnings.filterwarnings("ignore")
    # One thread, so that a sum is not split in another way on a busy machine.
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    results = {}
    for case in cases:
        with tempfile.TemporaryDirectory() as work:
            results[case] = run_case(case, Path(work))
    Path(record).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
