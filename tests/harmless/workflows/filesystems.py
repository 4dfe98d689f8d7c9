"""File systems that cannot do all that a local one can, and runs that share a folder."""

import errno
import os
import shutil
import stat

from pieces import At, checkpoints, make
from registry import workflow
from transformers import Trainer

NUMBERS = {"ENOTSUP": errno.ENOTSUP, "ENOSYS": errno.ENOSYS, "EINVAL": errno.EINVAL}


def _fail(number, *names):
    """Put functions into `os` in the place of those of these names that fail."""

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    for name in names:
        setattr(os, name, fail)


@workflow(each=("ENOTSUP", "ENOSYS", "EINVAL"))
def no_fsync(run, number):
    """The file system does not have `fsync`; a step is written anew, and a resume follows."""
    _fail(NUMBERS[number], "fsync", "fdatasync")
    run.train(make(run))
    run.train(make(run))
    return run.resume(make(run, num_train_epochs=3))


@workflow(each=("ENOSYS", "EXDEV", "EPERM"))
def no_rename(run, number):
    """Nothing can be renamed; a step is written anew, and a resume follows."""
    _fail(getattr(errno, number), "rename", "replace", "renames")
    run.train(make(run))
    run.train(make(run))
    return run.resume(make(run, num_train_epochs=3))


@workflow(each=("ENOSYS", "EXDEV"))
def no_rename_of_folders(run, number):
    """Files can be renamed, and folders cannot, as on some object stores; every step is written twice."""
    rename = os.rename

    def fail(source, target, **options):
        if os.path.isdir(source):
            raise OSError(getattr(errno, number), "no rename", source)
        rename(source, target, **options)

    os.rename = os.replace = fail
    run.train(make(run, save_total_limit=2))
    return run.train(make(run, save_total_limit=2))


@workflow(each=("EBADF", "EACCES", "EINVAL"))
def no_fsync_of_folders(run, number):
    """Files can be brought to disk, and folders cannot, as on some network file systems."""

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    os.fsync = fsync
    run.train(make(run))
    return run.train(make(run))


@workflow()
def nothing_can_be_linked(run):
    """There are no links, no times that can be set, and no permissions that can be changed."""
    _fail(errno.ENOTSUP, "link", "symlink", "utime", "chmod", "chown", "setxattr")
    run.train(make(run, save_total_limit=1))
    return run.resume(make(run, num_train_epochs=3, save_total_limit=1))


def _protect(run, *folders):
    """From now on, nothing in these folders can be removed or renamed, and no file opened to be written."""
    protected = tuple(str(folder) for folder in folders)

    def guard(name):
        function = getattr(os, name)

        def guarded(path, *arguments, **options):
            where = os.fsdecode(path)
            if options.get("dir_fd") is not None:
                where = os.path.join(os.readlink(f"/proc/self/fd/{options['dir_fd']}"), where)
            if f"{os.path.abspath(where)}/".startswith(tuple(f"{folder}/" for folder in protected)):
                raise PermissionError(errno.EACCES, "read-only", where)
            return function(path, *arguments, **options)

        setattr(os, name, guarded)

    for name in ("unlink", "remove", "rmdir", "rename", "replace"):
        guard(name)


@workflow()
def rotation_meets_what_cannot_be_removed(run):
    """A checkpoint is read-only; the limit would have it removed at every save."""
    _protect(run, run.out / "checkpoint-2")
    run.train(make(run, save_total_limit=1))
    return checkpoints(run.out)


@workflow()
def second_run_meets_what_cannot_be_removed(run):
    """Files of a first run can be written over and not removed or renamed; a second run writes them anew."""
    run.train(make(run))
    _protect(run, *(run.out / name for name in checkpoints(run.out)))
    return [run.train(make(run)), checkpoints(run.out)]


@workflow()
def end_meets_what_cannot_be_removed(run):
    """At the end of a run with a limit of one, all but the best are removed; one cannot be."""

    class Scored(Trainer):
        def evaluate(self, *arguments, **rest):
            metrics = {"eval_loss": abs(self.state.global_step - 4.0)}
            self.log(metrics)
            return metrics

    def protect(args, state, control, **rest):
        _protect(run, run.out / "checkpoint-8")

    options = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "save_total_limit": 1}
    callbacks = [At("on_save", protect, step=8)]
    run.train(make(run, trainer_class=Scored, eval_dataset=[], callbacks=callbacks, **options))
    return checkpoints(run.out)


@workflow()
def linked_checkpoint_written_thrice(run):
    """A checkpoint is a symbolic link to a folder elsewhere; three runs write it."""
    (run.folder / "elsewhere").mkdir()
    run.out.mkdir()
    (run.out / "checkpoint-4").symlink_to(run.folder / "elsewhere")
    for _ in range(3):
        run.train(make(run))
    return checkpoints(run.out)


@workflow()
def linked_checkpoint_and_a_limit(run):
    """Old checkpoints are moved to another disk and linked; the limit is one."""

    def move(args, state, control, **rest):
        for name in checkpoints(run.out):
            if name != f"checkpoint-{state.global_step}" and not (run.out / name).is_symlink():
                shutil.move(run.out / name, run.folder / "disk" / name)
                (run.out / name).symlink_to(run.folder / "disk" / name)

    run.train(make(run, save_total_limit=3, callbacks=[At("on_save", move)]))
    return run.resume(make(run, num_train_epochs=3, save_total_limit=1))


@workflow()
def broken_link_among_checkpoints(run):
    """A link of a checkpoint's name leads nowhere; another leads to a checkpoint, as `checkpoint-best` does."""
    run.train(make(run))
    (run.out / "checkpoint-99").symlink_to(run.folder / "gone")
    (run.out / "checkpoint-best").symlink_to("checkpoint-4")
    return run.resume(make(run, num_train_epochs=3, save_total_limit=4))


@workflow()
def linked_output_folder(run):
    """The output folder is a symbolic link."""
    (run.folder / "disk").mkdir()
    run.out.symlink_to("disk")
    run.train(make(run, save_total_limit=1))
    return run.resume(make(run, num_train_epochs=3, save_total_limit=1))


@workflow(each=("on_step_end", "on_save", "on_log", "on_epoch_begin"))
def two_runs_in_one_folder(run, event):
    """A whole run is made in the same output folder in an event of another run."""
    other = []

    def train_other(args, state, control, **rest):
        if not other:
            other.append(make(run))
            other[0].train()

    return run.train(make(run, callbacks=[At(event, train_other, step=4)]))


@workflow(each=("_save_optimizer_and_scheduler", "_save_rng_state", "_save_scaler"))
def two_runs_save_the_same_step(run, method):
    """While a run writes a checkpoint, another run writes all of its checkpoints in the same folder."""
    other = []

    def save(self, output_dir):
        if not other:
            other.append(make(run))
            other[0].train()
        getattr(Trainer, method)(self, output_dir)

    interrupted = type("Interrupted", (Trainer,), {method: save})
    return run.train(make(run, trainer_class=interrupted))


@workflow()
def two_runs_share_a_limit(run):
    """Two runs save in one folder by turns, with a limit of two."""
    second = make(run, save_total_limit=2, save_strategy="no")
    run.train(second)

    def save_other(args, state, control, **rest):
        second.state.global_step = state.global_step + 1
        second._save_checkpoint(second.model, trial=None)

    run.train(make(run, save_total_limit=2, callbacks=[At("on_save", save_other)]))
    return checkpoints(run.out)


@workflow()
def no_room_for_the_optimizer(run):
    """The disk is full while the optimizer is saved; the error is that of stock, and a later save does it."""

    class Full(Trainer):
        def _save_optimizer_and_scheduler(self, output_dir):
            if output_dir.endswith("checkpoint-4"):
                raise OSError(errno.ENOSPC, "no space left")
            super()._save_optimizer_and_scheduler(output_dir)

    try:
        run.train(make(run, trainer_class=Full))
    except OSError as error:
        said = str(error)
    return [said, run.resume(make(run), run.out / "checkpoint-2")]
