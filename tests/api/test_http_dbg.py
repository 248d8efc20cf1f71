from tests.api.http_harness import *
from tests.api.test_http_connections import slow_server, only, LIMITS
import os, struct, socket
from homeserver.http.protocol import HttpProtocol
async def test_x(monkeypatch):
    orig=HttpProtocol.dataReceived
    monkeypatch.setattr(HttpProtocol,'dataReceived',lambda s,d:(print('DR',len(d)),orig(s,d))[1])
    origc=HttpProtocol.connectionLost
    monkeypatch.setattr(HttpProtocol,'connectionLost',lambda s,d:(print('CL',d),origc(s,d))[1])
    async with slow_server() as (server, slow):
        for i in range(3):
            client = socket.create_connection(("127.0.0.1", server.number))
            await until(server.connections)
            client.send(request("GET","/poll"))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            for i in range(100): await turns(1)
            print(slow.started, slow.disconnected, server.connections())
