"""A real JupyterLab in a real Chromium, both of this machine: every host outside it is blocked, and asking one fails.

    def test_it(lab: Lab) -> None:
        notebook = lab.open(["import walle", "view = ...; view"])
        notebook.page.get_by_role("button", name="Refresh").click()
        assert notebook.run("print(view.frame().height)") == "3"
        notebook.picture("view")
        notebook.check()

Pictures go to the folder that ``WALLE_SCREENSHOTS`` names, else to the test's own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Lab", "Notebook", "running_lab", "why_not"]

ROOT = Path(__file__).parents[2]
PICTURES = os.environ.get("WALLE_SCREENSHOTS")  # read early: the tests run without any WALLE_ variable
LOCAL = ("data:", "blob:", "about:")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
_UNTIL = """const until = async (f) => {
  for (let i = 0; i < 1200; i++) { const v = f(); if (v) return v; await new Promise((r) => setTimeout(r, 50)); }
  throw new Error("timeout: " + f);
};"""
_READY = f"""async () => {{
  {_UNTIL}
  const app = await until(() => window.jupyterapp);
  await app.restored;
  const panel = await until(() => {{
    const w = app.shell.currentWidget; return w && w.context && w.sessionContext ? w : null; }});
  await panel.context.ready; await panel.sessionContext.ready;
  await until(() => panel.sessionContext.session && panel.sessionContext.session.kernel);
  await panel.sessionContext.session.kernel.info;
}}"""
_RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"
_RUN = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const told = [], future = kernel.requestExecute({ code, store_history: false });
  future.onIOPub = (message) => {
    if (message.header.msg_type === "stream") told.push(message.content.text);
    if (message.header.msg_type === "error") told.push(message.content.traceback.join("\\n"));
  };
  const reply = await future.done;
  return [reply.content.status, told.join("")];
}"""
_SAVE = "async () => { await window.jupyterapp.shell.currentWidget.context.save(); }"
_THEME = """async (name) => {
  await window.jupyterapp.commands.execute("apputils:change-theme", { theme: name });
  await new Promise((r) => setTimeout(r, 600));
}"""


def why_not() -> str:
    """Return what is missing for a browser on this machine; empty when nothing is."""
    lacking = [name for name in ("playwright", "jupyterlab") if importlib.util.find_spec(name) is None]
    if _chromium() is None:
        lacking.append("chromium")
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Notebook:
    """A notebook in the browser, all of whose cells were run.

    Attributes
    ----------
    page : playwright.sync_api.Page
    outside : list of str
        Addresses outside the machine that the page asked for.
    errors : list of str
        Errors of the page, and what it wrote to its console as such.
    """

    def __init__(self, page: Page, base: str, path: Path, pictures: Path) -> None:
        self.page, self.path = page, path
        self.outside: list[str] = []
        self.errors: list[str] = []
        self._pictures = pictures
        own = (base, base.replace("http", "ws", 1), *LOCAL)
        page.on("request", lambda request: None if request.url.startswith(own) else self.outside.append(request.url))
        page.on("websocket", lambda ws: None if ws.url.startswith(own) else self.outside.append(ws.url))
        page.on("pageerror", lambda error: self.errors.append(f"page: {error}"))
        page.on("console", lambda said: self.errors.append(f"console: {said.text}") if said.type == "error" else None)

    def run(self, code: str) -> str:
        """Run code in the notebook's kernel, after every message that the page has sent, and return what it prints."""
        status, told = self.page.evaluate(_RUN, code)
        assert status == "ok", told
        return str(told).strip()

    def eventually(self, code: str, wanted: str, seconds: float = 5) -> None:
        """Run code until it prints what is wanted."""
        end = time.monotonic() + seconds
        while (told := self.run(code)) != wanted:
            assert time.monotonic() < end, f"{code} gives {told!r}, not {wanted!r}"
            time.sleep(0.05)

    def theme(self, name: str) -> None:
        """Turn the page ``light`` or ``dark``."""
        self.page.evaluate(_THEME, "JupyterLab Dark" if name == "dark" else "JupyterLab Light")

    def picture(self, name: str, selector: str | None = None) -> Path:
        """Save a picture of the page, or of the first element that a selector finds."""
        path = self._pictures / f"{name}.png"
        if selector is None:
            self.page.screenshot(path=path)
        else:
            self.page.locator(selector).first.screenshot(path=path)
        return path

    def save(self) -> dict[str, Any]:
        """Save the notebook, and return what is in its file."""
        self.page.evaluate(_SAVE)
        saved: dict[str, Any] = json.loads(self.path.read_text())
        return saved

    def check(self) -> None:
        """Hold that nobody outside was asked, and that the page met no error."""
        assert self.outside == []
        assert self.errors == []


class Lab:
    """A running JupyterLab, and a browser."""

    def __init__(self, base: str, folder: Path, browser: Browser) -> None:
        self._base, self._browser = base, browser
        self.folder = folder
        self._numbers = itertools.count()
        self._pictures = Path(PICTURES or folder / "pictures")
        self._pictures.mkdir(parents=True, exist_ok=True)

    def open(self, cells: Sequence[str], *, width: int = 1280, height: int = 1000) -> Notebook:
        """Write a notebook, open it, run all its cells, and fail when one of them raises."""
        path = self.folder / f"notebook{next(self._numbers)}.ipynb"
        path.write_text(json.dumps(_notebook(cells)))
        page = self._browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.set_default_timeout(30_000)
        notebook = Notebook(page, self._base, path, self._pictures)
        page.goto(f"{self._base}/lab/tree/{path.name}?reset")
        page.evaluate(_READY)
        page.evaluate("async () => window.jupyterapp.shell.collapseLeft()")
        assert page.evaluate(_RUN_ALL) is True, page.locator(".jp-OutputArea-output").all_inner_texts()
        return notebook

    def read(self, path: Path, picture: str) -> Page:
        """Open a file in the browser with scripts switched off, and save a picture of it."""
        page = self._browser.new_context(java_script_enabled=False, viewport={"width": 1100, "height": 900}).new_page()
        page.goto(path.as_uri())
        page.screenshot(path=self._pictures / f"{picture}.png")
        return page


@contextlib.contextmanager
def running_lab() -> Iterator[Lab]:
    """Start JupyterLab on a free port of the loopback, with settings of its own, and a browser."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="walle-lab-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "work").mkdir()
        with _server(folder) as base, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=_chromium(), args=_ARGUMENTS)
            try:
                yield Lab(base, folder / "work", browser)
            finally:
                browser.close()


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    environment = {
        **os.environ,
        **{key: str(folder / place) for key, place in places.items()},
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "WALLE_PROGRESS": "0",
    }
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        f"--ServerApp.root_dir={folder / 'work'}",
        "--LabApp.extension_manager=readonly",
        "--LabApp.expose_app_in_browser=True",
    ]
    log = folder / "lab.log"
    with log.open("w") as written:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=folder / "work",
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    base, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
    try:
        while True:
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{base}/api/status", timeout=2):
                    break
            except OSError:
                assert time.monotonic() < end, log.read_text()[-3000:]
                time.sleep(0.1)
        yield base
    finally:
        server.terminate()  # the server ends its kernels
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(15)


def _notebook(cells: Sequence[str]) -> dict[str, Any]:
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell{number}",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": source,
            }
            for number, source in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
