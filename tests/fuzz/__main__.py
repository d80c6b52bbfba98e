"""Break files and addresses for some minutes: ``python -m tests.fuzz --minutes 10 --seed 1 [--only files|addresses]``.

Each case runs in a worker with limits of time and memory. What ends in anything but a WalleError is kept, and runs
again by ``python -m tests.fuzz --repeat FILE``. The exit code is 1 when there was such a case.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz import addresses, files
from tests.fuzz.worker import FINE, REFUSED, Worker

__all__ = ["fuzz", "main", "repeat"]

KINDS = ("files", "addresses")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Break files and addresses.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=KINDS)
    findings = Path(tempfile.gettempdir()) / "walle-fuzz"
    parser.add_argument("--keep", type=Path, default=findings, help="folder of findings")
    parser.add_argument("--repeat", type=Path, help="run one kept case")
    options = parser.parse_args(arguments)
    if options.repeat is not None:
        outcome = repeat(options.repeat)
        print(outcome)
        return 0 if outcome in (FINE, REFUSED) else 1
    failed = 0
    kinds = KINDS if options.only is None else (options.only,)
    for kind in kinds:
        counts, kept = fuzz(kind, options.minutes * 60 / len(kinds), options.seed, options.keep)
        print(f"{kind}: {counts.total():,} cases: {', '.join(f'{name} {count:,}' for name, count in counts.items())}")
        for path in kept:
            print(f"kept: {path}")
        failed += len(kept)
    return 1 if failed else 0


def fuzz(
    kind: str, seconds: float, seed: int, keep: Path, *, most: int | None = None
) -> tuple[Counter[str], list[Path]]:
    """Run cases of one kind until the time is over, or so many are done.

    Returns
    -------
    tuple of Counter and list of Path
        How many cases ended how, and the files of those that ended in anything but a WalleError.
    """
    counts: Counter[str] = Counter()
    kept: list[Path] = []
    with tempfile.TemporaryDirectory(prefix="walle-fuzz-") as name:
        end, worker = time.monotonic() + seconds, None
        try:
            for number, (label, content) in enumerate(_cases(kind, seed)):
                if time.monotonic() > end or number == most:
                    break
                case = Path(name) / label
                case.write_bytes(content)
                if worker is None:
                    worker = Worker()
                outcome = worker.run(kind, case)
                counts[outcome if outcome in (FINE, REFUSED) else "FAILED"] += 1
                if outcome not in (FINE, REFUSED):
                    kept.append(_keep(kind, case, keep, f"{seed}-{number}"))
                    print(f"{kind} case {number}: {outcome}", file=sys.stderr)
                if not worker.lives:
                    worker = None
                case.unlink(missing_ok=True)
        finally:
            if worker is not None:
                worker.end()
    return counts, kept


def _cases(kind: str, seed: int) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(seed)
    if kind == "addresses":
        while True:
            yield "address.json", addresses.address(chance).encode()
    made = files.samples()
    contents = list(made.values())
    yield from made.items()
    while True:
        name = chance.choice(list(made))
        yield name, files.mutated(made[name], contents, chance)


def _keep(kind: str, case: Path, keep: Path, number: str) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(case, keep / f"{kind}-{number}-{case.name}"))


def repeat(path: Path) -> str:
    """Run one kept case in a worker, and return how it ended."""
    kind, _, name = path.name.partition("-")
    with tempfile.TemporaryDirectory(prefix="walle-fuzz-") as folder:
        case = Path(shutil.copy(path, Path(folder) / name.rpartition("-")[2]))
        worker = Worker()
        try:
            return worker.run(kind, case)
        finally:
            worker.end()


if __name__ == "__main__":
    sys.exit(main())
