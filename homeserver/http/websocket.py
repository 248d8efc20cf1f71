"""WebSockets: a conversation of messages on what began as an HTTP request. Spec: RFC 6455.

wsproto knows the frames. What is here sits between it and the connection: `receive` takes in what the client sends, and
whoever serves it generates what `text`, `ping`, `close` and `replies` give. The response's body is that generator, so
that nothing is made before the client has taken what went before.

To be loaded with the first WebSocket only: few servers ever see one.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from homeserver.http.upgrades import Close

MOST_BYTES: Final = 65_536
"""Of a message of the client."""

MOST_MESSAGES: Final = 16
"""Of the client that nobody has read yet."""


class WebSocket:
    """The server's end."""

    def __init__(self, timers: IReactorTime) -> None:
        self.is_heard = True
        """Whether the client has sent anything since this was last set to False."""
        self._timers = timers
        self._connection = Connection(ConnectionType.SERVER)
        self._messages: deque[bytes] = deque()
        self._begun = bytearray()
        self._pong: bytes | None = None
        self._goodbye: CloseConnection | None = None
        self._waiting: Deferred[None] | None = None
        self._on_input: Callable[[], None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the client has said goodbye, or what makes no sense: `replies` answers, then nothing follows."""
        return self._goodbye is not None or self._connection.state is not ConnectionState.OPEN

    def receive(self, data: bytes) -> None:
        """Take in what the client has sent."""
        if not data or self.is_over:
            return
        self.is_heard = True
        self._connection.receive_data(data)
        for event in self._connection.events():
            if self._goodbye is not None:
                break
            if isinstance(event, TextMessage):
                self._take(event.data, is_whole=event.message_finished)
            elif isinstance(event, BytesMessage):
                self._goodbye = CloseConnection(Close.UNSUPPORTED, "messages are text here")
            elif isinstance(event, Ping):
                # "MAY elect to send a Pong frame for only the most recently processed Ping frame"
                self._pong = bytes(event.payload)
            elif isinstance(event, CloseConnection):
                self._goodbye = event.response()
        if self._has_input:
            self._wake()
            if self._on_input is not None:
                self._on_input()

    def tell(self, on_input: Callable[[], None]) -> None:
        """Call `on_input` when the client has sent something that is to be answered, which may be so already."""
        self._on_input = on_input
        if self._has_input:
            on_input()

    async def until_message(self, *, within_s: float) -> AsyncGenerator[bytes, None]:
        """What the client is owed until its message is there, the conversation is over, or the time is up."""
        patience = self._timers.callLater(within_s, self._wake)
        try:
            while not self._messages and not self.is_over and patience.active():
                if data := self.replies():
                    yield data
                else:
                    self._waiting = Deferred()
                    await self._waiting
        finally:
            if patience.active():
                patience.cancel()

    def received(self) -> bytes | None:
        """The client's next message, which is UTF-8, if there is one."""
        return self._messages.popleft() if self._messages else None

    def replies(self) -> bytes:
        """What the client is owed: the reply to its last ping, and to its goodbye."""
        data = b""
        if self._pong is not None and self._connection.state is ConnectionState.OPEN:
            data += self._connection.send(Pong(self._pong))
            self._pong = None
        state = self._connection.state
        if self._goodbye is not None and state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            data += self._connection.send(self._goodbye)
        return data

    def text(self, body: bytes) -> bytes:
        """A message with this text, which is UTF-8."""
        return bytes(self._connection.send(TextMessage(body.decode())))

    def ping(self) -> bytes:
        """Ask whether the client is there."""
        return bytes(self._connection.send(Ping()))

    def close(self, code: int, reason: str = "") -> bytes:
        """Say goodbye; nothing can be sent after that."""
        if self._connection.state is not ConnectionState.OPEN:
            return self.replies()
        return bytes(self._connection.send(CloseConnection(code, reason or None)))

    def _take(self, part: str, *, is_whole: bool) -> None:
        # The parts may be many and small, or empty: only their bytes are kept.
        self._begun += part.encode()
        if len(self._begun) > MOST_BYTES:
            self._goodbye = CloseConnection(Close.TOO_LARGE, "the message is too large")
            return
        if not is_whole:
            return
        self._messages.append(bytes(self._begun))
        self._begun.clear()
        if len(self._messages) > MOST_MESSAGES:
            self._goodbye = CloseConnection(Close.POLICY, "too many messages")

    @property
    def _has_input(self) -> bool:
        """Whether there is anything that nobody has read or answered."""
        return bool(self._messages) or self._pong is not None or self._goodbye is not None

    def _wake(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)
