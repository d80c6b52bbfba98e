"""The process in which cases run: what aborts, hangs or eats memory ends it, and not the one that counts."""

from __future__ import annotations

import multiprocessing
import os
import resource
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz import addresses, files
from walle.errors import WalleError

__all__ = ["FINE", "REFUSED", "Worker"]

CASE_SECONDS = 30
MEMORY = 6 * 1024**3
FINE, REFUSED = "fine", "refused"


class Worker:
    """A process that runs cases one after the other, until one of them ends it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.lives = True

    def run(self, kind: str, case: Path) -> str:
        """Run a case, and say how it ended."""
        try:
            self._pipe.send((kind, str(case)))
            if self._pipe.poll(CASE_SECONDS):
                return str(self._pipe.recv())
            outcome = f"no end after {CASE_SECONDS} s"
        except (EOFError, OSError):
            self._process.join(5)
            outcome = f"the process ended with {self._process.exitcode}"
        self.end()
        return outcome

    def end(self) -> None:
        """End the process."""
        self.lives = False
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a panic prints
    while True:
        try:
            kind, name = pipe.recv()
        except EOFError:
            return
        pipe.send(_run(kind, Path(name)))


def _run(kind: str, case: Path) -> str:
    os.chdir(case.parent)
    try:
        if kind == "files":
            files.read(case)
        else:
            addresses.check(case.read_text(), case.parent)
    except WalleError:
        return REFUSED
    except BaseException as error:  # a panic of Rust is no Exception
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:300]} ({Path(where.filename).name}:{where.lineno})"
    return FINE
