"""The exceptions that decide the exit code; everything else that is raised is our own fault."""

EXIT_FINE = 0
EXIT_FINDING = 1
EXIT_USAGE = 2
EXIT_OWN_FAULT = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


class ExactResumeError(Exception):
    """Base of the exceptions whose text is meant for the user as it is."""

    exit_code = EXIT_OWN_FAULT


class UsageError(ExactResumeError):
    """The request cannot be carried out as given: wrong folder, unsupported release, edited tree, no git."""

    exit_code = EXIT_USAGE


class Finding(ExactResumeError):
    """The request was carried out and what it looked for was found to be wrong."""

    exit_code = EXIT_FINDING


class SeriesError(ExactResumeError):
    """The patch series itself is damaged, or does not produce what it records: our own fault."""
