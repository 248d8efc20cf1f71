"""Credentials for TURN servers that share a secret with this server: a user name with an expiry, and its HMAC.

See "A REST API For Access To TURN Services" (draft-uberti-behave-turn-rest), which coturn and others follow.
"""

import base64
import hashlib
import hmac

from homeserver.core.identifiers import UserID


def credentials(secret: str, user_id: UserID, *, expires_s: int) -> tuple[str, str]:
    """A user name and a password that the server accepts until `expires_s`, in seconds since the epoch."""
    username = f"{expires_s}:{user_id}"
    mac = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(mac).decode()
