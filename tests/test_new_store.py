"""A path that makes a new store is named, so that a misspelt one is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import walle
from walle.store.new_store import similar_stores


def test_a_new_store_is_named_by_its_whole_path_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WALLE_PROGRESS", raising=False)
    for _ in range(2):
        walle.connect("typo.db").close()
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"walle: made a new store: {tmp_path / 'typo.db'}\n")


@pytest.mark.parametrize(("setting", "shown", "told"), [("0", None, False), ("0", True, True), ("1", False, False)])
def test_the_line_can_be_turned_off(
    setting: str,
    shown: bool | None,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WALLE_PROGRESS", setting)
    walle.connect(tmp_path / "new.db", progress=shown).close()
    assert bool(capsys.readouterr().err) == told


def test_a_store_beside_one_with_a_similar_name_is_doubted(tmp_path: Path) -> None:
    walle.connect(tmp_path / "research.db").close()
    with pytest.warns(walle.NewStoreWarning, match=r"new store: .*reserch\.db\. Did you mean research\.db") as caught:
        walle.connect(tmp_path / "reserch.db").close()
    assert caught[0].filename == __file__
    walle.connect(tmp_path / "reserch.db").close()  # it is no new one now
    with pytest.raises(walle.DatabaseUnavailable):
        walle.connect(tmp_path / "researhc.db", read_only=True)


@pytest.mark.parametrize(
    ("name", "others", "expected"),
    [
        ("research.db", ["Research.db"], ["Research.db"]),
        ("resarch.db", ["research.db", "prices.db"], ["research.db"]),
        ("research.sqlite", ["research.db"], ["research.db"]),
        ("research", ["research.db"], ["research.db"]),
        ("run-2.db", ["run-1.db", "run.db", "run-03.db"], []),
        ("2024-02.db", ["2024-01.db"], []),
        ("research.db", ["research.csv", "research.py", "research.db-wal"], []),
        ("btc.db", ["eth.db"], []),
    ],
)
def test_names_are_similar_by_their_letters(tmp_path: Path, name: str, others: list[str], expected: list[str]) -> None:
    for other in others:
        (tmp_path / other).write_bytes(b"something")
    (tmp_path / "reserch.db").touch()  # an empty file is no store
    (tmp_path / "btcc.db").mkdir()
    assert similar_stores(tmp_path / name) == expected
    assert similar_stores(tmp_path / "absent" / name) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists every folder")
def test_a_folder_that_cannot_be_listed_names_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o300)
    try:
        assert similar_stores(tmp_path / "new.db") == []
    finally:
        tmp_path.chmod(0o700)
