"""What is reached from a data pipeline, how large it is, and what is called while somebody looks through it."""

import gc
import threading
import weakref

import torch
from pieces import At, Samples, make, sample, stack, train_and_resume
from registry import workflow
from torch.utils.data import SequentialSampler
from transformers import Trainer


class Collates(Trainer):
    """Its collator is a method of its own."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.data_collator = self.collate

    def collate(self, samples):
        return {name: value * (1 + self.state.global_step) for name, value in stack(samples).items()}


@workflow(
    must_say={
        "batch 2 of epoch 0 is not": "it depends on the global step, which is one less when a batch is fetched ahead"
    }
)
def collator_is_a_method_of_the_trainer(run):
    """A collator reaches the trainer, and so everything."""
    return train_and_resume(run, trainer_class=Collates)


@workflow()
def dataset_reaches_the_trainer(run):
    """A dataset, for a curriculum, knows the trainer."""

    def build(**options):
        dataset = Samples()
        dataset.trainer = make(run, dataset=dataset, **options)
        return dataset.trainer

    run.train(build())
    return run.resume(build(out="resumed"), run.out / "checkpoint-2")


@workflow()
def sampler_reaches_the_trainer(run):
    """A sampler knows the trainer that made it."""

    class Sampler(SequentialSampler):
        def __init__(self, data, trainer):
            super().__init__(data)
            self.trainer = trainer

    class Sampled(Trainer):
        def _get_train_sampler(self, dataset=None):
            return Sampler(dataset or self.train_dataset, self)

    return train_and_resume(run, trainer_class=Sampled)


@workflow()
def dataset_reaches_the_accelerator(run):
    """A dataset holds the accelerator, the model and the optimizer of the run."""

    def build(**options):
        dataset = Samples()
        trainer = make(run, dataset=dataset, **options)
        trainer.create_optimizer_and_scheduler(8)
        dataset.parts = [trainer.accelerator, trainer.model, trainer.optimizer, trainer.callback_handler]
        return trainer

    run.train(build())
    return run.resume(build(out="resumed"), run.out / "checkpoint-2")


@workflow()
def dictionary_filled_by_a_thread(run):
    """A thread fills a dictionary and a list of the dataset as long as the run lasts."""
    dataset = Samples()
    dataset.cache, dataset.seen = {}, []
    is_over = threading.Event()

    def fill():
        number = 0
        while not is_over.is_set():
            dataset.cache[number] = [number]
            dataset.cache.pop(number - 500, None)
            number += 1

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        return train_and_resume(run, dataset=dataset)
    finally:
        is_over.set()
        thread.join()


@workflow(time_ratio=4.0, timeout=20.0)
def tokens_in_lists(run):
    """1000 samples with two lists of 512 tokens each."""
    dataset = Samples()
    dataset.tokens = [{"input_ids": list(range(512)), "labels": list(range(512))} for _ in range(1000)]
    return train_and_resume(run, dataset=dataset)


@workflow(time_ratio=4.0, timeout=20.0)
def many_small_dictionaries(run):
    """A thousand lists of a thousand small dictionaries."""
    dataset = Samples()
    dataset.rows = [[{"row": number} for number in range(1000)] for _ in range(1000)]
    return run.train(make(run, dataset=dataset))


@workflow(time_ratio=4.0, timeout=20.0)
def long_linked_list(run):
    """A linked list of 200 000 nodes."""

    class Node:
        def __init__(self, following):
            self.following = following

    dataset, node, nodes = Samples(), None, []
    for _ in range(200_000):
        node = Node(node)
        nodes.append(node)  # so that it is not freed link by link
    dataset.first = node
    steps = run.train(make(run, dataset=dataset))
    dataset.first = None
    return [steps, len(nodes)]


@workflow(time_ratio=4.0, timeout=20.0)
def wide_graph_of_objects(run):
    """50 000 objects that know each other in many ways, as a parsed corpus does."""

    class Token:
        pass

    tokens = [Token() for _ in range(50_000)]
    for number, token in enumerate(tokens):
        token.head, token.following = tokens[number * 7 % len(tokens)], tokens[(number + 1) % len(tokens)]
    dataset = Samples()
    dataset.tokens = tokens
    return run.train(make(run, dataset=dataset))


@workflow()
def replaced_data_is_freed(run):
    """A dataset replaces what it holds between epochs; the old is freed at once."""

    class Block:
        def __init__(self):
            self.generator = torch.Generator()
            self.data = {"rows": [torch.zeros(9)]}

    dataset = Samples()
    dataset.block = Block()
    freed = []

    def replace(args, state, control, **rest):
        old = [
            weakref.ref(dataset.block),
            weakref.ref(dataset.block.generator),
            weakref.ref(dataset.block.data["rows"][0]),
        ]
        dataset.block = Block()
        gc.collect()
        freed.append([ref() is None for ref in old])

    run.train(make(run, dataset=dataset, callbacks=[At("on_step_end", replace)]))
    return freed


@workflow()
def trainer_is_freed(run):
    """When a run is over and nobody holds the trainer, it and its data are freed."""
    dataset = Samples()
    trainer = make(run, dataset=dataset)
    run.train(trainer)
    refs = [weakref.ref(trainer), weakref.ref(trainer.model), weakref.ref(dataset)]
    del trainer, dataset
    gc.collect()
    return [ref() is None for ref in refs]


# Once for a checkpoint, of which there are four, and a few times more to see what is there.
@workflow(at_most={"state_dict": 8, "load_state_dict": 0})
def collator_with_a_large_state(run):
    """A collator has a state of 8 MiB; it is not asked for it at every step."""

    class Collator:
        def __init__(self):
            self.table = torch.zeros(2**21)

        def __call__(self, samples):
            self.table[len(samples)] += 1
            return stack(samples)

        def state_dict(self):
            run.called("state_dict")
            return {"table": self.table}

        def load_state_dict(self, state):
            run.called("load_state_dict")
            self.table = state["table"]

    return run.train(make(run, collator=Collator(), num_train_epochs=3, save_steps=3))


# The length of the data is a part of what a resume has to have in common with the run.
@workflow(at_most={"len": 22})
def properties_are_not_read(run):
    """Properties, and what is cached by one, are read when the user's code reads them."""

    class Counts(Samples):
        @property
        def expensive(self):
            run.called("expensive")
            return [torch.Generator()]

        @property
        def generator(self):
            run.called("generator")
            return torch.Generator()

        def __getattr__(self, name):
            if not name.startswith("__"):
                run.called(f"getattr {name}")
            raise AttributeError(name)

        def __repr__(self):
            run.called("repr")
            return "counts"

        def __getitem__(self, index):
            run.called("getitem")
            return sample(index)

        def __len__(self):
            run.called("len")
            return self.size

    return run.train(make(run, dataset=Counts()))


@workflow()
def nothing_is_set_on_the_users_objects(run):
    """Datasets and collators have the attributes after a run that they had before it."""

    class Collator:
        def __call__(self, samples):
            return stack(samples)

        def __setattr__(self, name, value):
            raise AttributeError(name)

    collator, dataset = Collator(), Samples()
    run.train(make(run, dataset=dataset, collator=collator))
    return [sorted(vars(dataset)), sorted(vars(collator))]


@workflow()
def module_as_a_transform(run):
    """A module with dropout changes the samples in the dataset."""

    class Transformed(Samples):
        def __init__(self):
            super().__init__()
            self.transform = torch.nn.Dropout(0.5)

        def __getitem__(self, index):
            return {"x": self.transform(sample(index)["x"])}

    return train_and_resume(run, dataset=Transformed())
