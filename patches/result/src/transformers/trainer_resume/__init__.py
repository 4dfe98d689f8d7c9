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
"""
Bit-exact resume: what a [`Trainer`] records so that a run that is resumed from a checkpoint is the uninterrupted run.

A prepared dataloader fetches one batch ahead, so when update step `u` ends, its successor's first batch already
exists. It was fetched under an RNG state from *before* step `u` trained, which no state taken at the checkpoint can
reproduce:

    main process     F(c) draw+fetch c | train step u | S  <- checkpoint: c batches consumed, c + 1 drawn
                                                      | draw+fetch c + 1 | train step u + 1 (on batch c) | ...

A resume therefore replays the moments in their order, with nothing drawn in between:

    E     before the epoch's index iterator is made    -> an eager sampler draws the same permutation
    F(0)  before the first index batch is drawn        -> a lazy sampler draws the same permutation; then skip to c
    F(j)  before each batch j drawn but not consumed   -> the look-ahead batches come out as they did
    S     before the first draw the checkpoint had not made, from where on the run is the uninterrupted one

Nothing here draws a random number, and no sample of a map-style dataset is fetched twice, but for one batch where a
pipeline makes its generators for its first one. An iterable dataset is read again up to c: what its `state_dict` tells
may be less than its position. Generators and other state that the data pipeline owns belong to each of these states,
and so do the generators of the model, the trainer, its loss function and its callbacks. To S alone belong the buffers
that have changed, as far as the file with the weights does not have them.

A callback may take a checkpoint in any event. What follows is done by the resume: the event anew if a resume can begin
with it, or what is left of the end of the step. Where neither is possible, the checkpoint names it. Values that a run
logs after its last checkpoint are logged again by the one that resumes from it, as that run cannot know of them.

Worker processes have states of their own. Each saves them in shared memory after every batch, in `Worker.report`, and
starts from those that followed its last consumed batch, in `Worker.begin`.

What a subclass or a callback keeps over update steps and registers by `accelerator.register_for_checkpointing` is in
checkpoints, and is given back when one is loaded.

With more than two processes, `DistributedDataParallel` sums up gradients in an order that its first backward pass
decides. A resume lets it decide so again: [`GradientBuckets`].

With another number of processes or another batch size, nothing can be exact. Where the order of the samples depends on
a seed alone, a resume goes on after the same samples: [`rescaling`].

No search finds all that ordinary code keeps. So a checkpoint has digests of the batches that were fetched ahead, and
later gets digests of what the first, second, fourth, ... update step after it comes to. A resume compares what it
fetches, before it trains on that, and what its steps come to, and names what differs: [`BatchCheck`], [`StepCheck`].

A batch index through a training step:

    1. `session.begin_step`: an update step begins
    2. `recorder.before_pull`: the state of this moment is S of the step
    3. `loader_hooks._draw`: the dataloader asks for the indices of a batch ahead
    4. `recorder.before_draw`: the same state is F of that batch
    5. `recorder.after_draw`: the indices are kept until the batch is trained on
    6. `events.call`: the step ends, and with it what was kept for it

An RNG state into a checkpoint:

    1. `session.save`: the trainer has put together the states of this moment
    2. `saving.add_record`: S takes their place, and a record is added
    3. `position.position`: where a resume begins
    4. `recorder.to_record`: E, F, and what was drawn
    5. `worker_reports.read`: what the workers start from
    6. `record.to_dict`: all of it in the format of the file
    7. `files.add_checksum`: the content of the RNG file

A checkpoint into a resumed run:

    1. `session.load`: after the callbacks of `on_train_begin`, and before an evaluation on start
    2. `files.load_rng_file`: its content, if it is not damaged
    3. `record.from_dict`: the record, whatever its version
    4. `resuming._begin`: the position at which to begin
    5. `resuming._load_recorder`: the recorder has what it had at the checkpoint
    6. `session.skip`: a dataloader for the rest of the epoch
    7. `replayer.begin_epoch`: its workers start from those of the checkpoint
    8. `replayer.before_iter`: restores E
    9. `replayer.before_draw`: restores F, batch by batch
    10. `replayer.restore_step_state`: restores S
    11. `session.end_replay`: from here on, the recorder goes on
"""

from .generators import set_device_rng_state
from .session import ExactResume


__all__ = ["ExactResume", "set_device_rng_state"]
