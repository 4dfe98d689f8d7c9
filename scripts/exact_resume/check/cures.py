"""What usually cures a divergence, by the stream in which it is first seen."""

DATA = ("sampler", "data")
RNGS = ("python", "numpy", "torch", "device")
KERNELS = (
    "a non-deterministic kernel: set full_determinism=True in TrainingArguments, or call "
    "torch.use_deterministic_algorithms(True) with CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment"
)
EARLY_SEED = (
    "draws before the seed is set, as for the weights of the model: call set_seed at the start of the function"
)
MEASURED = "a logged value that measures time or memory: leave its callback or metric out"

# Between the golden run and a resumed one.
OF_RESUMES = {
    DATA: [
        "a random generator that no checkpoint has: draw from the global RNG, or give the object that owns the "
        "generator (dataset, transform, collator, sampler) the methods state_dict and load_state_dict",
        "a sampler without state_dict that keeps its position or an order it drew: give it one, or derive the order "
        "from the epoch",
        "another number of dataloader workers, or samples that depend on which worker makes them: use the same "
        "number, or dataloader_num_workers=0",
    ],
    RNGS: [
        "something that draws only when a run starts, or once in every so many batches, and is not restored: a "
        "callback, a lazily built dataset, a buffer that is refilled; seed a generator of its own",
        "another number of dataloader workers: use the same number",
    ],
    ("model",): [
        KERNELS,
        "state of the model that is not in its state_dict: register it as a persistent buffer",
        "a generator that the model owns: draw from the global RNG instead",
    ],
    ("optimizer", "scheduler"): [
        "state that is not in the state_dict of the optimizer or the scheduler, or parameter groups that are built "
        "in another order: write it into state_dict and load_state_dict"
    ],
    ("log",): [
        "a metric or callback that sums up over steps: keep its sum in the TrainerState, or make it an "
        "ExportableState and set restore_callback_states_from_checkpoint=True",
        MEASURED,
    ],
}
# Between two runs that were not interrupted.
OF_GOLDEN_RUNS = {
    DATA: [
        "an unseeded generator, such as numpy.random.default_rng() or random.Random(): give it a seed",
        "an order that differs between processes, such as that of a set or of os.listdir: sort it",
        EARLY_SEED,
    ],
    RNGS: [EARLY_SEED, "a number of draws that depends on time, on the machine or on the order of a set"],
    ("model",): [EARLY_SEED, KERNELS, "sums that threads split in another way: set OMP_NUM_THREADS=1"],
    ("optimizer", "scheduler"): [KERNELS, EARLY_SEED],
    ("log",): [MEASURED],
}


def of(stream: str, *, is_resume: bool) -> list[str]:
    """
    The usual cures, most frequent first.

    Args:
        stream: The stream of the first divergence; see `matrix.recording.Event`.
        is_resume: Whether a resumed run diverges, and not the second golden run.
    """
    table = OF_RESUMES if is_resume else OF_GOLDEN_RUNS
    return next((cures for streams, cures in table.items() if stream in streams), [])
