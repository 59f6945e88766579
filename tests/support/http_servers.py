"""Servers that misbehave below HTTP, for what a fake registry cannot do."""

import contextlib
import socket
import threading


@contextlib.contextmanager
def scripted_server(*connections):
    """Listen on loopback; each connection is handled by the next function, given the socket. Yields ``host:port``."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def serve():
        for handle in connections:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            accepted.append(connection)
            with contextlib.suppress(OSError):
                handle(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in accepted:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        thread.join()


def read_request(connection):
    """Read one request from a socket: its head and, by Content-Length, its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b"", b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


def say(answer):
    """Return a handler that reads a request and answers with the given bytes, then hangs up."""

    def handle(connection):
        read_request(connection)
        connection.sendall(answer)
        connection.close()

    return handle


def ok(body=b"", *headers):
    """Return an answer with status 200."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
