"""An identity server on loopback, as the specification has it, and a server that deals with it."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from homeserver.config.sections import Federation, IdentityServers
from homeserver.core.hashes import decode_base64, encode_base64, encode_base64_url_safe
from homeserver.core.json import canonical
from homeserver.core.signing import SigningKey
from homeserver.core.x_matrix import parse, signed_request
from tests.api.server import TestServer, running_server
from tests.federation.certificates import Authority
from tests.openapi import Specification
from tests.outbound.scripted import Raw, Received, ScriptedServer, certify, ok, scripted_server

TOKEN: Final = "an-access-token-there"
KEY: Final = SigningKey.generate("0", seed=b"the key of the identity server!!")
PEPPER: Final = "pepper"

BAD_REQUEST, UNAUTHORIZED, NOT_FOUND = "400 Bad Request", "401 Unauthorized", "404 Not Found"


def failed(status: str, errcode: str) -> Raw:
    """A standard error response."""
    return ok({"errcode": errcode, "error": f"this is {errcode}"}, status=status)


@attrs.define
class IdentityServer:
    """Knows identifiers, sessions and invitations. `scripted` is what answers; `error` replaces every answer.

    With `wants_destination_is` a signature must be as the usual identity server wants it.
    """

    scripted: ScriptedServer
    verify_key: bytes = b""
    known: dict[tuple[str, str], str] = attrs.field(factory=dict)
    sessions: dict[tuple[str, str], tuple[str, str]] = attrs.field(factory=dict)
    invitations: list[Any] = attrs.field(factory=list)
    error: Raw | None = None
    wants_destination_is: bool = False
    calls: list[str] = attrs.field(factory=list)

    @property
    def name(self) -> str:
        """What clients call it."""
        return f"127.0.0.1:{self.scripted.port}"

    @property
    def access(self) -> dict[str, str]:
        """What clients send to have it dealt with."""
        return {"id_server": self.name, "id_access_token": TOKEN}

    def answer(self, received: Received) -> Raw:
        """As the identity service API says."""
        call = received.target.removeprefix("/_matrix/identity/v2/")
        self.calls.append(call)
        body: Any = json.loads(received.body) if received.body else None
        if self.error is not None:
            return self.error
        if call == "3pid/unbind":
            return self._unbind(received, body)
        if received.headers.get("authorization") != f"Bearer {TOKEN}":
            return failed(UNAUTHORIZED, "M_UNKNOWN_TOKEN")
        match call:
            case "hash_details":
                return ok({"lookup_pepper": PEPPER, "algorithms": ["none", "sha256"]})
            case "lookup":
                assert (body["algorithm"], body["pepper"]) == ("sha256", PEPPER)
                hashes = {_hashed(medium, address): mxid for (medium, address), mxid in self.known.items()}
                found = {each: hashes[each] for each in body["addresses"] if each in hashes}
                return ok({"mappings": found})
            case "3pid/bind":
                validated = self.sessions.get((body["sid"], body["client_secret"]))
                if validated is None:
                    return failed(NOT_FOUND, "M_NO_VALID_SESSION")
                self.known[validated] = body["mxid"]
                return ok({"medium": validated[0], "address": validated[1], "mxid": body["mxid"]})
            case "store-invite":
                self.invitations.append(body)
                return ok(self.stored())
        return failed(NOT_FOUND, "M_UNRECOGNIZED")

    def stored(self) -> dict[str, Any]:
        """What it says of an invitation that it keeps."""
        url = f"https://{self.name}/_matrix/identity/v2/pubkey/isvalid"
        key = {"public_key": encode_base64(KEY.verify_key), "key_validity_url": url}
        return {"token": f"token{len(self.invitations)}", "public_keys": [key], "display_name": "b...@e..."}

    def _unbind(self, received: Received, body: Any) -> Raw:
        signature = parse(received.headers["authorization"])
        said = signed_request("POST", received.target, signature.origin, None, body)
        said["destination_is" if self.wants_destination_is else "destination"] = self.name
        if not _verifies(said, signature.signature, self.verify_key):
            return failed(UNAUTHORIZED, "M_UNAUTHORIZED")
        self.known.pop((body["threepid"]["medium"], body["threepid"]["address"]), None)
        return ok({})


@attrs.frozen
class Identified:
    """A server, and the identity server that it deals with."""

    server: TestServer
    identity: IdentityServer


@asynccontextmanager
async def serving_identity(
    database_url: str,
    folder: Path,
    specification: Specification | None,
    authority: Authority,
    *,
    allow: tuple[str, ...] | None = None,
    allow_private: bool = True,
    **options: Any,
) -> AsyncIterator[Identified]:
    """Both of them; `allow` are the patterns of `identity_servers`."""
    sections = {
        "identity_servers": IdentityServers(allow=allow),
        "federation": Federation(allow_private_addresses=allow_private, trusted_ca_file=authority.file),
        **options,
    }
    async with (
        scripted_server(certify(authority, "127.0.0.1"), lambda _: ok({})) as scripted,
        running_server(database_url, folder, specification, **sections) as server,
    ):
        identity = IdentityServer(scripted, server.server.services.trust.client.identity.key.verify_key)
        scripted.answer = identity.answer
        yield Identified(server, identity)


def _hashed(medium: str, address: str) -> str:
    return encode_base64_url_safe(hashlib.sha256(f"{address} {medium} {PEPPER}".encode()).digest())


def _verifies(said: Any, signature: str, verify_key: bytes) -> bool:
    try:
        VerifyKey(verify_key).verify(canonical(said), decode_base64(signature))
    except BadSignatureError:
        return False
    return True
