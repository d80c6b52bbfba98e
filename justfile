export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

_list:
    @just --list

# pure, SQLite and memory tests, in less than 90 seconds
fast:
    pytest -n 2 -m fast

# the README's test command: a virtual environment, and the quick tests on both databases
test:
    command=$(grep -m1 -F .venv/bin/pytest README.md) && bash -c "$command"

# lint, format, types, import contracts
check:
    ruff check .
    ruff format --check .
    mypy
    lint-imports

# everything, in a copy of the tree
ci:
    .ci/run
