"""A connection to a process in a pod: its input, its outputs and its exit code, over the API's websockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlencode

from topcoat.errors import SchedulerError, SchedulerUnavailable
from topcoat.foreign_text import escaped, parse_json
from topcoat.schedulers.kubernetes.api_errors import refusal
from topcoat.schedulers.kubernetes.client import Client
from topcoat.schedulers.kubernetes.fields import items, text
from topcoat.schedulers.kubernetes.transport import CONNECT_TIMEOUT_S

if TYPE_CHECKING:
    from websocket import WebSocket

_STDIN, STDOUT, STDERR, _STATUS, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
# Version 5 can close the input; servers before 1.30 speak version 4.
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_PING_S = 30
_MAX_SILENT_PINGS = 3
_MAX_STATUS = 1 << 16
# What container runtimes write before the cause of a failed start.
_CAUSE = "unable to start container process: "


class Output(NamedTuple):
    """What a process wrote: to ``STDOUT`` or ``STDERR``."""

    channel: int
    data: bytes


class Channels:
    """A process in a pod.

    Attributes:
        exit_code: of the process, once ``outputs`` has ended.
        has_ended: whether ``outputs`` has ended.

    Raises:
        SchedulerError: the server cannot start the process, or loses it.
    """

    def __init__(
        self, client: Client, path: str, query: Mapping[str, str], command: Sequence[str], action: str
    ) -> None:
        """Connect to ``path``, a pod's ``/exec`` or ``/attach``."""
        self._action = action
        self._client = client
        self.exit_code: int | None = None
        url = f"{path}?{urlencode([*query.items(), *(('command', word) for word in command)])}"
        self._socket = _connect(client, url, action)
        self._can_close = self._socket.getsubprotocol() == _PROTOCOLS[0]
        self._sending = threading.Lock()
        self.has_ended = False

    def __enter__(self) -> Channels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close(timeout=1)
        # close() does nothing once the server has closed.
        self._socket.shutdown()  # type: ignore[no-untyped-call]

    def send(self, data: bytes) -> None:
        """Write to the input of the process."""
        self._send(bytes([_STDIN]) + data)

    def close_input(self) -> None:
        """Tell the process that its input has ended, if the server can."""
        if self._can_close and not self.has_ended:
            self._send(bytes([_CLOSE, _STDIN]))

    def resize(self, columns: int, rows: int) -> None:
        """Tell the process the size of the terminal."""
        self._send(bytes([_RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode())

    def outputs(self) -> Iterator[Output]:
        """Yield what the process writes until it ends."""
        from websocket import ABNF, WebSocketException, WebSocketTimeoutException

        status = b""
        silent_pings = 0
        try:
            while True:
                try:
                    opcode, frame = self._socket.recv_data_frame(control_frame=True)
                except WebSocketTimeoutException:
                    silent_pings += 1
                    if silent_pings > _MAX_SILENT_PINGS:
                        raise
                    with self._sending:
                        self._socket.ping()
                    continue
                silent_pings = 0
                if opcode == ABNF.OPCODE_CLOSE:
                    break
                if opcode not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not frame.data:
                    continue
                channel, data = frame.data[0], bytes(frame.data[1:])
                if channel in (STDOUT, STDERR) and data:
                    yield Output(channel, data)
                elif channel == _STATUS:
                    status = (status + data)[:_MAX_STATUS]
        except (WebSocketException, OSError) as error:
            if not status:
                raise self._client.unavailable(error) from error
        finally:
            self.has_ended = True
            # A thread that sends would wait for a server that no longer reads. TLS is not asked: it is that thread's.
            with contextlib.suppress(OSError, TypeError):
                socket.socket.shutdown(cast(socket.socket, self._socket.sock), socket.SHUT_RDWR)
        self.exit_code = self._exit_code(status)

    def _exit_code(self, status: bytes) -> int:
        """Return the exit code in the status that the server sends at the end."""
        try:
            document = parse_json(status) if status else None
        except ValueError:
            document = None
        if document is None:
            raise SchedulerUnavailable(f"{self._action}: the connection ended before the process did")
        if text(document, "status") == "Success":
            return 0
        causes = {text(cause, "reason"): text(cause, "message") for cause in items(document, "details", "causes")}
        code = causes.get("ExitCode", "")
        if code.isdecimal():
            return int(code)
        message = text(document, "message").rpartition(_CAUSE)[2]
        hint = "the image has no such program" if "not found" in message or "no such file" in message else None
        raise SchedulerError(f"{self._action}: {escaped(message)}", hint=hint)

    def _send(self, data: bytes) -> None:
        from websocket import WebSocketException

        try:
            with self._sending:
                self._socket.send_binary(data)
        except (WebSocketException, OSError):
            # The process has ended, or the connection; outputs() says which.
            return


def _connect(client: Client, url: str, action: str) -> WebSocket:
    import websocket

    configuration = client.api.configuration
    address = configuration.host.replace("http", "ws", 1)
    try:
        connection = websocket.create_connection(
            f"{address}{url}",
            timeout=CONNECT_TIMEOUT_S,
            header=[f"{name}: {value}" for name, value in client.headers().items()],
            subprotocols=list(_PROTOCOLS),
            suppress_origin=True,
            sslopt=_tls(configuration),
            enable_multithread=True,
            **_proxy(configuration),
        )
    except websocket.WebSocketBadStatusException as error:
        raise refusal(action, error.status_code, error.resp_body or b"", None) from error
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise client.unavailable(error) from error
    connection.settimeout(_PING_S)
    return connection


def _tls(configuration: Any) -> dict[str, Any]:
    import ssl

    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE}
    if not configuration.verify_ssl:
        options["check_hostname"] = False
    names = {
        "ca_certs": configuration.ssl_ca_cert if configuration.verify_ssl else None,
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": getattr(configuration, "tls_server_name", None),
    }
    return {**options, **{name: value for name, value in names.items() if value}}


def _proxy(configuration: Any) -> dict[str, Any]:
    from urllib.parse import urlsplit

    if not configuration.proxy:
        return {}
    proxy = urlsplit(configuration.proxy)
    options: dict[str, Any] = {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port, "proxy_type": "http"}
    if configuration.no_proxy:
        options["http_no_proxy"] = configuration.no_proxy.split(",")
    return options
