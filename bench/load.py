"""A lean client for measuring `edgecat serve` from another process.

    python bench/load.py PORT CONNECTIONS SECONDS|0 REQUESTS|0 < requests as bytes

It sends the HTTP request on standard input again and again on each connection, as soon as the
previous answer is complete. It prints its measurements as JSON. It uses no HTTP library, since it
shares the cores with the server.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter


def main() -> None:
    port, connections, seconds, count = (
        int(sys.argv[1]),
        int(sys.argv[2]),
        float(sys.argv[3]),
        int(sys.argv[4]),
    )
    request = sys.stdin.buffer.read()
    waiting = selectors.DefaultSelector()
    times: list[float] = []
    codes: Counter[str] = Counter()
    last = b""
    began = time.perf_counter()
    sent = 0
    started: dict[socket.socket, float] = {}

    def send(connection: socket.socket) -> bool:
        nonlocal sent
        if (count and sent >= count) or (seconds and time.perf_counter() - began >= seconds):
            waiting.unregister(connection)
            connection.close()
            return False
        sent += 1
        started[connection] = time.perf_counter()
        connection.sendall(request)
        return True

    open_connections = 0
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting.register(connection, selectors.EVENT_READ)
        open_connections += send(connection)
    while open_connections:
        for key, _ in waiting.select():
            connection = key.fileobj  # type: ignore[assignment]
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < length(
                answer
            ):
                piece = connection.recv(65536)
                if not piece:
                    raise ConnectionError("the server closed a connection")
                answer += piece
            times.append(time.perf_counter() - started[connection])
            codes[answer[9:12].decode()] += 1
            last = answer
            open_connections -= not send(connection)
    ended = time.perf_counter()
    print(
        json.dumps(
            {
                "seconds": ended - began,
                "times": times,
                "codes": codes,
                "last": last.partition(b"\r\n\r\n")[2].decode(),
            }
        )
    )


def length(answer: bytes) -> int:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length:")[2].split(b"\r\n")[0])


if __name__ == "__main__":
    main()
