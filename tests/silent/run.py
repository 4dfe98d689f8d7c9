"""
Run places on a tree, and print a table of what became of each.

    python tests/silent/run.py --tree TREE_SRC [PLACE ...] [--ordinary] [--all-modes] [--table] [--jobs 2]
"""

import argparse
import fnmatch
import queue
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parents[1] / "scripts")]

from client import Server  # noqa: E402
from modes import WORST, checkpoints_of, modes_of, reasons  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("places", nargs="*", metavar="PLACE", help="names, or patterns such as 'sampler_*'")
    parser.add_argument("--tree", required=True, type=Path, help="a folder that holds the package transformers/")
    parser.add_argument("--ordinary", action="store_true", help="the ordinary pipelines, which have to be exact")
    parser.add_argument("--owner", help="only the places of this owner")
    parser.add_argument("--mode", action="append", help="only this mode, such as 0, 2, 2p or 2p+acc; may be repeated")
    parser.add_argument("--all-modes", action="store_true", help="each place in all modes and from all checkpoints")
    parser.add_argument("--exact-resume", choices=("warn", "strict", "off"), help="strict for --ordinary, else warn")
    parser.add_argument("--twice", action="store_true", help="no resume: are two uninterrupted runs the same?")
    parser.add_argument("--table", action="store_true", help="only the table of counts by owner")
    parser.add_argument("--said", action="store_true", help="print all that loggers of the patch said")
    parser.add_argument("--write", action="store_true", help="write expected.toml, from the stock tree")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    kind = "ordinary" if arguments.ordinary else "place"
    server = Server(arguments.tree)
    listed = server.listed[kind]
    chosen = [
        name
        for name, (owner, _) in listed.items()
        if (not arguments.places or any(fnmatch.fnmatch(name, pattern) for pattern in arguments.places))
        and arguments.owner in (None, owner)
    ]
    if not chosen:
        parser.error("there is no such place")
    options = {"kind": kind}
    options["exact_resume"] = arguments.exact_resume or ("strict" if arguments.ordinary else "warn")
    cases = queue.SimpleQueue()
    for name in chosen:
        for mode in arguments.mode or modes_of(name, listed[name][0], arguments.all_modes):
            cases.put((name, mode))
    results = {}

    def work(server: Server) -> None:
        while True:
            try:
                name, mode = cases.get_nowait()
            except queue.Empty:
                return server.close()
            at = ["again"] if arguments.twice else checkpoints_of(name, mode, arguments.all_modes)
            results[name, mode] = server.timed(name, mode, at=at, **options)

    servers = [server, *(Server(arguments.tree) for _ in range(arguments.jobs - 1))]
    threads = [threading.Thread(target=work, args=(each,)) for each in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if arguments.write:
        write(results, server.listed)
    return report(results, listed, arguments)


def write(results, listed) -> None:
    """Write the list of places, and what became of each."""
    lines = ["# Written by `python tests/silent/run.py --tree STOCK --write`."]
    for kind in ("place", "ordinary"):
        lines += ["", f"[owners.{kind}]", *(f'{name} = "{owner}"' for name, (owner, _) in listed[kind].items())]
    lines += ["", "# By place and mode, what becomes of a resume from each checkpoint.", "[stock]"]
    for (name, mode), (outcomes, _) in sorted(results.items()):
        found = ", ".join(f'{at} = "{outcome["outcome"]}"' for at, outcome in outcomes.items())
        lines.append(f'"{name} {mode}" = {{ {found} }}')
    (FOLDER / "expected.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def report(results, listed, arguments) -> int:
    counts, by_owner, unexpected = Counter(), defaultdict(Counter), 0
    for (name, mode), (outcomes, seconds) in sorted(results.items()):
        for at, found in outcomes.items():
            outcome, alarm = found["outcome"], bool(found["said"]) and found["outcome"] == "exact"
            nature = reasons().of(name, listed[name][0], outcome)
            shown = f"{outcome} by nature" if nature else "exact, but warned" if alarm else outcome
            counts[shown] += 1
            by_owner[listed[name][0]][shown] += 1
            is_bad = shown in ("silent", "later", "error") or (arguments.ordinary and shown != "exact")
            unexpected += is_bad
            if not arguments.table:
                print(f"{shown:17} {name:48} {mode:7} {at:7} {seconds:5.2f} s  {found['detail'][:150]}")
                for text in found["said"] if arguments.said or (alarm and arguments.ordinary) else ():
                    print(f"{'':18}{text[:300]}")
    columns = sorted(counts, key=lambda shown: (WORST.index(shown.split(",")[0].split(" ")[0]), shown))
    print(f"\n{'owner':16}" + "".join(f"{column:>20}" for column in columns))
    for owner, found in sorted(by_owner.items()):
        print(f"{owner:16}" + "".join(f"{found[column] or '':>20}" for column in columns))
    print(f"{'all':16}" + "".join(f"{counts[column]:>20}" for column in columns))
    places = len({name for name, _ in results})
    print(f"{places} places, {len(results)} cases, {sum(counts.values())} outcomes; {unexpected} are not allowed")
    return int(unexpected > 0)


if __name__ == "__main__":
    sys.exit(main())
