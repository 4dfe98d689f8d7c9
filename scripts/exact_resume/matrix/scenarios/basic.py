"""Main-process loading: the order of restoring, noise, and batching."""

from functools import partial

from torch.utils.data import DataLoader
from transformers import Trainer

from exact_resume.matrix import pieces
from exact_resume.matrix.scenarios.base import ALL, DROPOUT, PER_STEP, RESTORE, Scenario, noise


class PlainLoaderTrainer(Trainer):
    """Brings a dataloader that Accelerate did not prepare, and that therefore does not look ahead."""

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_dataset, batch_size=self._train_batch_size, collate_fn=pieces.stack)


def scenarios() -> list[Scenario]:
    """The order of restoring, the model, noise in the main process, and batching."""
    noisy = {"dataset": noise(*ALL), "model": DROPOUT}
    return [
        Scenario(
            "issue_39215",
            "the issue's own data and model",
            "issue",
            PER_STEP,
            dataset=partial(pieces.IssueDataset, 100),
            model=pieces.IssueModel,
            arguments={"num_train_epochs": 1, "per_device_train_batch_size": 10},
            tier="core",
        ),
        Scenario("dropout", "dropout only", "model", None, model=DROPOUT, tier="core"),
        Scenario(
            "model_numpy_python",
            "numpy and python draws in forward",
            "model",
            None,
            model=partial(pieces.TinyModel, dropout=0.5, sources=("numpy", "python")),
        ),
        Scenario(
            "plain_loader_noise",
            "unprepared loader, all noise",
            "order",
            RESTORE,
            **noisy,
            trainer_class=PlainLoaderTrainer,
        ),
        Scenario(
            "plain_loader_accumulation",
            "unprepared loader, accumulation 2",
            "order",
            RESTORE,
            **noisy,
            trainer_class=PlainLoaderTrainer,
            arguments={"gradient_accumulation_steps": 2},
        ),
        Scenario(
            "epoch_begin_callback",
            "callback draws at epoch begin",
            "order",
            RESTORE,
            controls=(6, 12),
            model=DROPOUT,
            callbacks=(pieces.RandomEpochBegin,),
            tier="core",
        ),
        Scenario(
            "torch_noise", "torch noise in __getitem__", "noise", PER_STEP, dataset=noise("torch"), model=DROPOUT
        ),
        Scenario(
            "numpy_noise", "numpy noise in __getitem__", "noise", PER_STEP, dataset=noise("numpy"), model=DROPOUT
        ),
        Scenario(
            "python_noise", "python noise in __getitem__", "noise", PER_STEP, dataset=noise("python"), model=DROPOUT
        ),
        Scenario("all_noise", "all noise in __getitem__", "noise", PER_STEP, **noisy),
        Scenario(
            "random_collator",
            "random collator",
            "noise",
            PER_STEP,
            model=DROPOUT,
            make_collator=lambda: pieces.noisy_collate,
        ),
        Scenario(
            "datasets_transform",
            "datasets, random transform",
            "noise",
            PER_STEP,
            dataset=partial(pieces.datasets_with_transform, 22),
            model=DROPOUT,
        ),
        Scenario(
            "unseedable_sampler",
            "unseedable sampler",
            "noise",
            PER_STEP,
            model=DROPOUT,
            arguments={"accelerator_config": {"use_seedable_sampler": False}},
        ),
        Scenario(
            "accumulation_2",
            "accumulation 2",
            "batching",
            PER_STEP,
            **noisy,
            arguments={"gradient_accumulation_steps": 2},
            tier="core",
        ),
        Scenario(
            "accumulation_2_ragged",
            "accumulation 2, ragged last step",
            "batching",
            PER_STEP,
            dataset=noise(*ALL, size=18),
            model=DROPOUT,
            arguments={"gradient_accumulation_steps": 2},
        ),
        Scenario(
            "accumulation_3_ragged",
            "accumulation 3, ragged last step",
            "batching",
            PER_STEP,
            dataset=noise(*ALL, size=26),
            model=DROPOUT,
            arguments={"gradient_accumulation_steps": 3},
        ),
        Scenario(
            "drop_last",
            "drop_last",
            "batching",
            PER_STEP,
            **noisy,
            arguments={"dataloader_drop_last": True},
        ),
        Scenario(
            "divisible",
            "batches divide the data",
            "batching",
            PER_STEP,
            dataset=noise(*ALL, size=24),
            model=DROPOUT,
        ),
        Scenario(
            "single_samples",
            "batch size 1",
            "batching",
            PER_STEP,
            dataset=noise(*ALL, size=5),
            model=DROPOUT,
            arguments={"per_device_train_batch_size": 1},
        ),
    ]
