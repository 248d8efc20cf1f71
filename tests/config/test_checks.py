"""What the configuration asks of the machine."""

import datetime as dt
import os
import socket
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from homeserver.config import Config, ConfigError, checks, load


def write_certificate(folder: Path, name: str, *, password: bytes | None = None) -> None:
    """A self-signed certificate and its key, `<name>.pem` and `<name>.key`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=subject, subject_name=subject, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


def config_of(folder: Path, text: str) -> Config:
    path = folder / "homeserver.yaml"
    path.write_text(f"server_name: example.org\n{text}\n")
    return load(path)


def tls(certificate: str, key: str) -> str:
    return f"listeners: [{{port: 8448, tls: true}}]\ntls: {{certificate: {certificate}, private_key: {key}}}"


def complaint(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        checks.check_files(config)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_all_is_well(tmp_path: Path) -> None:
    write_certificate(tmp_path, "a")
    config = config_of(tmp_path, tls("a.pem", "a.key") + "\nfederation: {trusted_ca_file: a.pem}")
    checks.check_files(config)
    assert (tmp_path / "data").is_dir()
    assert list((tmp_path / "data").iterdir()) == []


def test_files_that_are_not_used_are_not_asked_for(tmp_path: Path) -> None:
    checks.check_files(config_of(tmp_path, "tls: {certificate: none, private_key: none}"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            tls("none.pem", "a.key"),
            "tls.certificate: {folder}/none.pem: cannot be read (No such file or directory)",
        ),
        (
            tls("a.pem", "none.key"),
            "tls.private_key: {folder}/none.key: cannot be read (No such file or directory)",
        ),
        (tls("a.pem", "b.key"), "tls.private_key: {folder}/b.key: is not the key of tls.certificate"),
        (tls("a.pem", "a.pem"), "tls.private_key: {folder}/a.pem: must hold a private key in PEM form"),
        (
            tls("a.pem", "locked.key"),
            "tls.private_key: {folder}/locked.key: must hold a private key in PEM form",
        ),
        (tls("a.key", "a.key"), "tls.certificate: {folder}/a.key: must hold certificates in PEM form"),
        (
            "federation: {trusted_ca_file: a.key}",
            "federation.trusted_ca_file: {folder}/a.key: must hold certificates in PEM form",
        ),
        (
            "appservices: [none.yaml]",
            "appservices[0]: {folder}/none.yaml: cannot be read (No such file or directory)",
        ),
        ("data_dir: a.pem", "data_dir: {folder}/a.pem: cannot be written (File exists)"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, line: str) -> None:
    for name in ("a", "b"):
        write_certificate(tmp_path, name)
    write_certificate(tmp_path, "locked", password=b"x")
    # A path that is too long for one line is shortened: the end of it is not what is tested here.
    expected = line.format(folder=tmp_path)
    short = complaint(config_of(tmp_path, text)).split(": ")
    wanted = expected.split(": ")
    assert short[0] == wanted[0]
    assert short[2].startswith(wanted[2])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    assert "cannot be written (Permission denied)" in complaint(config_of(tmp_path, ""))


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = config_of(tmp_path, f"listeners: [{{port: 0}}, {{port: {port}}}]")
        with pytest.raises(ConfigError) as caught:
            checks.check_ports(config)
    line = (
        f"listeners[1].port: {port}: another program listens on 127.0.0.1:{port}: stop it, or choose another"
    )
    assert str(caught.value) == f"{line} port"
    checks.check_ports(config)


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    for address in ("192.0.2.1", "nonsense"):
        config = config_of(tmp_path, f"listeners: [{{bind: {address}, port: 0}}]")
        with pytest.raises(
            ConfigError, match=rf"^listeners\[0\].bind: {address}: is no address of this machine"
        ):
            checks.check_ports(config)


def test_ipv6_can_be_listened_on(tmp_path: Path) -> None:
    checks.check_ports(config_of(tmp_path, "listeners: [{bind: '::1', port: 0}]"))
