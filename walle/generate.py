"""Generate the synchronous facade: a method with the same arguments and docstring for each method of the async core.

``python -m walle.generate`` writes the files of ``walle.store``; with ``--check`` it only compares them, and ends
with exit code 1 if one differs from what it would write.
"""

from __future__ import annotations

import ast
import copy
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from walle.events import EventLog
from walle.repositories import (
    BarRepository,
    CashFlowRepository,
    CorporateActionRepository,
    FillRepository,
    InstrumentRepository,
    OrderRepository,
    RunRepository,
)

__all__ = ["main"]

FOLDER = Path(__file__).parent / "store"
_SESSION = re.compile(r"\n +session : [^\n]*(\n {12}[^\n]*)*")
_NO_PARAMETERS = re.compile(r"\n +Parameters\n +-+\n(?=\n)")
_PROGRESS = re.compile(r"( +)progress : Progress, optional(\n {12}[^\n]*)*")
_EXAMPLES = "The examples are run on the sample data of :func:`walle.demo.load`."
_SHOWN = r"""\1progress : bool, optional
            Show a bar when it takes longer than a second. None: as ``WALLE_PROGRESS`` says, else in a terminal or a
            notebook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One file of the facade."""

    core: type[Any]
    name: str
    doc: str
    base: tuple[str, str] | None = None
    own: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        """The class's name."""
        return self.name.capitalize()


FACES = (
    Face(core=BarRepository, name="bars", doc="The bars of a store."),
    Face(core=OrderRepository, name="orders", doc="The orders of a store."),
    Face(core=FillRepository, name="fills", doc="The fills of a store."),
    Face(core=CashFlowRepository, name="cash", doc="The cash flows of a store."),
    Face(core=CorporateActionRepository, name="actions", doc="The corporate actions of a store."),
    Face(core=InstrumentRepository, name="instruments", doc="The instruments of a store."),
    Face(core=RunRepository, name="runs", doc="The runs of a store."),
    Face(
        core=EventLog,
        name="events",
        doc="The events of a store; also without a database, in memory.",
        base=("walle.store.streams", "Streams"),
        own=frozenset({"subscribe", "follow", "on", "close"}),
    ),
)


@dataclass(slots=True)
class _Method:
    """A method of the core."""

    node: ast.AsyncFunctionDef
    source: str
    module: str
    overload: bool

    @property
    def counts(self) -> bool:
        """Whether it reports its progress."""
        return any(argument.arg == "progress" for argument in self.node.args.kwonlyargs)


def main(arguments: list[str] | None = None) -> int:
    """Write the facade, or compare it with the files.

    Parameters
    ----------
    arguments : list of str, optional
        ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit code.
    """
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    stale = []
    for face in FACES:
        path = FOLDER / f"{face.name}.py"
        text = _formatted(_file(face), path)
        if check and path.read_text() != text:
            stale.append(path.name)
        elif not check:
            path.write_text(text)
    if stale:
        print(f"not what the core says: {', '.join(stale)}. Run python -m walle.generate", file=sys.stderr)
    return 1 if stale else 0


def _formatted(text: str, path: Path) -> str:
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(path), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


def _file(face: Face) -> str:
    methods, core = list(_methods(face)), face.core
    module, parent = face.base or ("walle.store.part", "Part")
    imports = {f"from {module} import {parent}"}
    if face.base is None:
        imports.add(f"from {core.__module__} import {core.__name__}")
        parent = f"{parent}[{core.__name__}]"
    for method in methods:
        imports |= set(_imports(method))
    body = "\n".join(_written(method, face) for method in methods)
    return (
        f'"""``store.{face.name}``, generated from `{core.__module__.rpartition(".")[0]}.{core.__name__}`: '
        'see `walle.generate`."""\n\nfrom __future__ import annotations\n\n'
        + "\n".join(sorted(imports))
        + f'\n\n__all__ = ["{face.kind}"]\n\n\nclass {face.kind}({parent}):\n'
        f'    """{face.doc}\n\n    {_EXAMPLES}\n    """\n\n    _name = "{face.name}"\n\n{body}'
    )


def _methods(face: Face) -> Iterator[_Method]:
    """Yield the public methods of a class of the core, each once, with its overloads."""
    seen = set(face.own)
    for kind in face.core.__mro__[:-1]:
        path = inspect.getsourcefile(kind)
        if path is None or not kind.__module__.startswith("walle."):
            continue
        source = Path(path).read_text()
        tree = ast.parse(source)
        here = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
        found = [node for node in here.body if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")]
        for node in found:
            if node.name not in seen:
                overload = any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)
                yield _Method(node, source, kind.__module__, overload)
        seen |= {node.name for node in found}


def _imports(method: _Method) -> Iterator[str]:
    """Yield the imports of the names in a method's signature."""
    tree = ast.parse(method.source)
    places = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                places[alias.asname or alias.name] = f"{source}import {ast.unparse(alias)}"
    made = {
        target.id if isinstance(target, ast.Name) else ""
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    signature = _signature(method)
    wanted = [*ast.walk(signature.args), *(ast.walk(signature.returns) if signature.returns else ())]
    if method.overload:
        yield "from typing import overload"
    for name in {node.id for node in wanted if isinstance(node, ast.Name)}:
        if name in places:
            yield places[name]
        elif name in made:
            yield f"from {method.module} import {name}"


def _signature(method: _Method) -> ast.AsyncFunctionDef:
    """Return the signature of a method in the facade: without a session, and with progress as a Boolean."""
    signature = copy.deepcopy(method.node)
    arguments = signature.args
    kept = [
        (argument, default)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if argument.arg != "session"
    ]
    for argument, _ in kept:
        if argument.arg == "progress":
            argument.annotation = ast.parse("bool | None", mode="eval").body
    arguments.kwonlyargs = [argument for argument, _ in kept]
    arguments.kw_defaults = [default for _, default in kept]
    signature.body = [ast.Expr(ast.Constant(...))]
    signature.decorator_list = [ast.Name("overload")] if method.overload else []
    return signature


def _written(method: _Method, face: Face) -> str:
    signature = _signature(method)
    head = ast.unparse(ast.fix_missing_locations(signature)).replace("async def", "def", 1)
    if method.overload:
        return indent(head, "    ") + "\n"
    head = head[: head.rindex("\n")]
    arguments = signature.args
    named = [argument.arg for argument in arguments.kwonlyargs if argument.arg != "progress"]
    passed = [argument.arg for argument in arguments.args[1:]] + [f"{name}={name}" for name in named]
    if method.counts:
        passed.append("progress=told")
    call = f"core.{method.node.name}({', '.join(passed)})"
    work = f"lambda core{', told' if method.counts else ''}: {call}"
    kind = f'_call_long("{method.node.name}", progress, ' if method.counts else f'_call("{method.node.name}", '
    nothing = isinstance(method.node.returns, ast.Constant) and method.node.returns.value is None
    return indent(head, "    ") + f"\n{_text(method)}        {'' if nothing else 'return '}self.{kind}{work})\n"


def _text(method: _Method) -> str:
    """Return a method's docstring as it is in the file."""
    first = method.node.body[0]
    lines = method.source.splitlines(keepends=True)[first.lineno - 1 : first.end_lineno]
    text = _SESSION.sub("", "".join(lines))
    return _PROGRESS.sub(_SHOWN, _NO_PARAMETERS.sub("", text))


if __name__ == "__main__":
    raise SystemExit(main())
