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
"""How a user is told that a resume cannot be bit-exact, and that bookkeeping has failed."""

import functools
from collections.abc import Callable

from ..utils import logging


logger = logging.get_logger(__name__)


class ExactResumeError(ValueError):
    """Raised with `exact_resume="strict"` where a run cannot be resumed bit for bit."""


def report_inexact(mode: str, message: str) -> None:
    """Warn once; raise an [`ExactResumeError`] instead if `mode`, the value of `exact_resume`, is `"strict"`."""
    if mode == "strict":
        raise ExactResumeError(f'{message} (`exact_resume="strict"`)')
    logger.warning_once(message)


def guarded(method: Callable) -> Callable:
    """Bookkeeping that fails costs the record of it, and not the training."""

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except ExactResumeError:
            raise
        except Exception as error:  # whatever users' objects lead to
            self.give_up(f"`{method.__name__}` failed ({type(error).__name__}: {error})")

    return call
