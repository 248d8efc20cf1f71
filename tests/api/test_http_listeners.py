"""Listening: TLS, certificates that are renewed, and ports that cannot be had."""

import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory

from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.limits import HttpLimits
from homeserver.http.listen import CertificateError, ListenError, listen
from homeserver.http.response import Response
from homeserver.http.tls import CHECK_EVERY_MS, RenewableCertificate
from homeserver.http.writer import PIECE, writer_for
from tests.api.http_harness import (
    REACTOR,
    ManualClock,
    RawClient,
    ServerUnderTest,
    request,
    serving,
    turns,
    until,
)

BIG = 8_000_000


@attrs.define
class Pair:
    """A certificate and its key, in files."""

    certificate: Path
    private_key: Path

    def write(self, name: str, *, key_only: bool = False) -> None:
        """A new certificate for `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        if not key_only:
            self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def load(self, clock: ManualClock) -> RenewableCertificate:
        return RenewableCertificate(self.certificate, self.private_key, clock)


@attrs.frozen
class Api:
    @endpoint("GET", "/", auth=Auth.NONE)
    async def get(self) -> JsonObject:
        return {}

    @endpoint("GET", "/big", auth=Auth.NONE)
    async def big(self) -> Response:
        return Response(200, (), b"x" * BIG)

    @endpoint("GET", "/stream", auth=Auth.NONE)
    async def stream(self) -> Response:
        async def parts() -> AsyncGenerator[bytes, None]:
            for _ in range(80):
                yield b"x" * 100_000

        return Response(200, ((b"Content-Length", b"%d" % BIG),), parts())


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path / "certificate.pem", tmp_path / "key.pem")
    pair.write("first")
    return pair


async def connect_with_tls(server: ServerUnderTest) -> RawClient:
    connected: Deferred[RawClient] = Deferred()

    class Client(RawClient):
        def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
            connected.callback(self)

    factory = ClientFactory()
    factory.protocol = Client
    factory.noisy = False
    tls = TLSMemoryBIOFactory(CertificateOptions(), True, factory)  # noqa: FBT003 - Twisted's signature
    REACTOR.connectTCP("127.0.0.1", server.number, cast("Any", tls))
    client = await connected
    server.clients.append(client)
    return client


def name_at(port: int) -> str:
    """Whom the certificate names that is shown at this port; asked from another thread."""
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    (attribute,) = x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(
        NameOID.COMMON_NAME
    )
    return str(attribute.value)


async def test_requests_over_tls(pair: Pair) -> None:
    async with serving(Api(), certificate=pair.load(ManualClock())) as server:
        client = await connect_with_tls(server)
        for _ in range(3):
            assert (await client.get("/")).body == b"{}"
        connection = cast("Any", client.transport).getHandle()
        assert connection.get_protocol_version_name() in ("TLSv1.2", "TLSv1.3")
        reply = await client.ask(request("GET", "/", "Connection: close"))
        assert reply.headers["connection"] == "close"
        await client.closed()
        assert not client.is_reset


@pytest.mark.parametrize("path", ["/big", "/stream"])
async def test_large_responses_over_tls(pair: Pair, path: str) -> None:
    async with serving(Api(), certificate=pair.load(ManualClock())) as server:
        client = await connect_with_tls(server)
        client.send(request("GET", path) + request("GET", "/"))
        assert len((await client.read_reply()).body) == BIG
        assert (await client.read_reply()).body == b"{}"


@pytest.mark.parametrize("path", ["/big", "/stream"])
async def test_a_client_with_tls_that_reads_nothing_is_cut(pair: Pair, path: str) -> None:
    limits = HttpLimits()
    async with serving(Api(), limits=limits, certificate=pair.load(ManualClock())) as server:
        client = await connect_with_tls(server)
        await client.get("/")
        client.stop_reading()
        client.send(request("GET", path) * 1_000)
        await until(lambda: any(each._written for each in server.connections()))
        while server.connections():
            server.pass_time(limits.write_stall_ms)
            await turns()


def test_room_in_the_transport_is_told_only_to_who_waits_for_it() -> None:
    """Else a long poll would get the time limit of a response."""

    class Transport:
        written = 0

        def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802 - Twisted's name
            self.producer = producer

        def write(self, data: bytes) -> None:
            self.written += len(data)
            if len(data) == PIECE:
                self.producer.pauseProducing()

    transport, told = Transport(), list[str]()
    writer = writer_for(
        cast("Any", transport), lambda: told.append("written"), lambda: told.append("progress")
    )
    assert writer.write(b"a")
    transport.producer.pauseProducing()
    transport.producer.resumeProducing()
    assert told == []
    assert not writer.write(b"a" * PIECE + b"b")
    assert transport.written == 1 + PIECE
    transport.producer.resumeProducing()
    assert told == ["progress", "written"]
    assert transport.written == 1 + PIECE + 1
    transport.producer.resumeProducing()
    assert len(told) == 2


async def test_a_refusal_over_tls_arrives(pair: Pair) -> None:
    limits = HttpLimits()
    async with serving(Api(), limits=limits, certificate=pair.load(ManualClock())) as server:
        client = await connect_with_tls(server)
        reply = await client.ask(request("POST", "/", "Content-Length: 100000000"))
        assert reply.status == 413
        server.pass_time(limits.closing_ms)
        await client.closed()


async def test_old_versions_of_tls_are_refused(pair: Pair) -> None:
    def connect(port: int) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", port)) as plain:
            connection = SSL.Connection(context, plain)
            connection.set_connect_state()
            connection.do_handshake()

    async with serving(Api(), certificate=pair.load(ManualClock())) as server:
        with pytest.raises(SSL.Error):
            await deferToThread(connect, server.number)


async def test_a_renewed_certificate_is_used_without_a_restart(pair: Pair) -> None:
    clock = ManualClock()
    certificate = pair.load(clock)
    async with serving(Api(), certificate=certificate) as server:
        old = await connect_with_tls(server)
        assert await deferToThread(name_at, server.number) == "first"
        pair.write("second")
        assert await deferToThread(name_at, server.number) == "first"
        with structlog.testing.capture_logs() as lines:
            for _ in range(3):
                clock.now_ms += CHECK_EVERY_MS
                assert await deferToThread(name_at, server.number) == "second"
        assert [line["event"] for line in lines] == ["certificate renewed"]
        assert (await old.get("/")).status == 200


async def test_half_a_renewal_leaves_the_old_certificate_until_it_is_whole(pair: Pair) -> None:
    clock = ManualClock()
    certificate = pair.load(clock)
    async with serving(Api(), certificate=certificate) as server:
        pair.write("second", key_only=True)
        clock.now_ms += CHECK_EVERY_MS
        assert await deferToThread(name_at, server.number) == "first"
        pair.certificate.unlink()
        clock.now_ms += CHECK_EVERY_MS
        assert await deferToThread(name_at, server.number) == "first"
        pair.write("third")
        clock.now_ms += CHECK_EVERY_MS
        assert await deferToThread(name_at, server.number) == "third"


def test_certificates_that_cannot_be_used(pair: Pair) -> None:
    clock = ManualClock()
    pair.write("other", key_only=True)
    with pytest.raises(CertificateError, match=r"key\.pem: .*does not fit .*certificate\.pem"):
        pair.load(clock)
    pair.private_key.write_text("no key")
    with pytest.raises(CertificateError, match=r"key\.pem: holds no key"):
        pair.load(clock)
    pair.certificate.write_text("no certificate")
    with pytest.raises(CertificateError, match=r"certificate\.pem: holds no certificate"):
        pair.load(clock)
    pair.private_key.unlink()
    with pytest.raises(CertificateError, match=r"key\.pem: cannot be read \(No such file"):
        pair.load(clock)


def test_a_key_with_a_passphrase_is_refused_instead_of_asking_the_terminal(pair: Pair) -> None:
    key = serialization.load_pem_private_key(pair.private_key.read_bytes(), None)
    pair.private_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    with pytest.raises(CertificateError, match="without a passphrase"):
        pair.load(ManualClock())


@attrs.frozen
class Address:
    bind: str
    port: int


async def test_a_port_that_is_taken_is_reported_with_a_remedy() -> None:
    async with serving(Api()) as server:
        with pytest.raises(ListenError) as raised:
            listen(REACTOR, Address("127.0.0.1", server.number), server.server)
        error = raised.value
        assert (error.bind, error.port) == ("127.0.0.1", server.number)
        assert str(error) == (
            f"cannot listen on port {server.number} of 127.0.0.1: another program has it: "
            "stop that one, or configure another port"
        )
        with pytest.raises(ListenError, match="no such address"):
            listen(REACTOR, Address("192.0.2.1", 0), server.server)
