"""The example of a configuration shows what there is."""

import re
from pathlib import Path

import msgspec
import yaml

from homeserver.config import Config, documents, load

EXAMPLE = Path(__file__).parents[2] / "config" / "homeserver.example.yaml"


def uncommented() -> str:
    """The example with all its keys set."""
    return re.sub(r"^#(?=[^ \n]|  )", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)


def keys(value: object, path: str = "") -> set[str]:
    """The paths of all keys in a document; items of a list share theirs."""
    if isinstance(value, list):
        return {path, *(place for item in value for place in keys(item, path))}
    if isinstance(value, dict):
        return {path, *(place for key, item in value.items() for place in keys(item, f"{path}.{key}"))}
    return {path}


def test_it_loads_as_it_is() -> None:
    assert load(EXAMPLE).server_name == "example.org"


def test_it_loads_with_all_keys_set(tmp_path: Path) -> None:
    path = tmp_path / "homeserver.yaml"
    path.write_text(uncommented(), "utf-8")
    config = load(path)
    assert config.redis == "redis://127.0.0.1:6379/0"
    assert config.support.contacts[0].role == "m.role.admin"


def test_it_shows_every_key() -> None:
    shown = {key.removeprefix(".") for key in keys(yaml.safe_load(uncommented()))} - {""}
    known = {re.sub(r"\[…\]", "", place) for place in documents.places(msgspec.inspect.type_info(Config))}
    assert shown == known


def test_defaults_are_shown_as_they_are(tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text("server_name: example.org\n")
    full = tmp_path / "full.yaml"
    full.write_text(uncommented(), "utf-8")
    # Where the text says that it shows an example, there is no default to compare with.
    examples = {
        "redis",
        "old_signing_keys",
        "public_base_url",
        "tls",
        "support",
        "turn",
        "rtc",
        "policy_server",
        "server_notices",
        "email",
        "identity_servers",
    }
    shown = msgspec.structs.asdict(load(full))
    default = msgspec.structs.asdict(load(bare))
    shown["registration"] = msgspec.structs.replace(shown["registration"], shared_secret=None, policies=())
    shown["federation"] = msgspec.structs.replace(shown["federation"], trusted_ca_file=None, allow=None)
    assert {key: value for key, value in shown.items() if key not in examples} == {
        key: value for key, value in default.items() if key not in examples
    }
