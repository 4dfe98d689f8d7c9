"""Data pipelines that hold objects that do not want to be looked at."""

from hostile_pieces import KINDS
from pieces import Samples, stack, train_and_resume
from registry import workflow

SAY = {
    "Resuming from": "what cannot be asked for its state may be named",
    "Whether resuming from": "the search for generators ends somewhere, and says where",
}


@workflow(
    each=(
        "slots, getattr raises",
        "slots, getattr makes up",
        "answers everything",
        "mock",
        "getattribute raises",
        "lies about its class",
        "own __dict__",
        "key without repr",
        "ambiguous",
        "lazy items",
        "items raise",
        "endless list",
        "module without init",
        "children without end",
        "raising descriptor",
        "raising states",
        "states with arguments",
        "cycle",
        "deep list",
        "weak references",
        "lock",
        "local",
        "queue",
        "pool",
        "database",
        "file",
        "generator",
        "coroutine",
        "cached",
        "partials",
        "context variable",
        "logger",
        "memory",
        "c struct",
        "object array",
        "class",
        "metaclass",
        "module",
        "model",
        "optimizer",
        "loader",
        "meta tensor",
        "large number",
    ),
    may_say=SAY,
    timeout=10.0,
)
def dataset_holds(run, kind):
    """A dataset holds an object that does not want to be looked at, in an attribute and in a list."""
    value = KINDS[kind]()
    dataset = Samples()
    dataset.held = value
    dataset.others = [value]
    return train_and_resume(run, dataset=dataset)


@workflow(
    each=("slots, getattr makes up", "mock", "lazy items", "module without init", "getattribute raises"), timeout=10.0
)
def collator_holds(run, kind):
    """The same in the default arguments and the closure of a collator."""
    value = KINDS[kind]()

    def collate(samples, held=value):
        assert held is value
        return stack(samples)

    return train_and_resume(run, collator=collate)
