"""Loading the configuration file."""

import ipaddress
import re
from pathlib import Path

import msgspec

from homeserver.config import documents
from homeserver.config.contact import check_email, check_identity_servers, check_policies
from homeserver.config.errors import ConfigError
from homeserver.config.sections import Config
from homeserver.config.urls import split, web_url
from homeserver.core.errors import InvalidParam
from homeserver.core.hashes import decode_base64
from homeserver.core.identifiers import parse_server_name, parse_user_id
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.server_keys import is_key_id
from homeserver.core.signing import ALGORITHM

DATABASES = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"

ENCRYPTION = "encryption_enabled_by_default_for_room_type"

_TURN_URI = re.compile(r"turns?:[0-9A-Za-z._\[\]:-]{1,255}(\?transport=(udp|tcp))?")
_SERVER_PATTERN = re.compile(r"[0-9A-Za-z.:*?\[\]-]{1,260}")


def load(path: Path) -> Config:
    """The configuration in the YAML file at `path`, checked as far as the file itself goes.

    `homeserver.config.checks` looks at the machine: files, ports.
    Errors: ConfigError.
    """
    path = path.absolute()
    if not path.exists():
        remedy = "is not there: correct the path, or make it with homeserver init --server-name NAME"
        raise ConfigError("--config", path, remedy)
    document = documents.read(path, "--config")
    data_dir = document.setdefault("data_dir", "data")
    if document.get(ENCRYPTION) is False:
        # What YAML takes an `off` without quotes for.
        document[ENCRYPTION] = "off"
    document.setdefault("database", f"sqlite:///{data_dir}/homeserver.db")
    document.setdefault("signing_key_path", f"{data_dir}/signing.key")
    config = documents.convert(document, Config, path.parent)
    _check_names(config)
    _check_listeners(config)
    _check_proxies(config)
    _check_support(config)
    _check_turn(config)
    for index, transport in enumerate(config.rtc.transports):
        web_url(f"rtc.transports[{index}].livekit_service_url", transport.livekit_service_url)
    _check_federation(config)
    check_email(config)
    check_policies(config)
    check_identity_servers(config)
    _check_old_keys(config)
    return msgspec.structs.replace(
        config,
        database=_database_url(config.database, path.parent),
        redis=_redis_url(config.redis),
        public_base_url=web_url("public_base_url", config.public_base_url),
    )


def _check_names(config: Config) -> None:
    try:
        parse_server_name(config.server_name)
    except InvalidParam as error:
        raise ConfigError(
            "server_name", config.server_name, "is not a server name: write a domain such as example.org"
        ) from error
    if config.default_room_version not in ROOM_VERSIONS:
        known = ", ".join(ROOM_VERSIONS)
        raise ConfigError(
            "default_room_version", config.default_room_version, f"is not known: use one of {known}"
        )


def _check_listeners(config: Config) -> None:
    if not config.listeners:
        raise ConfigError("listeners", [], "is empty: add {bind: 127.0.0.1, port: 8008}, or remove the key")
    seen: set[tuple[str, int]] = set()
    for index, listener in enumerate(config.listeners):
        if listener.tls and config.tls is None:
            raise ConfigError(
                f"listeners[{index}].tls",
                value=True,
                remedy="needs a certificate: add tls: {certificate: FILE, private_key: FILE}",
            )
        if not listener.resources:
            raise ConfigError(
                f"listeners[{index}].resources", [], "serves nothing: name a resource, or remove the key"
            )
        address = (listener.bind, listener.port)
        if address in seen and listener.port:
            raise ConfigError(
                f"listeners[{index}].port",
                listener.port,
                f"another listener has this port of {listener.bind} already: choose another port",
            )
        seen.add(address)


def _check_proxies(config: Config) -> None:
    for index, network in enumerate(config.trusted_proxies):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(
                f"trusted_proxies[{index}]",
                network,
                "is not an address or network: write 10.0.0.1 or 10.0.0.0/24",
            ) from error


def _check_support(config: Config) -> None:
    for index, contact in enumerate(config.support.contacts):
        key = f"support.contacts[{index}]"
        if contact.matrix_id is None and contact.email_address is None:
            raise ConfigError(key, None, "leads nowhere: add matrix_id or email_address")
        if contact.matrix_id is not None:
            try:
                parse_user_id(contact.matrix_id)
            except InvalidParam as error:
                raise ConfigError(
                    f"{key}.matrix_id", contact.matrix_id, f"{error.message}: write @name:example.org"
                ) from error
    web_url("support.page", config.support.page)


def _check_turn(config: Config) -> None:
    section = config.turn
    if section is None:
        return
    for index, uri in enumerate(section.uris):
        if not _TURN_URI.fullmatch(uri):
            remedy = "is not a TURN server's address: write turn:HOST:3478?transport=udp, or turns:HOST"
            raise ConfigError(f"turn.uris[{index}]", uri, remedy)
    if section.shared_secret is None and None in (section.username, section.password):
        raise ConfigError("turn", None, "needs shared_secret, or username and password: add them")


def _check_federation(config: Config) -> None:
    section = config.federation
    for key, patterns in (("allow", section.allow or ()), ("deny", section.deny)):
        for index, pattern in enumerate(patterns):
            if not _SERVER_PATTERN.fullmatch(pattern):
                raise ConfigError(
                    f"federation.{key}[{index}]",
                    pattern,
                    'matches no server name: write example.org or "*.example.org"',
                )
    for index, name in enumerate(section.key_notaries):
        place = f"federation.key_notaries[{index}]"
        try:
            parse_server_name(name)
        except InvalidParam as error:
            raise ConfigError(
                place, name, "is not a server name: write a domain such as matrix.org"
            ) from error
        if name == config.server_name:
            raise ConfigError(place, name, "is this server itself: remove it")


def _check_old_keys(config: Config) -> None:
    seen: set[str] = set()
    for index, old in enumerate(config.old_signing_keys):
        place = f"old_signing_keys[{index}]"
        if not is_key_id(old.key_id) or not old.key_id.startswith(f"{ALGORITHM}:"):
            raise ConfigError(f"{place}.key_id", old.key_id, "is not a key's name: write ed25519:VERSION")
        if old.key_id in seen:
            raise ConfigError(f"{place}.key_id", old.key_id, "is there twice: remove one of them")
        seen.add(old.key_id)
        try:
            length = len(decode_base64(old.key))
        except ValueError:
            length = 0
        if length != 32:
            raise ConfigError(f"{place}.key", old.key, "must be the public key: 32 bytes in Base64")


def _database_url(url: str, folder: Path) -> str:
    """The URL with SQLite's path made absolute."""
    parts = split("database", url, DATABASES)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return f"sqlite:///{folder / url.removeprefix('sqlite:///')}"
    if parts.scheme in {"postgresql", "postgres"} and len(parts.path) > 1:
        return url
    raise ConfigError("database", documents.shown_value("database", url), f"write {DATABASES}")


def _redis_url(url: str | None) -> str | None:
    wanted = "redis://HOST:PORT/0 (or rediss:// for TLS)"
    if url is not None and split("redis", url, wanted).scheme not in {"redis", "rediss", "unix"}:
        raise ConfigError("redis", documents.shown_value("redis", url), f"write {wanted}")
    return url
