import contextlib
import email.utils
import gc
import socket
import threading
import time

import pytest

from tests.support.http_servers import ok, read_request, respond, scripted_server
from tests.support.notices import recorded_notices
from tests.support.places import Place, response
from topcoat.errors import RegistryError, RegistryUnavailable
from topcoat.http.request import Body
from topcoat.registry.headers import parse_retry_after
from topcoat.registry.transport import MAX_ATTEMPTS, MAX_TOTAL_WAIT_S, Transport, backoff
from topcoat.testing.registry import FakeRegistry


@pytest.fixture
def transport_to():
    """Make transports that are closed after the test."""
    made = []

    def make(registry, **options):
        made.append(Transport(registry, **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def _get(transport, where="/v2/", method="GET", body=None, **headers):
    response = transport.send(method, where, headers, body)
    response.read_all(1000)
    return response


def _redirect(status, location):
    return respond(f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())


@pytest.mark.parametrize("status", [408, 429, 499, 500, 502, 503, 504, 522])
def test_a_temporary_status_is_retried(fake, waits, status, transport_to):
    fake.fail(status, times=MAX_ATTEMPTS - 1)
    assert _get(transport_to(fake.host)).status == 200
    assert len(waits) == MAX_ATTEMPTS - 1
    assert waits == sorted(waits)


def test_the_number_of_attempts_is_limited(fake, waits, transport_to):
    fake.fail(503, times=99)
    assert _get(transport_to(fake.host)).status == 503
    assert len(fake.requests) == MAX_ATTEMPTS


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 501])
def test_a_permanent_status_is_not_retried(fake, waits, status, transport_to):
    fake.fail(status, headers={"Content-Type": "application/json"})
    assert _get(transport_to(fake.host)).status == status
    assert len(fake.requests) == 1
    assert waits == []


def test_a_request_on_a_cut_connection_is_retried(fake, waits, transport_to):
    assert _get(transport_to(fake.host)).status == 200
    transport = transport_to(fake.host)
    _get(transport)
    fake.cut(times=2)
    # The first cut hits a kept connection, which counts as stale; the second one a new connection.
    assert _get(transport).status == 200
    assert len(waits) == 1


def test_nothing_is_retried_with_retry_false(fake, waits, transport_to):
    transport = transport_to(fake.host)
    fake.fail(503)
    response = transport.send("GET", "/v2/", {}, retry=False)
    response.close()
    assert response.status == 503
    fake.cut(times=2)
    with pytest.raises(RegistryUnavailable):
        transport.send("GET", "/v2/", {}, retry=False)
    assert waits == []


def test_retry_after_is_honoured(fake, waits, transport_to):
    fake.fail(429, headers={"Retry-After": "7"})
    assert _get(transport_to(fake.host)).status == 200
    assert waits == [7]


def test_a_retry_after_beyond_the_maximum_is_not_waited_for(fake, waits, transport_to):
    fake.fail(429, headers={"Retry-After": "3600"})
    assert _get(transport_to(fake.host)).status == 429
    assert waits == []


def test_retry_after_may_be_a_date(monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    later = parse_retry_after(email.utils.formatdate(time.time() + 30, usegmt=True))
    assert 28 < later <= 30
    assert parse_retry_after(email.utils.formatdate(time.time() - 30, usegmt=True)) == 0
    assert parse_retry_after("5") == 5
    assert [parse_retry_after(text) for text in ("", "soon", "-1", "Mon, 99 Foo 2020 25:00:00 GMT")] == [0, 0, 0, 0]


def test_waits_double_with_jitter():
    for attempt in range(1, 6):
        delays = [backoff(attempt) for _ in range(50)]
        assert 0.75 * 0.25 * 2 ** (attempt - 1) <= min(delays) < max(delays) <= 1.25 * 0.25 * 2 ** (attempt - 1)


def test_a_refused_connection_is_not_retried(waits, transport_to):
    with scripted_server() as host:
        pass
    with pytest.raises(RegistryUnavailable, match=f"cannot connect to {host}: connection refused") as caught:
        transport_to(host).send("GET", "/v2/", {})
    assert caught.value.request == f"GET http://{host}/v2/"
    assert "curl" in caught.value.hint
    assert waits == []


def test_a_host_name_that_cannot_be_resolved_is_an_error(waits, transport_to):
    with pytest.raises(RegistryUnavailable, match="the host name cannot be resolved") as caught:
        transport_to("no-such-host.invalid").send("GET", "/v2/", {})
    assert "spelling" in caught.value.hint


def test_an_invalid_http_response_is_an_error(waits, transport_to):
    with (
        scripted_server(*[lambda connection: connection.sendall(b"SSH-2.0-x\r\n")] * 2) as host,
        pytest.raises(RegistryUnavailable, match="invalid HTTP response: invalid status line"),
    ):
        transport_to(host).send("GET", "/v2/", {})


def test_a_missing_response_times_out(monkeypatch, transport_to):
    monkeypatch.setattr("topcoat.http.pool.RESPONSE_TIMEOUT_S", 0.1)
    done = threading.Event()
    with scripted_server(lambda connection: done.wait(5)) as host:
        with pytest.raises(RegistryUnavailable, match="timed out"):
            transport_to(host).send("GET", "/v2/", {})
        done.set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_of_reads_are_followed_without_credentials_on_another_port(fake, status, transport_to):
    with FakeRegistry() as other:
        fake.fail(status, headers={"Location": f"http://{other.host}/v2/?x=1"})
        response = _get(transport_to(fake.host), Authorization="Basic secret", Accept="a/b")
    assert response.status == 200
    assert fake.requests[0].headers["authorization"] == "Basic secret"
    assert "authorization" not in other.requests[0].headers
    assert other.requests[0].headers["accept"] == "a/b"
    assert other.requests[0].path == "/v2/?x=1"


def test_credentials_stay_within_their_origin(fake, transport_to):
    fake.fail(307, headers={"Location": "/v2/?again"})
    assert _get(transport_to(fake.host), Authorization="Basic secret").status == 200
    assert [r.headers.get("authorization") for r in fake.requests] == ["Basic secret"] * 2


def test_credentials_do_not_come_back_with_a_redirect_back(fake, transport_to):
    with FakeRegistry() as other:
        fake.fail(307, headers={"Location": f"http://{other.host}/v2/"})
        other.fail(307, headers={"Location": f"http://{fake.host}/v2/"})
        _get(transport_to(fake.host), Authorization="Basic secret")
    assert [r.headers.get("authorization") for r in fake.requests] == ["Basic secret", None]


@pytest.mark.parametrize(("status", "followed"), [(301, False), (302, False), (303, False), (307, True), (308, True)])
def test_redirects_of_writes_are_followed_only_if_they_keep_method_and_body(fake, status, followed, transport_to):
    fake.fail(status, headers={"Location": "/token"})
    response = _get(transport_to(fake.host), "/v2/", "PUT", Body(b"body"))
    assert (response.status == status) is not followed
    assert [r.sent for r in fake.requests] == [4, 4][: 1 + followed]


def test_redirects_in_a_circle_end(fake, transport_to):
    fake.fail(307, headers={"Location": "/v2/"}, times=99)
    with pytest.raises(RegistryError, match="redirects in a circle"):
        _get(transport_to(fake.host))


def test_a_redirect_without_a_location_is_refused(fake, transport_to):
    fake.fail(307)
    with pytest.raises(RegistryError, match="sent status 307 without a Location"):
        _get(transport_to(fake.host))


@pytest.mark.parametrize(
    "location", ["ftp://x/y", "http://[::1", "http://host:port/", "https:///x", "//[", "file:///etc/passwd"]
)
def test_a_location_that_is_not_a_url_is_refused(fake, location, transport_to):
    fake.fail(307, headers={"Location": location})
    with pytest.raises(RegistryError, match="which is not a URL"):
        _get(transport_to(fake.host))


def test_a_location_is_escaped_as_far_as_needed(fake, transport_to):
    fake.fail(307, headers={"Location": "/v2/?name=a b%20c\xe9"})
    assert _get(transport_to(fake.host)).status == 200
    assert fake.requests[-1].path == "/v2/?name=a%20b%20c%E9"


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("https://reg.io/a", "http://cdn.io/b", "which is not encrypted"),
        ("https://reg.io/a", "https://10.0.0.1/b", "a private network"),
        ("https://reg.io/a", "https://169.254.169.254/b", "a link-local address"),
        ("https://reg.io/a", "https://127.1/b", "a private network"),
        ("https://reg.io/a", "https://0x7f.1/b", "a private network"),
        ("https://reg.io/a", "https://2130706433/b", "a private network"),
        ("https://reg.io/a", "https://localhost/b", "a private network"),
        ("https://reg.io/a", "https://[::1]/b", "a private network"),
        ("https://reg.io/a", "https://[fd00::1]/b", "a private network"),
        ("https://reg.io/a", "https://[::ffff:10.0.0.1]/b", "a private network"),
    ],
)
def test_locations_that_an_attacker_could_profit_from_are_refused(source, target, why, transport_to):
    with pytest.raises(RegistryError, match=why):
        transport_to("reg.io").check(target, source=source)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("https://reg.io/a", "https://cdn.io/b"),
        ("https://reg.io/a", "https://8.8.8.8/b"),
        ("https://10.0.0.1/a", "https://10.0.0.2/b"),
        ("http://127.0.0.1:5000/a", "http://127.0.0.1:6000/b"),
        ("http://reg.corp/a", "https://cdn.corp/b"),
        ("https://10.0.0.1/a", "https://10.0.0.1:8443/b"),
    ],
)
def test_ordinary_locations_are_accepted(source, target, transport_to):
    transport_to("reg.io").check(target, source=source)


@pytest.mark.parametrize(
    ("asked", "location", "session", "redirect"),
    [
        ("https://reg.io/v2/x", "/v2/y?a=b", "https://reg.io/v2/y?a=b", None),
        ("https://reg.io/v2/x/", "y", "https://reg.io/v2/x/y", None),
        ("https://reg.io/v2/x", "http://reg.io/v2/y", "https://reg.io/v2/y", None),
        ("https://reg.io:8443/v2/x", "http://reg.io/v2/y", "https://reg.io:8443/v2/y", None),
        ("https://reg.io:8443/v2/x", "http://reg.io:8443/v2/y", "https://reg.io:8443/v2/y", None),
        ("https://reg.io:8443/v2/x", "https://reg.io/v2/y", "https://reg.io:8443/v2/y", "https://reg.io/v2/y"),
        ("http://reg.io:5000/v2/x", "http://reg.io/v2/y", "http://reg.io:5000/v2/y", "http://reg.io/v2/y"),
        ("http://reg.io/v2/x", "https://reg.io/v2/y", "https://reg.io/v2/y", None),
        ("https://reg.io/v2/x", "https://reg.io:9000/v2/y", "https://reg.io:9000/v2/y", None),
        ("https://reg.io/v2/x", "https://up.io/v2/y", "https://up.io/v2/y", None),
    ],
)
def test_a_wrong_address_from_a_registry_behind_a_proxy_is_corrected(asked, location, session, redirect, transport_to):
    class _Response:
        url = asked
        status = 202
        left_origin = False

        def header(self, name):
            return location

    transport = transport_to("reg.io")
    assert transport.location(_Response()) == session
    assert transport.location(_Response(), session=False) == (redirect or session)


def test_requests_have_a_user_agent(fake, transport_to):
    _get(transport_to(fake.host))
    assert fake.requests[0].headers["user-agent"].startswith("topcoat/")


def test_tls_through_a_proxy_is_tunnelled(certificates, monkeypatch, transport_to):
    heads = []

    def tunnel(connection):
        heads.append(read_request(connection)[0].decode())
        onward = socket.create_connection(("127.0.0.1", int(registry.host.partition(":")[2])))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def copy(source, sink):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        back = threading.Thread(target=copy, args=(onward, connection), daemon=True)
        back.start()
        copy(connection, onward)
        back.join()
        onward.close()

    with FakeRegistry(tls=certificates.tls) as registry, scripted_server(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pw@{proxy}")
        transport = transport_to("reg.example", insecure=True)
        response = transport.send("GET", "/v2/", {})
        assert response.read_all(10) == b"{}"
        transport.close()
    assert heads[0].startswith("CONNECT reg.example:443 ")
    assert "Proxy-Authorization: Basic bWU6cHc=" in heads[0]
    assert "proxy-authorization" not in registry.requests[0].headers


# Python 3.10 leaves the response to a refused CONNECT to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch, transport_to):
    with scripted_server(respond(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{proxy}")
        with pytest.raises(RegistryUnavailable, match=f"the proxy {proxy} refused: 407") as caught:
            transport_to("reg.example").send("GET", "/v2/", {})
    assert "HTTPS_PROXY" in caught.value.hint
    assert "secret" not in str(caught.value)
    del caught
    gc.collect()


def _closed_port():
    with scripted_server() as host:
        return host


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_blamed_and_not_the_registry(monkeypatch, transport_to, scheme):
    proxy = _closed_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{proxy}")
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{proxy}")
    transport = transport_to("reg.example", insecure=scheme == "http")
    transport._scheme = scheme
    message = f"cannot connect to reg.example through the proxy: cannot connect to {proxy}: connection refused"
    with pytest.raises(RegistryUnavailable) as caught:
        transport.send("GET", "/v2/", {})
    assert str(caught.value) == message
    assert "HTTPS_PROXY" in caught.value.hint
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_proxy_that_wants_a_login_for_plain_http_is_blamed_and_not_the_registry(monkeypatch, transport_to):
    with scripted_server(respond(b"HTTP/1.1 407 \x1b[2JLogin\r\nContent-Length: 0\r\n\r\n")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy}")
        transport = transport_to("reg.example", insecure=True)
        transport._scheme = "http"
        with pytest.raises(RegistryUnavailable, match=rf"the proxy {proxy} refused: 407 \\x1b\[2JLogin"):
            transport.send("GET", "/v2/", {})


def test_a_proxy_that_does_not_speak_http_is_blamed(monkeypatch, transport_to):
    with scripted_server(lambda connection: connection.sendall(b"SSH-2.0-x\r\n")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        with pytest.raises(
            RegistryUnavailable, match=f"through the proxy: request to {proxy} failed: the server sent an"
        ):
            transport_to("reg.example").send("GET", "/v2/", {})


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_proxy_that_reports_502_for_connect_is_asked_again(monkeypatch, waits, transport_to):
    bad_gateway = respond(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    with scripted_server(*[bad_gateway] * MAX_ATTEMPTS) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        with pytest.raises(RegistryUnavailable, match=f"the proxy {proxy} refused: 502 Bad Gateway"):
            transport_to("reg.example").send("GET", "/v2/", {})
    assert len(waits) == MAX_ATTEMPTS - 1


def test_an_invalid_proxy_is_one_clear_error(monkeypatch, transport_to):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:sec#ret@host:3128")
    with pytest.raises(RegistryUnavailable, match="invalid HTTPS_PROXY: expected http://") as caught:
        transport_to("reg.example").send("GET", "/v2/", {})
    assert "%23" in caught.value.hint
    assert "sec#" not in str(caught.value)
    assert "ret@" not in str(caught.value)


def test_the_target_of_a_redirect_that_is_down_is_blamed_and_not_the_registry(fake, transport_to):
    storage = _closed_port()
    fake.fail(307, headers={"Location": f"http://{storage}/x?signature=secret"})
    with pytest.raises(RegistryUnavailable) as caught:
        transport_to(fake.host).send("GET", "/v2/", {})
    assert str(caught.value) == f"{fake.host} points to {storage}: cannot connect to {storage}: connection refused"
    assert f"http://{storage}/x" in caught.value.hint
    assert "secret" not in caught.value.hint


def test_a_wrong_scheme_in_a_location_is_blamed_on_the_registry_and_not_on_insecure_registries(fake, transport_to):
    with FakeRegistry() as storage:
        fake.fail(307, headers={"Location": f"https://{storage.host}/x"})
        with pytest.raises(
            RegistryUnavailable, match=f"{fake.host} points to {storage.host}: .* does not support TLS"
        ) as e:
            transport_to(fake.host).send("GET", "/v2/", {})
    assert "insecure-registries" not in e.value.hint
    assert f"https://{storage.host}/x" in e.value.hint


def test_the_target_of_a_redirect_is_tried_again_after_a_cut(fake, waits, transport_to):
    with FakeRegistry() as storage:
        fake.fail(307, headers={"Location": f"http://{storage.host}/v2/"}, times=2)
        storage.cut()
        assert _get(transport_to(fake.host)).status == 200
    assert len(waits) == 1


def test_an_insecure_registry_that_swallows_tls_is_reached_in_plain_http(monkeypatch, transport_to):
    monkeypatch.setattr("topcoat.registry.hosts.is_loopback", lambda name: False)
    monkeypatch.setattr("topcoat.registry.transport._INSECURE_TLS_TIMEOUT_S", 0.1)

    def swallow(connection):
        while connection.recv(65536):
            pass

    with scripted_server(swallow, respond(ok(b"hi"))) as host:
        assert transport_to(host, insecure=True).send("GET", "/v2/", {}).read_all(9) == b"hi"


def test_a_secure_registry_that_swallows_tls_is_not_reached_in_plain_http(monkeypatch, transport_to):
    monkeypatch.setattr("topcoat.registry.transport.CONNECT_TIMEOUT_S", 0.1)

    def swallow(connection):
        while connection.recv(65536):
            pass

    with (
        scripted_server(swallow, respond(ok(b"hi"))) as host,
        pytest.raises(RegistryUnavailable, match="timed out"),
    ):
        transport_to(host, insecure=False).send("GET", "/v2/", {})


def test_a_slow_transfer_is_named(fake, transport_to, monkeypatch):
    monkeypatch.setattr("topcoat.http.rate.WINDOW_S", 0)
    monkeypatch.setattr("topcoat.http.rate.NOTICE_AFTER_S", 0)
    monkeypatch.setattr("topcoat.http.rate.MIN_BYTES_PER_SECOND", 10**15)
    with pytest.raises(RegistryUnavailable, match="the transfer is slower than"):
        transport_to(fake.host).send("PUT", "/v2/", {}, Body(b"x" * 100))


def test_a_cut_at_the_first_request_to_a_loopback_registry_is_not_taken_for_tls(fake, waits, transport_to):
    fake.cut()
    transport = transport_to(fake.host)
    assert _get(transport).status == 200
    assert [request.status for request in fake.requests] == [0, 200]
    assert waits == []
    assert transport.base.startswith("http://")


def test_a_loopback_port_that_speaks_tls_alone_is_found(transport_to, certificates):
    with FakeRegistry(tls=certificates.tls) as registry:
        assert _get(transport_to(registry.host)).status == 200
        assert len(registry.requests) == 1


def test_a_400_of_a_registry_in_plain_http_is_not_reported_as_missing_tls(fake, transport_to):
    fake.fail(400, headers={"Content-Type": "text/html"}, body=b"<html>Bad Request</html>")
    assert _get(transport_to(fake.host)).status == 400


def test_a_400_in_plain_http_is_closed_if_https_fails_too(transport_to, certificates):
    answers = {
        False: response(400, "<html>" * 1000, Content_Type="text/html"),
        True: response(307, Location="http://["),
    }
    with Place("127.0.0.1", certificates.tls) as place:
        place.respond = lambda seen: answers[seen.secure]
        with pytest.raises(RegistryError, match="not a URL"):
            transport_to(place.host).send("GET", "/v2/", {})
    # The test fails if a socket is found open here.
    gc.collect()


def test_a_long_wait_is_announced_with_the_reason(fake, waits, transport_to):
    fake.fail(429, times=2, headers={"Retry-After": "59"})
    with recorded_notices() as notices:
        assert _get(transport_to(fake.host)).status == 200
    host = fake.host
    assert notices == [
        f"waiting 59 s, as {host} asks with status 429; then attempt 2 of 4",
        f"waiting 59 s, as {host} asks with status 429; then attempt 3 of 4",
    ]


def test_the_waits_of_one_request_have_a_limit_in_sum(fake, waits, transport_to):
    fake.fail(429, times=9, headers={"Retry-After": "59"})
    assert _get(transport_to(fake.host)).status == 429
    assert sum(waits) <= MAX_TOTAL_WAIT_S


def test_short_waits_are_not_announced(fake, waits, transport_to):
    fake.fail(503, times=2)
    with recorded_notices() as notices:
        _get(transport_to(fake.host))
    assert notices == []
