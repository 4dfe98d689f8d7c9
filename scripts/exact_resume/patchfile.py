"""Read patch files: a mail as `git format-patch --full-index --no-signature` writes it, with its diffs."""

import email
import email.policy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from exact_resume.errors import SeriesError
from exact_resume.git import ABSENT

GROUP, NAME = "Group", "Name"
CORE, COMPANION = "core", "companion"
"""The groups. A companion can be left out, and needs no other companion."""
FIELDS = ("Bug", "Origin", "Forwarded", "Applies-To", GROUP)
"""What a message has to have; the field Name is there only where the title is no good name."""
FIELD_LINE = re.compile(rf"^({'|'.join((*FIELDS, NAME))}):[ \t]*(.*)$")
NAME_LENGTH = 60
TRAILER_LINE = re.compile(r"^(Signed-off-by|Co-authored-by|Reviewed-by|Acked-by|Cc):")
SUBJECT_TAG = re.compile(r"^\[PATCH[^\]]*\]\s*")
INDEX_LINE = re.compile(rb"^index ([0-9a-f]{40})\.\.([0-9a-f]{40})(?: (\d{6}))?$")
HUNK_LINE = re.compile(rb"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
MODES = {b"100644": 0o100644, b"100755": 0o100755}
DIFF_START = b"diff --git "


@dataclass(frozen=True)
class FileDiff:
    """What one patch does to one file.

    Attributes:
        path: the file's path in a source checkout.
        old_blob, new_blob: git blob ids before and after; `git.ABSENT` where there is no file.
        mode: the file mode of a file that is created or deleted, None for one that stays.
        header: the raw lines before the first hunk.
        hunks: the raw hunks, in order.
    """

    path: str
    old_blob: str
    new_blob: str
    mode: int | None
    header: bytes
    hunks: tuple[bytes, ...]

    @property
    def is_new(self) -> bool:
        """Whether the patch creates the file."""
        return self.old_blob == ABSENT

    @property
    def with_blobs(self) -> "FileDiff":
        """The diff with the blob ids that it has here in its raw index line, too."""
        match = next(filter(None, map(INDEX_LINE.match, self.header.split(b"\n"))))
        ids = f"index {self.old_blob}..{self.new_blob}".encode()
        return replace(self, header=self.header.replace(match[0], ids + match[0][len(ids) :]))

    @property
    def text(self) -> bytes:
        """The raw diff of this file."""
        return self.header + b"".join(self.hunks)

    def only_hunk(self, number: int) -> "FileDiff":
        """Return the diff reduced to one hunk, counted from 1."""
        return FileDiff(self.path, self.old_blob, self.new_blob, self.mode, self.header, (self.hunks[number - 1],))

    def body_lines(self, sign: bytes) -> list[bytes]:
        """Return the lines, without the sign, that are added (b"+") or removed (b"-")."""
        return [line[1:] for hunk in self.hunks for line in hunk.split(b"\n")[1:] if line.startswith(sign)]


@dataclass(frozen=True)
class Patch:
    """One patch: its name in the series, what its header says, and its file diffs.

    Attributes:
        mail: the raw bytes before the diffs, which are the mail header and the message with its fields.
    """

    name: str
    author: str
    title: str
    message: str
    fields: dict[str, str]
    mail: bytes
    diffs: tuple[FileDiff, ...]

    @property
    def is_companion(self) -> bool:
        """Whether it can be left out."""
        return self.fields.get(GROUP) == COMPANION

    @property
    def text(self) -> bytes:
        """The whole mail."""
        return compose(self.mail, self.diffs)


def compose(mail: bytes, diffs: Iterable[FileDiff]) -> bytes:
    """Return the bytes of a mail: what is before the diffs, and the diffs in the order of git."""
    text = b"".join(diff.text for diff in sorted(diffs, key=lambda diff: diff.path.encode()))
    # Without diffs, as git writes the mail of an empty commit: the empty line before the diffs is not there.
    return mail + text if text else mail.rstrip(b"\n") + b"\n"


def name_of(title: str, fields: Mapping[str, str]) -> str:
    """Return the name of a patch: what its field Name says, else one that is made from its title."""
    words = re.sub(r"[^a-z0-9]+", "-", (fields.get(NAME) or title).lower()).strip("-")
    return words if len(words) <= NAME_LENGTH else words[: NAME_LENGTH + 1].rpartition("-")[0]


def parse(where: str, raw: bytes) -> Patch:
    """Read the bytes of a mail, with any number of diffs in it; `where` is what an error calls it.

    Raises:
        SeriesError: the text is not a patch of the expected form; says where.
    """
    header, separator, body = raw.partition(b"\n\n")
    if not separator:
        raise SeriesError(f"{where}: no mail header followed by an empty line")
    # Only the header goes through the mail parser: the diff's bytes have to stay as they are.
    mail = email.message_from_bytes(header + b"\n\n", policy=email.policy.default)
    if not mail["Subject"]:
        raise SeriesError(f"{where}: no Subject in the mail header")
    start = 0 if body.startswith(DIFF_START) else body.find(b"\n" + DIFF_START) + 1 or len(body)
    introduction = body[:start].decode("utf-8", errors="replace")
    message, fields = _message_and_fields(re.split(r"(?:\A|\n)---\n", introduction)[0])
    title = SUBJECT_TAG.sub("", " ".join(str(mail["Subject"]).split()))
    return Patch(
        name=name_of(title, fields),
        author=str(mail["From"] or ""),
        title=title,
        message=message,
        fields=fields,
        mail=raw[: len(raw) - len(body) + start],
        diffs=parse_diffs(where, body[start:]),
    )


def _message_and_fields(text: str) -> tuple[str, dict[str, str]]:
    """Split a commit message into prose and fields; a field goes on in lines that begin with a blank."""
    prose: list[str] = []
    fields: dict[str, str] = {}
    current = None
    for line in text.splitlines():
        match = FIELD_LINE.match(line)
        if match:
            current = match.group(1)
            value = match.group(2).strip()
            fields[current] = f"{fields[current]}\n{value}" if current in fields else value
        elif current and line[:1] in (" ", "\t") and line.strip():
            fields[current] = f"{fields[current]} {line.strip()}".strip()
        else:
            current = None
            if not TRAILER_LINE.match(line):
                prose.append(line)
    return "\n".join(prose).strip(), fields


def parse_diffs(name: str, body: bytes) -> tuple[FileDiff, ...]:
    """Read diffs that follow one another without a mail around them.

    Raises:
        SeriesError: the text is something else; says where.
    """
    lines = body.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    diffs = []
    position = 0
    while position < len(lines):
        # format-patch leaves one empty line at the end when it writes no signature.
        if lines[position] == b"" and not any(lines[position:]):
            break
        if not lines[position].startswith(DIFF_START):
            raise SeriesError(f"{name}: not part of a diff: {_shown(lines[position])}")
        diff, position = _parse_one_diff(name, lines, position)
        if any(earlier.path == diff.path for earlier in diffs):
            raise SeriesError(f"{name}: two diffs for {diff.path}")
        diffs.append(diff)
    return tuple(diffs)


def _parse_one_diff(name: str, lines: list[bytes], position: int) -> tuple[FileDiff, int]:
    path = _path(name, lines[position])
    header = [lines[position]]
    position += 1
    blobs = mode = None
    while position < len(lines) and not lines[position].startswith((b"@@ ", DIFF_START)) and lines[position]:
        line = lines[position]
        if line.startswith(b"index "):
            match = INDEX_LINE.match(line)
            if match is None:
                raise SeriesError(f"{name}: {path}: {_shown(line)} has no full blob ids; write it with --full-index")
            blobs = match.group(1).decode(), match.group(2).decode()
        elif line.startswith((b"new file mode ", b"deleted file mode ")):
            mode = MODES.get(line.rpartition(b" ")[2])
            if mode is None:
                raise SeriesError(f"{name}: {path}: {_shown(line)}: not a regular file")
        elif not line.startswith((b"--- ", b"+++ ")):
            raise SeriesError(f"{name}: {path}: {_shown(line)}: only plain text changes are supported")
        header.append(line)
        position += 1
    if blobs is None:
        raise SeriesError(f"{name}: {path}: no index line; write it with --full-index")
    hunks = []
    while position < len(lines) and lines[position].startswith(b"@@ "):
        end = _hunk_end(name, path, lines, position)
        hunks.append(_joined(lines[position:end]))
        position = end
    return FileDiff(path, *blobs, mode, _joined(header), tuple(hunks)), position


def _path(name: str, line: bytes) -> str:
    """Return the path in a `diff --git a/PATH b/PATH` line, which names the same path twice."""
    both = line.removeprefix(DIFF_START).decode("utf-8", errors="replace")
    half = len(both) // 2
    old, new = both[:half], both[half + 1 :]
    path = new.removeprefix("b/")
    if old != "a/" + path or new != "b/" + path or '"' in path:
        raise SeriesError(f"{name}: {_shown(line)}: a rename or a quoted path, which is not supported")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise SeriesError(f"{name}: {path}: not a plain path below the tree")
    return path


def _hunk_end(name: str, path: str, lines: list[bytes], start: int) -> int:
    """Return the position after the hunk at `start`; its lines are counted, so that no junk hides behind it."""
    match = HUNK_LINE.match(lines[start])
    if match is None:
        raise SeriesError(f"{name}: {path}: {_shown(lines[start])} is not a hunk header")
    old_left, new_left = (1 if count is None else int(count) for count in match.groups())
    position = start + 1
    while old_left > 0 or new_left > 0:
        sign = lines[position][:1] if position < len(lines) else b"end"
        if sign not in (b" ", b"-", b"+", b"\\"):
            raise SeriesError(f"{name}: {path}: the hunk {_shown(lines[start])} is cut short")
        old_left -= sign in (b" ", b"-")
        new_left -= sign in (b" ", b"+")
        position += 1
    if position < len(lines) and lines[position].startswith(b"\\"):
        position += 1
    return position


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _shown(line: bytes) -> str:
    return repr(line.decode("utf-8", errors="replace"))
