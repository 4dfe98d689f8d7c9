"""Print the series of a release as one mailbox, for `git am`: `python -m exact_resume mbox RELEASE`."""

import argparse
import sys
from collections.abc import Collection
from dataclasses import replace

from exact_resume import combinations
from exact_resume.errors import EXIT_FINE
from exact_resume.series import for_release


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `mbox`, except --without."""
    command.add_argument("release", metavar="RELEASE", help="a release that the series serves")


def run(parsed: argparse.Namespace) -> int:
    """Print the mailbox; the errors are those of `mailbox`."""
    sys.stdout.buffer.write(mailbox(parsed.release, parsed.without))
    return EXIT_FINE


def mailbox(release: str, without: Collection[str] = ()) -> bytes:
    """Return the mails of a series, one after the other, with the blob ids that files have in the release.

    By these, `git am -3` finds in a repository what the patches were written against.

    Args:
        release: a release.
        without: the names of the companions to leave out.

    Raises:
        UsageError: no lane serves the release, or a name is not that of a companion.
    """
    series = combinations.without(for_release(release), without)
    patches = (replace(patch, diffs=tuple(diff.with_blobs for diff in patch.diffs)) for patch in series.patches)
    return b"".join(patch.text for patch in patches)
