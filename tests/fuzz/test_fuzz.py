"""A few seconds of what ``python -m tests.fuzz`` does for minutes; and that it finds what it looks for."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.fuzz import addresses, files
from tests.fuzz.__main__ import fuzz, repeat
from tests.fuzz.worker import FINE, REFUSED
from walle.errors import WalleError


def test_every_sample_is_read_before_it_is_broken(tmp_path: Path) -> None:
    # no archive of this kind is taken; times at the end of 64 bits; dates for bars of a minute
    refused = {"a.tar.gz", "c.parquet", "b.arrow", "d.parquet", "c.feather"}
    for name, content in files.samples().items():
        path = tmp_path / name
        path.write_bytes(content)
        if name in refused:
            with pytest.raises(WalleError):
                files.read(path)
        else:
            files.read(path)


@pytest.mark.parametrize("kind", ["files", "addresses"])
def test_a_broken_input_ends_in_our_errors_alone(kind: str, tmp_path: Path) -> None:
    counts, kept = fuzz(kind, 120, 7, tmp_path / "kept", most=300)
    assert kept == []
    assert counts[FINE] + counts[REFUSED] == counts.total() > 0


def test_a_kept_case_is_run_again(tmp_path: Path) -> None:
    case = tmp_path / "files-1-5-a.csv"
    case.write_bytes(files.samples()["a.csv"])
    assert repeat(case) == FINE
    case.write_bytes(b"no bars\n")
    assert repeat(case) == REFUSED


def test_cases_are_the_same_for_the_same_seed() -> None:
    made = list(files.samples().values())
    one, two = (
        [files.mutated(made[0], made, chance) for _ in range(20)] for chance in (random.Random(3), random.Random(3))
    )
    assert one == two
    chances = random.Random(3), random.Random(3)
    assert [addresses.address(chances[0]) for _ in range(20)] == [addresses.address(chances[1]) for _ in range(20)]


def test_a_shown_secret_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "masked", lambda url: url.render_as_string(hide_password=False))
    with pytest.raises(addresses.Leak, match="is shown as"):
        addresses.check(json.dumps(f"postgresql://ann:{addresses.SECRET}@127.0.0.1:99/x"), tmp_path)
