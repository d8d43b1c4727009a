"""Users, passwords and tokens of addresses are shown nowhere, whatever characters they are made of."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.contract.addresses import hidden_addresses, is_cut_short, safe_address, without
from core.contract.escaping import markdown

SECRET = "hunter2"
PLACES = [
    "postgresql+psycopg://{}:x@host:5432/db",
    "postgresql+psycopg://me:{}@host:5432/db?sslmode=require",
    "postgresql://me:{}@one:5432,two:5433/db",
    "http://{}@host:5000/",
    "https://me:{}@host/mlflow/",
    "https://:{}@[::1]:5000",
    "postgresql://host/db?password={}",
    "postgresql://host/db?sslmode=require&sslpassword={}",
    "postgresql://host/db?user={}&sslmode=require",
    "mysql+pymysql://host/db?token={}",
    "http://host:5000/#access_token={}",
    "mssql+pyodbc:///?odbc_connect=DRIVER;PWD={}",
    "sqlite:///lab.db?key={}",
    "me:{}@host/db",
]
signs = st.sampled_from(["/", "@", ":", "#", "?", "=", "&", ";", "%", "//", "://", "sslmode=", "%2F", " ", "'", '"'])
characters = st.characters(exclude_categories=["Cs"])
noise = st.lists(signs | characters, max_size=6).map("".join)
passwords = st.builds("{}{}{}{}{}".format, noise, st.just(SECRET), noise, st.just(SECRET), noise)
HARD = [f"{SECRET}{sign}{SECRET}" for sign in ("/", "@", "#", "?", "@x/", "?a=b@", "&a=", "&sslmode=", "/@:", "%40")]


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_in_a_safe_address(place: str) -> None:
    @given(passwords)
    def safe(password: str) -> None:
        address = place.format(password)
        assert SECRET not in safe_address(address)
        assert SECRET not in without(f"Could not parse '{address}'", address)
        assert SECRET not in without(f"no host {password!r}, user {password}", address)

    for password in [*HARD, f"0%{SECRET}/0/=0%{SECRET}/0/=0"]:
        safe = example(password)(safe)
    safe()


@pytest.mark.parametrize("place", [place for place in PLACES if "://" in place and "odbc" not in place])
@pytest.mark.parametrize(
    "password", [SECRET, f"a/{SECRET}", f"{SECRET}@b", f"{SECRET}#b", f"b?{SECRET}", f"%2F{SECRET}"]
)
def test_no_secret_of_an_address_is_left_in_a_text(place: str, password: str) -> None:
    if place.startswith("http://{}"):
        password = password.replace("/", "%2F")  # a token of a path's form cannot be told from one
    text = hidden_addresses(f'uri: "{place.format(password)}", [see]({place.format(password)}) and so on')
    assert SECRET not in text
    assert text.endswith("and so on")


SPACED = [f"a {SECRET}", f"{SECRET} b", f"a  {SECRET}\tb", f"{SECRET} ", f"1 {SECRET}x/y", f"({SECRET}, b)"]


@pytest.mark.parametrize("place", [place for place in PLACES if "me:{}" in place and "://" in place])
@pytest.mark.parametrize("password", [password for password in SPACED if not password.startswith("1 ")])
def test_a_password_with_spaces_is_left_in_no_text_however_it_is_written(place: str, password: str) -> None:
    address = place.format(password)
    for written in (f"at {address}: and so on", f"'{address}' and so on", markdown(f"at {address} and so on")):
        hidden = hidden_addresses(written)
        assert SECRET not in hidden
        assert "***@" in hidden
        assert hidden.endswith("and so on")


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000 is not reached by me@host",
        "http://127.0.0.1:5000, http://host:80/a is not reached by me@host",
        "postgresql://one:5432,two:5433/db is not reached by me@host",
        "postgresql://[::1]:5432/db is not reached by me@host",
        "https://example.org/a is not reached by me@host",
        "git+ssh://host: 3 of 4 pairs count at R@1",
        "postgresql://host/db has t2v/R1 and R @ 5",
        "see http://a:b, or\nmail to me@host",
    ],
)
def test_an_address_does_not_go_on_to_an_at_sign_that_is_another_words(text: str) -> None:
    assert hidden_addresses(text) == text


def test_a_long_text_of_what_might_be_one_password_takes_no_time() -> None:
    text = "postgresql://me:" + "a b  " * 20_000
    start = time.perf_counter()
    assert hidden_addresses(text) == text
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("place", [place for place in PLACES if "://" in place])
@pytest.mark.parametrize("password", [*SPACED, f"{SECRET}'b", f'a"{SECRET}', f"a @b {SECRET}", f"a\n{SECRET}"])
def test_an_address_that_a_text_would_cut_short_is_known(place: str, password: str) -> None:
    if "{}:x@" not in place and "http://{}@" not in place and "#" not in place:
        assert is_cut_short(place.format(password))
    assert not is_cut_short(place.format(SECRET))


def test_prose_is_no_address_that_is_cut_short() -> None:
    for text in ("https://example.org/a says why", "https://example.org, or me@host", "a b://c d:e@f", "sqlite:///a b"):
        assert not is_cut_short(text)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (
            "postgresql+psycopg://me:pw@host:5432/db?sslmode=require",
            "postgresql+psycopg://***@host:5432/db?sslmode=require",
        ),
        ("postgresql://me:p/w@one:1,two:2/db", "postgresql://***@one:1,two:2/db"),
        ("http://token@127.0.0.1:5000/", "http://***@127.0.0.1:5000/"),
        ("http://host:5000/mlflow?token=a&b=c", "http://host:5000/mlflow?***"),
        ("postgresql://host/db?sslmode=require&password=a", "postgresql://host/db?sslmode=require&***"),
        ("postgresql://host/db?password=a@b", "postgresql://***"),
        ("http://me:secret", "http://***"),
        ("me:secret@host", "***"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("sqlite:///x.db?timeout=5", "sqlite:///x.db?timeout=5"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://[::1]:5000/", "http://[::1]:5000/"),
        ("databricks", "databricks"),
        ("file:./mlruns", "file:./mlruns"),
    ],
)
def test_a_safe_address_still_says_where(address: str, shown: str) -> None:
    assert safe_address(address) == shown


def test_addresses_without_secrets_stay_in_texts() -> None:
    text = "see https://example.org/a?b=c#d, http://127.0.0.1:5000/a@b (sqlite:///x@y/z.db) git+https://x.org/r@v1"
    assert hidden_addresses(text) == text


@pytest.mark.parametrize("place", [place for place in PLACES if "://" in place and "odbc" not in place])
def test_no_secret_is_left_in_markdown(place: str) -> None:
    assert SECRET not in hidden_addresses(markdown(f"see {place.format(SECRET)} there"))


def test_what_a_driver_says_stays_readable() -> None:
    fault = 'connection to "db", port 5432 failed: password authentication failed for user "me"'
    assert without(fault, "postgresql://me:pw@db:5432/x") == fault.replace('"me"', '"***"')
