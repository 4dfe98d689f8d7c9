# Copyright 2026 The HuggingFace Team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""A checkpoint into a resumed run: whether it can be exact, where it begins, and what is left to restore."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..trainer_checkpoint_files import INCOMPLETE_NAME, find_changes
from ..trainer_checkpoints import complete_part
from ..utils import is_accelerate_available, logging
from . import obstacles, registered, rescaling, stopping
from .errors import report_inexact
from .files import after_on_save, load_next_steps, load_rng_file, rng_file_name
from .generators import unpack_host_state
from .position import Position
from .record import Moments, Record
from .replayer import Replayer


if is_accelerate_available():
    from accelerate import skip_first_batches

logger = logging.get_logger(__name__)


def skip_hook() -> Callable:
    """The function `skip_first_batches` of the trainer's module, or what others have put in its place."""
    # Not at the top, as that module imports this one
    from ..trainer import skip_first_batches

    return skip_first_batches


def begin(session, trainer, checkpoint: str, epoch: int, num_batches: int) -> tuple[int, int]:
    """As [`ExactResume.load`]."""
    session.initial_loss_step = getattr(trainer, "_initial_global_step", 0)
    epoch, num_batches = _load(session, trainer, checkpoint, epoch, num_batches)
    session.awaits_load, session.progress.epoch = False, epoch - 1
    session.checkpoint_to_begin = checkpoint if num_batches == 0 else None
    if session.replayer is None:
        session.repeat_logs()
    if session.has_evaluated is False and trainer.args.eval_on_start:
        session.checkpoint_to_begin = None
        trainer._load_rng_state(checkpoint)  # for the evaluation, which comes next
    return epoch, num_batches


def _load(session, trainer, checkpoint: str, epoch: int, num_batches: int) -> tuple[int, int]:
    """Where to begin, with all that is restored there prepared."""
    mode, path = session.args.exact_resume, os.path.join(checkpoint, rng_file_name(session.args))
    rng_states = load_rng_file(path, mode) if os.path.isfile(path) else {}
    if rng_states is None:
        return epoch, num_batches
    session.rng_file = (path, rng_states) if rng_states else None
    changes, doubt, begin = [], None, (epoch, num_batches)
    try:
        stored = Record.from_dict(rng_states["exact_resume"]) if "exact_resume" in rng_states else None
        obstacle = session.obstacle
        if session.shape is not None:
            place = session.args.process_index, trainer.state.global_step
            obstacle = obstacles.of_file(path, stored, session.shape, *place)
        if obstacle is not None:
            begin, obstacle = rescaling.begin(session, trainer, checkpoint, stored, begin, obstacle)
        else:
            rescaling.restore(session, trainer, stored)
            # No reason to do without the states that are right
            changes, doubt = find_changes(checkpoint, stored.save)
            changes += _find_changes(path, stored)
            session.resumed_from, session.known_faults = path, stored.faults
            session.gradient_buckets.expect(stored.gradient_buckets)
            stopping.restore_patience(trainer)
            changes.extend(filter(None, [stopping.find_difference(trainer, stored.stop)]))
            session.states.owned.refresh()
            changes += session.states.owned.find_unknown(rng_states.get("owned", {}))
            changes += registered.load_state_dicts(trainer, rng_states.get("registered", []))
            has_ended = _has_ended(trainer, stored)
            position = _position(stored.position, has_ended)
            begin = _begin(session, trainer, checkpoint, position, begin, has_ended)
            _continue_sums(session, trainer, stored)
            doubt = doubt or session.states.unsearched or stopping.find_doubt(stored.stop)
            obstacle = (
                _find_mark(checkpoint)
                or _find_replaced_hook()
                or session.obstacle
                or (f"when {path} was written, {stored.obstacle}" if stored.obstacle is not None else None)
                or obstacles.of_position(path, position, begin[1])
            )
            if begin[1] == position.num_batches_consumed:
                _prepare(session, trainer, checkpoint, position, stored, rng_states, is_exact=obstacle is None)
                if obstacle is None and not changes:  # else that it is not exact is known
                    _expect(session, trainer, stored, rng_states.get("pipeline", {}))
    except Exception as error:  # whatever a damaged file leads to
        obstacle = f"{path} cannot be used ({type(error).__name__}: {error})"
    trainer.control.should_save = False  # which a callback may have restored, from within the save
    if obstacle is not None or changes:
        report_inexact(mode, f"Resuming from {checkpoint} is not bit-exact: {obstacle or '; '.join(changes)}.")
    elif doubt is not None:
        logger.warning_once(f"Whether resuming from {checkpoint} is bit-exact cannot be told: {doubt}.")
    return begin


def _find_changes(path: str, stored: Record) -> list[str]:
    """What keeps a resume from being exact, though all states that are there can be restored."""
    changes = list(stored.faults)
    if stored.is_drawn_after and not os.path.isfile(after_on_save(path)):
        changes.append(f"{after_on_save(path)}, with what the callbacks of `on_save` drew, is missing")
    return changes


def _find_mark(checkpoint: str) -> str | None:
    if complete_part(checkpoint) is None:
        return f"{checkpoint} is marked as one that is still being written ({INCOMPLETE_NAME})"
    return None


def _find_replaced_hook() -> str | None:
    if skip_hook() is not skip_first_batches:
        return "`transformers.trainer.skip_first_batches` was replaced, and skips in its own way"
    return None


def _has_ended(trainer, stored: Record) -> bool:
    return trainer.state.global_step >= trainer.state.max_steps or stopping.is_stopped(trainer, stored.stop)


def _position(stored: Position, has_ended: bool) -> Position:
    """The stored position, at which nothing is left to train on after the last step."""
    return replace(stored, is_done=stored.is_done or (has_ended and stored.has_begun))


def _begin(
    session, trainer, checkpoint: str, position: Position, derived: tuple[int, int], has_ended: bool
) -> tuple[int, int]:
    """Where to begin: at the stored position, unless the user wants the consumed batches again."""
    session.has_evaluated = position.event != "on_train_begin"
    if trainer.args.ignore_data_skip and position.num_batches_consumed > 0 and not position.is_done:
        return derived
    if has_ended:
        trainer.control.should_training_stop = True
        if not position.has_begun:
            trainer._load_rng_state(checkpoint)
            return sys.maxsize, 0  # no epoch is left
    return position.epoch, position.num_batches_consumed


def _continue_sums(session, trainer, stored: Record) -> None:
    stored.sums.give_back(trainer)
    session.initial_loss_step = stored.sums.initial_loss_step
    session.last_step = tuple(stored.last_step)
    session.eval_dataloaders = [*session.eval_dataloaders, *stored.eval_dataloaders]
    session.has_drawn_on_save = stored.has_drawn_on_save


def _prepare(
    session, trainer, checkpoint: str, position: Position, stored: Record, rng_states: dict[str, Any], is_exact: bool
) -> None:
    """Bring the recorder into the state that it had, and make a replayer for what is left to restore."""
    recorder = session.recorder if is_exact else None
    _repeat_logs(session, trainer, stored)
    restore = partial(trainer._load_rng_state, checkpoint)
    if is_exact:
        session.is_unreported = True
        _load_recorder(recorder, stored)
        if not position.is_within_epoch or position.is_at_step_end:
            session.states.set_objects(rng_states)
            session.buffers.load_state_dict(rng_states.get("buffers", {}))
        if position.is_within_epoch:
            moments = recorder.moments
            # The first step of an epoch begins before its iterator is made, which draws: there, F(0) is what follows.
            if moments.num_drawn == 0 and 0 in moments.fetch_states:
                restore = partial(session.states.set, moments.fetch_states[0])
            else:
                restore = partial(_restore_all, restore, session.states.set_objects, rng_states)
            restore = partial(_restore_all, restore, session.buffers.load_state_dict, rng_states.get("buffers", {}))
    else:
        session.buffers.load_state_dict(rng_states.get("buffers", {}))
    if position.num_batches_consumed == 0 and not (is_exact and position.is_within_epoch):
        return  # an epoch begins
    if is_exact or position.is_done or position.is_at_step_end:
        session.replayer = Replayer(session.args, position, recorder, session.states, restore, session.end_replay)
        session.driver = session.replayer if is_exact and position.is_within_epoch else session.recorder


def _restore_all(restore: Callable[[], None], load: Callable[[dict], None], state: dict[str, Any]) -> None:
    restore()
    load(state)


def _repeat_logs(session, trainer, stored: Record) -> None:
    """What was logged after the position at which the resume begins is logged again, but not told again."""
    session.pending, history = stored.pending, trainer.state.log_history
    if stored.num_logs is not None and len(history) > stored.num_logs:
        session.num_logs_to_repeat = len(history) - stored.num_logs
        del history[stored.num_logs :]


def _load_recorder(recorder, stored: Record) -> None:
    # Where nothing is left to do within the epoch, a checkpoint may still be taken there
    was_within_epoch = stored.position.is_within_epoch
    first = stored.position.num_batches_consumed * recorder.traits.num_draws
    recorder.moments = Moments.from_dict(stored.moments, first, was_within_epoch)
    if stored.workers is not None and (was_within_epoch or recorder.traits.has_persistent_workers):
        recorder.worker_start = stored.workers
        for state in stored.workers["states"]:
            unpack_host_state(state)  # better here than in a worker
    recorder.worker_start_if_stopped = stored.workers_if_stopped


def _expect(session, trainer, stored: Record, pipeline: dict[str, Any]) -> None:
    expected = {(stored.position.epoch, index): digest for index, digest in stored.batch_digests.items()}
    following = load_next_steps(session.resumed_from)
    if following is not None and following["save"] == stored.save:  # else it is from before the step was written anew
        if following["max_steps"] == trainer.state.max_steps:  # else the run was made longer or shorter
            session.step_check.expect(following["results"])
        expected.update(following["batches"])
    session.batch_check.expected, session.batch_check.known_states = expected, list(pipeline)


def report_difference(session) -> None:
    """Name a batch that is not what it was before the checkpoint."""
    if (difference := session.batch_check.find_difference()) is None:
        return
    session.end_checks()
    index, sentence = difference
    paths = session.states.pipeline.paths
    found = f"States were found in {_enumerate(paths)}" if paths else "No generator and no `state_dict` was found"
    if new := [path for path in paths if path not in session.batch_check.known_states]:
        found += f", and none were in {_enumerate(new)} at the checkpoint"
    report_inexact(
        session.args.exact_resume,
        f"The resume is not bit-exact: batch {index // session.recorder.traits.num_draws} of epoch"
        f" {session.progress.epoch} is not what it was when {session.resumed_from} was written. Of it, {sentence}."
        f" {found}. What else a dataset, a transform, a collate function or a sampler keeps needs a `state_dict` and a"
        " `load_state_dict`; a field that is never the same twice can be named in `unchecked_fields`, an attribute of"
        " the dataset or of the collate function.",
    )


def _enumerate(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(f"`{path}`" for path in paths[:3]) + more


def finish_step(session, trainer, log_save_evaluate: Callable[[], None]) -> None:
    """As [`ExactResume.finish_step`]."""
    replayer, position = session.replayer, session.replayer.position
    # The iterator of the epoch is not made yet, and a checkpoint may be taken before
    session.progress.begin_epoch(position.epoch, position.num_batches_consumed)
    replayer.restore()
    session.repeat_logs()
    if position.event == "on_step_end":
        session.event("on_step_end", trainer)
    else:
        trainer.control.should_log = False
        trainer.control.should_evaluate = session.pending["should_evaluate"]
        trainer.control.should_save = session.pending["should_save"]
    log_save_evaluate()
    replayer.restore = partial(session.states.set, session.states.get())
    is_stopped = trainer.control.should_epoch_stop or trainer.control.should_training_stop
    replayer.is_epoch_done |= is_stopped
    recorder = replayer.recorder
    if recorder is None:
        if not replayer.is_epoch_done:
            session.replayer = None  # the rest is as without a record
        return
    is_persistent = recorder.traits.has_persistent_workers
    if is_stopped and recorder.traits.is_iterable and is_persistent:
        report_inexact(
            session.args.exact_resume,
            f"The resume is not bit-exact: {session.resumed_from} was written before the epoch was stopped, and how"
            " far persistent workers had read an iterable dataset is not known.",
        )
    if replayer.is_epoch_done and (recorder.worker_start_if_stopped or not is_persistent):
        recorder.worker_start = recorder.worker_start_if_stopped


def report_missing(session) -> None:
    """Name the states that could not be restored."""
    session.is_unreported, found = False, [*session.states.find_faults(), *session.buffers.faults]
    faults = [fault for fault in found if fault not in session.known_faults]
    for states in (session.states.pipeline, session.states.owned):
        states.missing, states.faults = {}, {}
    if faults:
        cause = f"according to {session.resumed_from}, {'; '.join(faults)}"
        report_inexact(session.args.exact_resume, f"The resume is not bit-exact: {cause}.")
