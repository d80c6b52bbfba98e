"""An address that cannot work is refused without showing what may be a secret in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

import walle
from walle.config import DatabaseConfig, masked

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "target",
    [
        f"'postgresql://ann:{SECRET}@host/db'",
        f'"postgresql://ann:{SECRET}@host/db"',
        f"\u201cpostgresql://ann:{SECRET}@host/db\u201d",
        f"postgresql://ann:{SECRET}@host/db'",
        f"postgres ql://ann:{SECRET}@host/db",
        f"=postgresql://ann:{SECRET}@host/db",
        f"postgresql:/ann:{SECRET}@host/db",
        f"postgresql:ann:{SECRET}@host/db",
        f"ann:{SECRET}@host/db",
        f"//ann:{SECRET}@host/db",
        f"ann:{SECRET}@host:5432",
        f"postgresql://ann:{SECRET}@host:port/db",
        f"postgresql://ann:p@{SECRET}@host/db",
        f"postgresql://ann:{SECRET}@[::1/db",
        f"postgresql://ann:{SECRET}@host",
        f"postgresql://ann@host/db;password={SECRET}",
        f"postgresql://ann:{SECRET}@host:1,other:2/db",
        f"postgresql://ann@host:1/db?passfile={SECRET}&application_name=a@b&sslkey={SECRET}",
        f"mysql://ann:{SECRET}@host/db",
        f"sqlite:///store.db?password={SECRET}",
        f"sqlite:///store.db?key={SECRET}&mode=ro",
        f"sqlite://ann:{SECRET}@host/store.db",
        f"sqlite://ann@host:1/store.db?a@key={SECRET}",
        f"sqlite:///ann:{SECRET}@host/store.db",
        f"sqlite:///:{SECRET}@[?::1]:1/name",
        f"store.db?password={SECRET}",
        f"./store.db?cipher=x&key/={SECRET}",
        f"x@?postgresql//ann:{SECRET}@host/db",
        f"host=db password={SECRET} dbname=research",
        f"dbname=research password='{SECRET}'",
        f"user=ann pass word={SECRET}",
        f"postgresql://host/db?options=-x%20{SECRET}",
        f"postgresql://host/db?options='{SECRET}",
        f"postgresql://ann:{SECRET}\0@host/db",
        Path(f"postgresql://ann:{SECRET}@host/db"),
        URL.create("mysql", "ann", SECRET, "host", 1, "db"),
        URL.create("postgresql", "ann", SECRET, f"x@{SECRET}", None, "db"),
        URL.create("sqlite", "ann", SECRET, "host", 1, "db"),
    ],
    ids=str,
)
def test_a_refused_address_shows_no_secret(target: Any) -> None:
    with pytest.raises(walle.ConfigurationError) as caught:
        walle.connect(target)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


@pytest.mark.parametrize(
    "option",
    [
        "password",
        "sslpassword",
        "passfile",
        "oauth_client_secret",
        "oauth_client_id",
        "options",
        "sslkey",
        "unheard_of",
    ],
)
def test_only_options_that_are_public_are_shown(option: str) -> None:
    given = URL.create(
        "postgresql", "ann", "pw", "host", 5432, "db", query={option: SECRET, "sslmode": "require", "port": "1"}
    )
    for shown in (
        (repr(DatabaseConfig(url=given)), masked(given), repr(walle.Database(given)))
        if (option != "options")
        else (repr(DatabaseConfig(url=given)), masked(given))
    ):
        assert SECRET not in shown
        assert f"{option}=***" in shown
        assert "sslmode=require" in shown


@pytest.mark.parametrize("value", [f"key={SECRET}", f"require&password={SECRET}", f"ann:{SECRET}@host"])
@pytest.mark.parametrize("option", ["ssl", "sslmode", "host", "application_name"])
def test_a_public_option_with_another_one_in_it_is_not_shown(option: str, value: str) -> None:
    given = URL.create("postgresql+asyncpg", "ann", "pw", "host", 5432, "db", query={option: value})
    for shown in (repr(DatabaseConfig(url=given)), masked(given), repr(walle.Database(given))):
        assert SECRET not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        " postgresql://ann:p@host/db",
        "postgresql://ann:p@host/db\n",
        "\tpostgres://ann:p@host/db \r\n",
        "PostgreSQL://ann:p@host/db",
    ],
)
def test_space_around_a_url_does_not_matter(text: str) -> None:
    config = DatabaseConfig(url=text)
    assert (config.address.password, config.address.database) == ("p", "db")
    assert repr(config).startswith("DatabaseConfig(url='postgresql://ann:***@host/db'")


@pytest.mark.parametrize(
    "name", [" store.db", "a@b.db", "a b/c:d.db", "x=1.db", "Größe 漢字.db", "100%.db", "a?b#c.db"]
)
def test_a_path_may_hold_what_the_system_takes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with walle.connect(str(path)) as store:
        assert store.status().ok
    assert path.exists()


def test_a_password_of_every_sign_is_read_and_masked() -> None:
    password = "p@ss/w:rd?#[]%&= '\"\\漢"
    url = URL.create("postgresql", "ann", password, "host", 5432, "db").render_as_string(hide_password=False)
    config = DatabaseConfig(url=url)
    assert config.address.password == password
    assert repr(config).startswith("DatabaseConfig(url='postgresql://ann:***@host:5432/db'")


def test_a_sqlite_library_that_would_fail_in_mid_work_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    with pytest.raises(walle.ConfigurationError, match=r"needs 3\.35 or later"):
        walle.connect(tmp_path / "store.db")
    assert not (tmp_path / "store.db").exists()
