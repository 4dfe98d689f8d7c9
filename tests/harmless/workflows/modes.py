"""The values of the argument, and what is made of arguments."""

import dataclasses
import json

from pieces import Model, Samples, checkpoints, make, stack
from registry import workflow
from transformers import HfArgumentParser, Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

OURS = "exact_resume"


@workflow()
def nothing_special(run):
    """A plain run; with "off", there is no call, no operation on files, and no message of ours."""
    return [run.train(make(run)), checkpoints(run.out)]


@workflow()
def nothing_is_saved(run):
    """A run that saves nothing."""
    return run.train(make(run, save_strategy="no"))


@workflow()
def off_as_yaml_says_it(run):
    """YAML reads `exact_resume: off` as `False`."""
    if run.mode == "off":
        run.arguments = {OURS: False}
    trainer = make(run)
    step = run.train(trainer)
    return [step, run.resume(make(run, out="resumed"), run.out / "checkpoint-4")]


@workflow(each=("json", "yaml", "command line", "dict"))
def parsed_arguments(run, way):
    """Arguments come from a file or from the command line."""
    given = {"output_dir": str(run.out), "max_steps": 2, "use_cpu": True, "report_to": ["none"], **run.arguments}
    parser = HfArgumentParser(TrainingArguments)
    if way == "command line":
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        words[words.index("['none']")] = "none"
        (args,) = parser.parse_args_into_dataclasses(words)
    elif way == "dict":
        (args,) = parser.parse_dict(given)
    else:
        path = run.folder / f"arguments.{way}"
        # Written by hand, as a user does it: not quoted.
        lines = [f"{name}: {json.dumps(value) if name != OURS else value}" for name, value in given.items()]
        path.write_text(json.dumps(given) if way == "json" else "\n".join(lines))
        (args,) = parser.parse_json_file(str(path)) if way == "json" else parser.parse_yaml_file(str(path))
        path.unlink()
    Trainer(Model(), args, stack, Samples()).train()
    return checkpoints(run.out)


@workflow()
def arguments_as_text(run):
    """What arguments look like as a dictionary, JSON and text is as on stock, but for the argument itself."""
    args = make(run).args
    as_dict = {name: value for name, value in args.to_dict().items() if name != OURS}
    as_json = {name: value for name, value in json.loads(args.to_json_string()).items() if name != OURS}
    lines = [line for line in repr(args).splitlines() if OURS not in line]
    return [as_dict == as_json, sorted(as_dict), lines, sorted(args.to_sanitized_dict().keys() - {OURS})]


@workflow()
def arguments_go_round(run):
    """Arguments made of the dictionary of others, replaced, and pickled in a checkpoint are the same."""
    args = make(run).args
    again = TrainingArguments(**{name: value for name, value in args.to_dict().items() if value is not None})
    replaced = dataclasses.replace(args, learning_rate=0.1)
    return [again.learning_rate, replaced.learning_rate, getattr(again, OURS, None) == getattr(args, OURS, None)]


@dataclasses.dataclass
class Arguments(TrainingArguments):
    """Adds a field, and does more when it is made."""

    temperature: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        self.learning_rate *= self.temperature


@workflow()
def subclass_of_arguments(run):
    """A dataclass adds fields to the arguments, and its `__post_init__` does more."""
    args = Arguments(str(run.out), temperature=0.5, max_steps=3, save_steps=1, use_cpu=True, **run.arguments)
    return run.train(Trainer(Model(), args, stack, Samples()))


@workflow()
def arguments_of_an_older_version(run):
    """Arguments that were unpickled from a checkpoint of a version without the argument."""
    trainer = make(run)
    if run.mode == "default":
        del vars(trainer.args)[OURS]
    return run.train(trainer)


@workflow()
def stands_in_for_arguments(run):
    """Arguments are changed between two trainings of a trainer."""
    trainer = make(run)
    run.train(trainer)
    trainer.args.num_train_epochs = 1
    trainer.args.save_steps = 1
    return run.train(trainer)


@workflow()
def sequence_to_sequence_trainer(run):
    """A subclass of the library with its own arguments."""
    args = Seq2SeqTrainingArguments(str(run.out), max_steps=4, save_steps=2, use_cpu=True, **run.arguments)
    run.train(Seq2SeqTrainer(Model(), args, stack, Samples()))
    return run.resume(Seq2SeqTrainer(Model(), args, stack, Samples()))
