"""Servers on loopback that send any bytes, valid HTTP or not."""

import contextlib
import socket
import ssl
import threading


@contextlib.contextmanager
def scripted_server(*handlers, tls=None):
    """Listen on loopback; each handler gets the socket of one connection. Yields ``host:port``.

    *tls* is a pair of certificate and key file.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)

    def serve():
        for handle in handlers:
            try:
                connection, _ = listener.accept()
                if tls:
                    connection = context.wrap_socket(connection, server_side=True)
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
    """Read one request from a socket; return its head and its body."""
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


def respond(response):
    """Return a handler that reads a request, sends *response* and closes the connection."""

    def handle(connection):
        read_request(connection)
        connection.sendall(response)
        connection.close()

    return handle


def ok(body=b"", *headers):
    """Return a response with status 200."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
