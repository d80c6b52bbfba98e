"""Real child processes: started, heard, signalled and waited for, all with a deadline.

A child prints one line per step, so that a test waits for what happened and never for a length of time.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

__all__ = ["Child", "Ended", "command", "script", "sizes"]

ROOT = Path(__file__).parents[2]
DEADLINE = 120.0
"""Seconds after which a silent child counts as hung; far above what any step takes."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    lines: list[str]
    errors: str


class Child:
    """A Python process and what it says.

    Parameters
    ----------
    arguments : sequence of str
        Of the interpreter.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by __exit__
        self._said: queue.Queue[str | None] = queue.Queue()
        self.lines: list[str] = []
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; its children would inherit it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WALLE_")}
        environment |= {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "WALLE_PROGRESS": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line.rstrip("\n"))
        self._said.put(None)

    def expect(self, word: str, within: float = DEADLINE) -> str:
        """Wait for a line that starts with a word, and return what follows it.

        Raises
        ------
        AssertionError
            When the child is silent for too long, or ends.
        """
        deadline = time.monotonic() + within
        while True:
            try:
                line = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {word!r} within {within} s, only {self.lines}; {self._stderr()}") from None
            if line is None:
                raise AssertionError(f"the child ended without {word!r}, after {self.lines}; {self._stderr()}")
            self.lines.append(line)
            if line.split(" ")[0] == word:
                return line[len(word) + 1 :]

    def tell(self) -> None:
        """Send the line that the child waits for."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> float:
        """Send a signal; return the moment on the monotonic clock, which all processes share."""
        moment = time.monotonic()
        self.process.send_signal(number)
        return moment

    def wait(self, within: float = DEADLINE) -> Ended:
        """Wait for the end; every line that was said until then counts."""
        code = self.process.wait(within)
        self._listener.join(within)
        while (line := self._said.get(timeout=within)) is not None:
            self.lines.append(line)
        return Ended(code, self.lines, self._stderr())

    def succeed(self, within: float = DEADLINE) -> Ended:
        """Wait for an end without an error."""
        ended = self.wait(within)
        assert ended.code == 0, ended
        return ended

    def _stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._errors.close()


def command(name: str, *arguments: object) -> Child:
    """Start a function of :mod:`tests.reliability.children` in a process of its own."""
    return Child(["-m", "tests.reliability.children", name, *map(str, arguments)])


def script(text: str, *arguments: object, flags: Sequence[str] = ("-W", "error", "-X", "dev")) -> Child:
    """Start a script, as a user would write it."""
    return Child([*flags, "-c", text, *map(str, arguments)])


def sizes(names: str, *, always: Sequence[object], full: Sequence[object]) -> pytest.MarkDecorator:
    """Parametrise a test: a fifth of the loop that always runs, and the full loop as an endurance test."""
    return pytest.mark.parametrize(
        names,
        [pytest.param(*_tuple(value), id=f"short-{number}") for number, value in enumerate(always)]
        + [
            pytest.param(*_tuple(value), id=f"full-{number}", marks=pytest.mark.endurance)
            for number, value in enumerate(full)
        ],
    )


def _tuple(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
