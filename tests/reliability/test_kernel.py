"""A store in a notebook's kernel: cells, Ctrl-C, and the end of the kernel."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.reliability.processes import ROOT

OPEN = """
import walle
from tests.samples import bars, fill
from tests.reliability.material import big_bars
store = walle.connect({address!r})
"""


class Kernel:
    """A kernel of its own, and what its cells print."""

    def __init__(self, errors: IO[str]) -> None:
        self.manager = KernelManager(kernel_name="python3", transport="ipc")
        # all warnings as errors would stop the kernel's own shutdown
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning"}
        self.manager.start_kernel(stderr=errors, cwd=str(ROOT), env=environment)
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def cell(self, code: str, interrupt_at: str | None = None) -> tuple[str, str]:
        """Run a cell; return what it printed and the name of its error."""
        printed: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])
                if interrupt_at is not None and interrupt_at in message["content"]["text"]:
                    time.sleep(0.2)
                    self.manager.interrupt_kernel()

        reply = self.client.execute_interactive(code, timeout=60, output_hook=hear)
        return "".join(printed), str(reply["content"].get("ename", ""))

    def shut_down(self) -> float:
        """Ask the kernel to end; return how long that took."""
        started = time.monotonic()
        self.client.shutdown()
        process = self.manager.provisioner
        assert process is not None
        while getattr(process, "process").poll() is None:  # noqa: B009  # of the local provisioner only
            assert time.monotonic() - started < 30
            time.sleep(0.01)
        return time.monotonic() - started

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def errors(tmp_path: Path) -> Iterator[IO[str]]:
    with (tmp_path / "stderr").open("w+") as file:
        yield file


@pytest.fixture
def kernel(errors: IO[str]) -> Iterator[Kernel]:
    running = Kernel(errors)
    yield running
    running.close()


def test_cells_use_a_store_and_the_kernel_ends_without_its_being_closed(
    kernel: Kernel, address: str, errors: IO[str]
) -> None:
    assert kernel.cell(OPEN.format(address=address)) == ("", "")
    assert kernel.cell("print(store.fills.append(fill()).inserted, store.fills.read().height)") == ("1 1\n", "")
    assert kernel.cell("store.runs.get('x')") == ("", "UnknownRun")
    assert kernel.cell("async def f(): return store.fills.read().height\nprint(await f())") == ("1\n", "")
    printed, error = kernel.cell(
        "import time\nprint('start', flush=True)\n"
        "store.bars.ingest(big_bars(1_000_000), symbol='A', timeframe='1m')\nprint('not reached')",
        interrupt_at="start",
    )
    assert (printed, error) == ("start\n", "KeyboardInterrupt")
    assert kernel.cell("print(store.bars.count('A', '1m'), store.fills.read().height)") == ("0 1\n", "")
    seconds = kernel.shut_down()
    print(f"kernel ended after {seconds:.3f} s")
    assert seconds < 10.0
    errors.seek(0)
    said = [line for line in errors.read().splitlines() if line and "KeyboardInterrupt caught in kernel" not in line]
    assert said == []
