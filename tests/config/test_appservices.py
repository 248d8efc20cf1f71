"""The registrations of application services, and what is said about wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from homeserver.config import ConfigError, checks, load
from homeserver.config.appservices import Namespace, load_registrations
from homeserver.config.sections import Config

EXAMPLE = """
id: "IRC Bridge"
url: "http://127.0.0.1:1234"
as_token: "a token"
hs_token: "another-token"
sender_localpart: "_irc_bot"
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
de.sorunome.msc2409.push_ephemeral: true
"""
GOOD: dict[str, Any] = {
    "id": "irc",
    "url": None,
    "as_token": "a",
    "hs_token": "b",
    "sender_localpart": "bot",
    "namespaces": {"users": [{"regex": "@irc_", "exclusive": True}]},
}


def config_of(folder: Path, *files: str) -> Config:
    for index, text in enumerate(files):
        (folder / f"{index}.yaml").write_text(text)
    path = folder / "homeserver.yaml"
    names = ", ".join(f"{index}.yaml" for index in range(len(files)))
    path.write_text(f"server_name: example.org\nappservices: [{names}]\n")
    return load(path)


def test_a_registration_is_read(tmp_path: Path) -> None:
    config = config_of(tmp_path, EXAMPLE.replace("a token", "a-token"), json.dumps(GOOD))
    first, second = load_registrations(config)
    assert (first.id, first.url, first.as_token) == ("IRC Bridge", "http://127.0.0.1:1234", "a-token")
    assert first.namespaces.users == (Namespace("@_irc_bridge_.*", exclusive=True),)
    assert first.namespaces.aliases == (Namespace("#_irc_bridge_.*", exclusive=False),)
    assert first.rate_limited
    assert (second.id, second.url, second.namespaces.rooms) == ("irc", None, ())
    checks.check_files(config)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"id": None}, "id: is missing: add it, it must be text that is not empty"),
        ({"as_token": None}, "as_token: is missing: add it, it must be text that is not empty"),
        ({"as_token": 7}, "as_token: (not shown): must be text that is not empty: put it in quotes"),
        (
            {"as_token": "a b"},
            "as_token: (not shown): must be of ASCII characters without blanks: make another one",
        ),
        ({"namespaces": None}, "namespaces: is missing: add it, it must be `key: value` lines"),
        (
            {"namespaces": {"users": [{"regex": "@a"}]}},
            "namespaces.users[0].exclusive: is missing: add it, it must be true or false",
        ),
        (
            {"namespaces": {"aliases": [{"regex": "#(", "exclusive": True}]}},
            "namespaces.aliases[0].regex: #(: is not a regular expression",
        ),
        ({"sender_localpart": "a" * 255}, "sender_localpart: "),
        ({"url": "localhost:29318"}, "url: localhost:29318: is not a web address: write https://HOST"),
        ({"rate_limited": "no"}, "rate_limited: no: must be true or false: without quotes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, object], line: str) -> None:
    config = config_of(tmp_path, json.dumps({**GOOD, **changes}))
    for check in (load_registrations, checks.check_files):
        with pytest.raises(ConfigError) as caught:
            check(config)
        assert str(caught.value).startswith(f"appservices[0] (0.yaml): {line}")


@pytest.mark.parametrize("key", ["id", "as_token", "sender_localpart"])
def test_two_that_could_be_confused_are_refused(tmp_path: Path, key: str) -> None:
    other = {"id": "xmpp", "as_token": "c", "hs_token": "b", "sender_localpart": "other", "namespaces": {}}
    config = config_of(tmp_path, json.dumps(GOOD), json.dumps({**other, key: GOOD[key]}))
    with pytest.raises(ConfigError) as caught:
        load_registrations(config)
    text = str(caught.value)
    assert text.startswith(f"appservices[1] (1.yaml): {key}: ")
    assert text.endswith("is another application service's, too: change one of them")


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^appservices\[0\].*line 1"):
        load_registrations(config_of(tmp_path, "id: ["))
