"""The configuration file: what it means, and what is said about wrong ones."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from homeserver.cli.main import main
from homeserver.config import Config, ConfigError, load
from homeserver.config.sections import Listener, RateLimits, Resource
from homeserver.http.endpoints import Limit

NAME = "server_name: example.org\n"
OLD_KEY = "{key_id: ed25519:a, key: " + "A" * 43 + ", expired_ts: 1}"


def load_text(folder: Path, text: str) -> Config:
    path = folder / "homeserver.yaml"
    path.write_text(text, "utf-8")
    return load(path)


def test_only_the_name_has_to_be_given(tmp_path: Path) -> None:
    config = load_text(tmp_path, NAME)
    assert config.server_name == "example.org"
    assert config.data_dir == tmp_path / "data"
    assert config.database == f"sqlite:///{tmp_path}/data/homeserver.db"
    assert config.signing_key_path == tmp_path / "data" / "signing.key"
    assert config.listeners == (
        Listener(bind="127.0.0.1", port=8008, resources=(Resource.CLIENT, Resource.FEDERATION)),
    )
    assert not config.registration.enabled
    assert config.federation.verify_tls
    assert config.default_room_version == "12"


@pytest.mark.parametrize("written", ["off", "'off'", "false", "invite", "all"])
def test_encryption_by_default(tmp_path: Path, written: str) -> None:
    """YAML has an `off` of its own."""
    config = load_text(tmp_path, f"{NAME}encryption_enabled_by_default_for_room_type: {written}\n")
    expected = written if written in ("invite", "all") else "off"
    assert config.encryption_enabled_by_default_for_room_type == expected


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = """
        server_name: example.org
        data_dir: store
        tls: {certificate: tls/cert.pem, private_key: /etc/key.pem}
        federation: {trusted_ca_file: ca.pem}
        appservices: [irc.yaml]
    """
    (tmp_path / "homeserver.yaml").write_text(text)
    config = load(Path("../homeserver.yaml"))
    folder = config.data_dir.parent
    assert folder.resolve() == tmp_path.resolve()
    # The database and the key follow data_dir.
    assert config.database == f"sqlite:///{folder}/store/homeserver.db"
    assert config.signing_key_path == folder / "store" / "signing.key"
    assert config.tls is not None
    assert config.tls.certificate == folder / "tls" / "cert.pem"
    assert config.tls.private_key == Path("/etc/key.pem")
    assert config.federation.trusted_ca_file == folder / "ca.pem"
    assert config.appservices == (folder / "irc.yaml",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sqlite:///db/x.sqlite", "sqlite:///{folder}/db/x.sqlite"),
        ("sqlite:////var/lib/x.sqlite", "sqlite:////var/lib/x.sqlite"),
        ("postgresql://u:p@127.0.0.1:5433/matrix", "postgresql://u:p@127.0.0.1:5433/matrix"),
    ],
)
def test_the_database_may_be_anywhere(tmp_path: Path, written: str, meant: str) -> None:
    config = load_text(tmp_path, f"{NAME}database: {written}\n")
    assert config.database == meant.format(folder=tmp_path)


def test_a_key_without_a_value_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    assert load_text(tmp_path, NAME + "registration:\n  # enabled: true\nlisteners:\n") == load_text(
        tmp_path, NAME
    )


def test_a_public_address_ends_without_a_slash(tmp_path: Path) -> None:
    config = load_text(tmp_path, NAME + "public_base_url: https://matrix.example.org/\n")
    assert config.public_base_url == "https://matrix.example.org"


def test_every_rate_limit_can_be_set() -> None:
    assert set(RateLimits.__struct_fields__) == {"enabled", *(limit.value for limit in Limit)}


WRONG = [
    # Unknown and missing keys.
    ("", "server_name: is missing: add it, it must be text"),
    ("server_nam: x", "server_nam: unknown key: did you mean server_name?"),
    (NAME + "log: {lvl: INFO}", "log.lvl: unknown key: did you mean log.level?"),
    (
        NAME + "listeners: [{port: 1, adress: x}]",
        "listeners[0].adress: unknown key: remove it, or use one of port, bind, tls, resources",
    ),
    (
        NAME + "allow_guests: true",
        "allow_guests: unknown key here: did you mean registration.allow_guests?",
    ),
    (NAME + "listeners: [{bind: '::1'}]", "listeners[0].port: is missing: add it, it must be a whole number"),
    (NAME + "tls: {certificate: a}", "tls.private_key: is missing: add it, it must be a path"),
    # Values of the wrong kind.
    ("server_name: 5", "server_name: 5: must be text: put it in quotes"),
    (NAME + "default_room_version: 12", "default_room_version: 12: must be text"),
    (NAME + "listeners: [{port: 99999}]", "listeners[0].port: 99999: must be a whole number from 0 to 65535"),
    (NAME + "listeners: [{port: '80'}]", "listeners[0].port: 80: must be a whole number"),
    (NAME + "listeners: [{port: true}]", "listeners[0].port: true: must be a whole number"),
    (NAME + "listeners: {port: 80}", "listeners: {'port': 80}: must be a list, each item `key: value` lines"),
    (NAME + "listeners: [8008]", "listeners[0]: 8008: must be `key: value` lines (port, bind"),
    (
        NAME + "registration: {enabled: 'yes'}",
        "registration.enabled: yes: must be true or false: without quotes",
    ),
    (NAME + "log: {level: TRACE}", "log.level: TRACE: must be one of DEBUG, ERROR, INFO, WARNING"),
    (
        NAME + "listeners: [{port: 1, resources: [klient]}]",
        "listeners[0].resources[0]: klient: must be one of client, federation",
    ),
    *(
        (
            f"{NAME}encryption_enabled_by_default_for_room_type: {wrong}",
            f"encryption_enabled_by_default_for_room_type: {shown}: must be one of all, invite, off",
        )
        for wrong, shown in (("private", "private"), ("'on'", "on"), ("5", "5"))
    ),
    (NAME + "appservices: [5]", "appservices[0]: 5: must be a path"),
    (NAME + "data_dir: 5", "data_dir: 5: must be a path"),
    (NAME + "data_dir: ''", "data_dir: '': must be a path"),
    (
        NAME + "limits: {max_request_bytes: 5}",
        "limits.max_request_bytes: 5: must be a whole number from 65536",
    ),
    (
        NAME + "rate_limits: {joins: {per_second: 0, burst: 1}}",
        "rate_limits.joins.per_second: 0: must be a number above 0",
    ),
    # Values that make no sense.
    (
        NAME + "trusted_proxies: [10.0.0.1/8]",
        "trusted_proxies[0]: 10.0.0.1/8: is not an address or network: write",
    ),
    (
        "server_name: https://example.org",
        "server_name: https://example.org: is not a server name: write a domain",
    ),
    ('server_name: "a\\nb"', "server_name: 'a\\nb': is not a server name: write a domain"),
    (NAME + "default_room_version: '99'", "default_room_version: 99: is not known: use one of 1, 2, 3"),
    (NAME + "database: mysql://h/d", "database: mysql://h/d: write sqlite:///PATH or postgresql://"),
    (NAME + "database: sqlite://", "database: sqlite://: write sqlite:///PATH or postgresql://"),
    (NAME + "redis: 127.0.0.1:6379", "redis: 127.0.0.1:6379: write redis://HOST:PORT/0"),
    (
        NAME + "public_base_url: example.org",
        "public_base_url: example.org: is not a web address: write https://HOST",
    ),
    (
        NAME + "public_base_url: 'http://[::1'",
        "public_base_url: http://[::1: is not a URL: write https://HOST",
    ),
    (NAME + "listeners: []", "listeners: []: is empty: add {bind: 127.0.0.1, port: 8008}"),
    (
        NAME + "listeners: [{port: 1, tls: true}]",
        "listeners[0].tls: true: needs a certificate: add tls: {certificate",
    ),
    (
        NAME + "listeners: [{port: 1, resources: []}]",
        "listeners[0].resources: []: serves nothing: name a resource",
    ),
    (
        NAME + "listeners: [{port: 1}, {port: 1}]",
        "listeners[1].port: 1: another listener has this port of 127.0.0.1",
    ),
    (
        NAME + "support: {contacts: [{role: m.role.admin}]}",
        "support.contacts[0]: leads nowhere: add matrix_id or email_address",
    ),
    (
        NAME + "support: {contacts: [{role: m.role.admin, matrix_id: admin}]}",
        "support.contacts[0].matrix_id: admin: a user ID starts with @: write @name:example.org",
    ),
    (
        NAME + "rtc: {transports: [{livekit_service_url: 'wss://rtc.example'}]}",
        "rtc.transports[0].livekit_service_url: wss://rtc.example: is not a web address: write https://HOST",
    ),
    (NAME + "turn: {uris: ['turn:t'], username: me}", "turn: needs shared_secret, or username and password"),
    (
        NAME + "turn: {uris: ['stun:t'], shared_secret: x}",
        "turn.uris[0]: stun:t: is not a TURN server's address: write turn:HOST:3478",
    ),
    # Not YAML, or not what we read in it.
    ("a: [", "--config: {path}: line 1, column 5: expected the node content, but found '<stream end>'"),
    (
        "a: b: c",
        "--config: {path}: line 1, column 5: mapping values are not allowed here; correct the YAML there",
    ),
    ("- a", "--config: {path}: must hold `key: value` lines"),
    (NAME + NAME, "--config: {path}: line 2, column 1: the key 'server_name' is given twice"),
    (
        NAME + "log: {level: INFO, level: DEBUG}",
        "--config: {path}: line 2, column 20: the key 'level' is given twice",
    ),
    ("!!python/object:os.system x", "--config: {path}: line 1, column 1: could not determine a constructor"),
    ("? [a]\n: b", "--config: {path}: line 1, column 3: a key must be a plain word"),
    ("a: &x [*x]", "--config: {path}: line 1, column 4: found unconstructable recursive node"),
]


@pytest.mark.parametrize(("text", "line"), WRONG, ids=[line for _, line in WRONG])
def test_a_wrong_file_is_answered_by_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "homeserver.yaml"
    path.write_text(text)
    result = CliRunner().invoke(main, ["check-config", "--config", str(path)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"homeserver: {line.replace('{path}', str(path))}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "registration: {shared_secret: 12345678}",
        "registration: {shared_secet: 12345678}",
        "registraton: {shared_secret: 12345678}",
        "shared_secret: 12345678",
        "database: mysql://user:12345678@host/name",
        "database: mysql://user:a@/12345678@host/name",
        "redis: rediss+x://:12345678@host",
        "redis: 'redis://:12345678#@host'",
    ],
)
def test_secrets_are_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f"{NAME}{text}\n")
    assert "12345678" not in str(caught.value)


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f"server_name: {'x' * 10_000}!\n")
    assert len(str(caught.value)) < 250


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there: correct the path, or make it with homeserver init"):
        load(tmp_path / "none.yaml")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "homeserver.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text: save it as UTF-8"):
        load(tmp_path / "homeserver.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('federation: {allow: ["a/b"]}', "federation.allow[0]: a/b: matches no server name"),
        ('federation: {deny: [good.test, "a b"]}', "federation.deny[1]: a b: matches no server name"),
        ("federation: {key_notaries: [a_b]}", "federation.key_notaries[0]: a_b: is not a server name"),
        (
            "federation: {key_notaries: [example.org]}",
            "federation.key_notaries[0]: example.org: is this server",
        ),
        (
            "old_signing_keys: [{key_id: a_1, key: AA, expired_ts: 1}]",
            "old_signing_keys[0].key_id: a_1: is not a key's name: write ed25519:VERSION",
        ),
        (
            "old_signing_keys: [{key_id: 'ed25519:a', key: AA, expired_ts: 1}]",
            "old_signing_keys[0].key: AA: must be the public key: 32 bytes in Base64",
        ),
        (
            "old_signing_keys: [{key_id: 'ed25519:a', key: '!', expired_ts: 1}]",
            "old_signing_keys[0].key: !: must be the public key: 32 bytes in Base64",
        ),
        (
            "old_signing_keys: [" + ", ".join([OLD_KEY] * 2) + "]",
            "old_signing_keys[1].key_id: ed25519:a: is there twice",
        ),
        ("old_signing_keys: [{key_id: 'ed25519:a', key: AA}]", "old_signing_keys[0].expired_ts: is missing"),
    ],
)
def test_what_is_wrong_about_federation(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f"{NAME}{text}\n")
    assert str(caught.value).startswith(said)


def test_who_is_dealt_with(tmp_path: Path) -> None:
    closed = load_text(tmp_path, f"{NAME}federation: {{allow: []}}\n").federation
    assert (closed.allow, closed.deny) == ((), ())
    listed = load_text(
        tmp_path, f'{NAME}federation: {{allow: ["*.a.test:1", "[::1]"], deny: [b.test]}}\n'
    ).federation
    assert (listed.allow, listed.deny) == (("*.a.test:1", "[::1]"), ("b.test",))
