"""Write what the gate found as a comment on its pull request, or bring the comment of an earlier run up to date.

Runs with the right to write, on a file that the pull request's code may have made. So the file is only read as data,
up to a size, and the text is made here from what of it has the expected form. The comment goes to a pull request whose
head is the commit that the run was started for, and to no other.

Variables of the environment: REPOSITORY, RUN_ID and HEAD_SHA of the run, from the event; GH_TOKEN, for gh.

exit codes: 0 where it was written or there is nothing to write; 1 where what was found is not fit to be shown.
"""

import io
import json
import os
import subprocess
import sys
import zipfile
import zlib

from exact_resume.gate import render
from exact_resume.gate import results as gate_results

ARTIFACT = "gate"
NUMBER_FILE = "pull-request.txt"
MARK = "<!-- exact-resume gate -->"
AUTHOR = "github-actions[bot]"
MOST_PACKED, MOST_UNPACKED = 4 * 2**20, 16 * 2**20
COMMENT_BYTES = 60_000
"""GitHub takes 65536 characters."""
MOST_PAGES = 20


class Refused(Exception):
    """What was found is not fit to be shown; the text says why."""


def main(environ) -> int:
    """Write the comment and return the exit code."""
    try:
        print(comment(environ["REPOSITORY"], environ["RUN_ID"], environ["HEAD_SHA"]))
        return 0
    except Refused as error:
        print(f"gate comment: refused: {error}", file=sys.stderr)
        return 1


def comment(repository, run_id, head) -> str:
    """Write the comment for a run and say what was done. Raises Refused."""
    listed = ask(f"repos/{repository}/actions/runs/{run_id}/artifacts?name={ARTIFACT}&per_page=2")["artifacts"]
    if not listed:
        return "the run has no results"
    if len(listed) > 1 or listed[0]["size_in_bytes"] > MOST_PACKED:
        raise Refused("there are several artifacts of that name, or it is too large")
    number, results = unpack(gh(f"repos/{repository}/actions/artifacts/{listed[0]['id']}/zip"))
    pull = ask(f"repos/{repository}/pulls/{number}")
    if pull["head"]["sha"] != head:
        raise Refused(f"pull request {number} is not at the commit of the run, or not the one that it was started for")
    body = {"body": f"{MARK}\n{render.markdown(results, COMMENT_BYTES)}"}
    earlier = find(repository, number)
    if earlier is None:
        ask(f"repos/{repository}/issues/{number}/comments", "POST", body)
        return f"wrote a comment on pull request {number}"
    ask(f"repos/{repository}/issues/comments/{earlier}", "PATCH", body)
    return f"changed the comment on pull request {number}"


def unpack(packed) -> tuple:
    """Return the number of the pull request and the result object that an artifact holds. Raises Refused."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            number = read(archive, NUMBER_FILE, 20).strip()
            data = read(archive, gate_results.FILE, MOST_UNPACKED)
        results = gate_results.parse(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"the artifact cannot be read: {type(error).__name__}") from error
    except gate_results.Malformed as error:
        raise Refused(f"{gate_results.FILE}: {error}") from error
    if not (number.isdigit() and len(number) <= 9 and int(number) > 0):
        raise Refused(f"{NUMBER_FILE} holds no number")
    return int(number), results


def read(archive, name, most) -> bytes:
    """Return a member of an archive, whatever size its header claims. Raises Refused where it has more bytes."""
    with archive.open(name) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise Refused(f"{name} is too large")
    return data


def find(repository, number):
    """Return the id of the comment that an earlier run wrote; None where there is none."""
    for page in range(1, MOST_PAGES + 1):
        comments = ask(f"repos/{repository}/issues/{number}/comments?per_page=100&page={page}")
        for found in comments:
            # Anybody can write the mark.
            if found["user"]["login"] == AUTHOR and found["body"].startswith(MARK):
                return found["id"]
        if len(comments) < 100:
            break
    return None


def ask(path, method="GET", body=None):
    """Return GitHub's answer to a request."""
    return json.loads(gh(path, method, body))


def gh(path, method="GET", body=None) -> bytes:
    """Return the bytes of GitHub's answer to a request. Raises Refused where there is none."""
    command = ["gh", "api", "--method", method, path, *(["--input", "-"] if body is not None else [])]
    done = subprocess.run(command, input=json.dumps(body).encode(), capture_output=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split()) or "no message"
        raise Refused(f"{method} {path.partition('?')[0]} failed: {said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(os.environ))
