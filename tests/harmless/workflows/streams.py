"""Iterable datasets, as users and streaming libraries write them."""

from pieces import LAST_STEP, Samples, Stream, make, sample
from registry import workflow
from stream_pieces import KINDS
from torch.utils.data import IterableDataset

LENGTH = {"max_steps": LAST_STEP, "num_train_epochs": 1}
SAY = {"Resuming from": "what such a stream tells cannot be given back, which may be named"}


def _train_and_resume(run, make_dataset, checkpoint="checkpoint-2", **options):
    """Train on a stream, then resume in the middle of an epoch with a new one."""
    steps = run.train(make(run, dataset=make_dataset(), **{**LENGTH, **options}))
    resumed = make(run, out="resumed", dataset=make_dataset(), **{**LENGTH, **options})
    return [steps, run.resume(resumed, run.out / checkpoint)]


@workflow(
    each=(
        "TakesArguments",
        "RaisesBeforeItBegins",
        "TellsItsEpoch",
        "TellsMoreLater",
        "CannotLoad",
        "RefusesToLoad",
        "RaisesAlways",
        "TellsObjects",
        "Changes",
        "Attribute",
        "Wrapper",
        "Endless",
        "ReturnsItself",
        "Sized",
    ),
    may_say=SAY,
)
def stream(run, kind):
    """A stream in the main process, resumed within its first pass."""
    return _train_and_resume(run, KINDS[kind])


@workflow(
    each=(
        "TakesArguments",
        "RaisesBeforeItBegins",
        "TellsItsEpoch",
        "TellsMoreLater",
        "RaisesAlways",
        "TellsObjects",
        "Wrapper",
    ),
    may_say=SAY,
)
def stream_in_later_pass(run, kind):
    """The same, resumed within its second pass."""
    return _train_and_resume(run, KINDS[kind], "checkpoint-6")


@workflow(
    each=("TakesArguments", "RaisesBeforeItBegins", "TellsItsEpoch", "RaisesAlways", "TellsObjects", "Wrapper"),
    may_say=SAY,
)
def stream_in_a_worker(run, kind):
    """The same in a worker process."""
    return _train_and_resume(run, KINDS[kind], dataloader_num_workers=1)


@workflow()
def stream_counts_its_samples(run):
    """In an uninterrupted run, no sample is read that stock does not read, and no iterator is made."""

    class Counts(Stream):
        def __iter__(self):
            run.called("iter")
            for item in super().__iter__():
                run.called("sample")
                yield item

    return run.train(make(run, dataset=Counts(), **LENGTH))


@workflow(each=("plain", "mapped", "filtered", "batched", "shuffled"), may_say=SAY)
def stream_of_datasets(run, kind):
    """A stream of the library `datasets` with several shards, resumed in the middle of a pass."""
    import datasets

    def make_dataset():
        whole = datasets.Dataset.from_dict({"x": [sample(index)["x"].tolist() for index in range(12)]})
        stream = whole.to_iterable_dataset(num_shards=3).with_format("torch")
        if kind == "mapped":
            return stream.map(lambda row: {"x": row["x"] * 2})
        if kind == "filtered":
            return stream.filter(lambda row: bool(row["x"][1] > 0))
        if kind == "batched":
            return stream.map(lambda rows: {"x": rows["x"]}, batched=True, batch_size=5)
        return stream.shuffle(seed=3, buffer_size=4) if kind == "shuffled" else stream

    return _train_and_resume(run, make_dataset)


@workflow()
def stream_reads_a_file(run):
    """A stream holds an open file, and goes on where it is."""

    path = run.folder / "rows.txt"
    path.write_text("\n".join(map(str, range(8))))

    class Reads(Stream):
        def __init__(self):
            self.file = open(path)

        def __iter__(self):
            self.file.seek(0)
            for line in self.file:
                yield sample(int(line))

    return _train_and_resume(run, Reads)


@workflow()
def stream_made_of_a_generator(run):
    """A Python generator is what a dataset iterates, once."""

    class Once(Stream):
        def __init__(self):
            self.generator = (sample(index) for index in range(2 * LAST_STEP))

        def __iter__(self):
            return self.generator

    return _train_and_resume(run, Once)


@workflow()
def streams_are_interleaved(run):
    """A stream draws from two others by turns, one of which is a map-style dataset."""

    class Interleaved(IterableDataset):
        def __init__(self):
            self.parts = [Stream(), Samples()]

        def __iter__(self):
            first, second = self.parts
            for index, item in enumerate(first):
                yield item
                yield second[index]

    return _train_and_resume(run, Interleaved)


@workflow()
def stream_is_too_short(run):
    """A stream has nothing in its second pass; the error is that of stock."""

    class Ends(Stream):
        def __init__(self):
            super().__init__()
            self.passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__() if self.passes == 1 else iter(())

    return run.train(make(run, dataset=Ends(), **LENGTH))


@workflow(may_say={"ignore_data_skip": "the resume is not exact, as the batches are used again"})
def data_skip_is_ignored(run):
    """`ignore_data_skip` begins the pass again."""
    return _train_and_resume(run, Stream, ignore_data_skip=True)
