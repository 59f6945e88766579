import json
import sys

import pytest

from topcoat.registry.hosts import endpoint, host_settings


def _daemon_json(directory, *listed):
    path = directory / "docker" / "daemon.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"insecure-registries": list(listed)}))


def test_docker_hub_is_served_by_another_host_than_its_name():
    assert endpoint("docker.io") == endpoint("index.docker.io") == "registry-1.docker.io"
    assert endpoint("ghcr.io") == "ghcr.io"


def test_a_host_is_reached_by_verified_tls_only():
    settings = host_settings("ghcr.io")
    assert settings.schemes == ("https",)
    assert settings.tls.verify


@pytest.mark.parametrize("registry", ["localhost:5000", "127.0.0.1", "[::1]:5000"])
def test_loopback_is_tried_in_plain_http_first_and_trusted(registry):
    settings = host_settings(registry)
    assert settings.schemes == ("http", "https")
    assert not settings.tls.verify


def test_a_loopback_certificate_is_verified_by_an_authority_for_that_host(etc):
    assert host_settings("127.0.0.1:5000", ca_file="/ca.pem").tls.verify
    directory = etc / "docker" / "certs.d" / "127.0.0.1:5000"
    directory.mkdir(parents=True)
    (directory / "ca.crt").touch()
    settings = host_settings("127.0.0.1:5000")
    assert settings.tls.verify
    assert settings.tls.ca_files == (str(directory / "ca.crt"),)
    assert not host_settings("127.0.0.1:5001").tls.verify


def test_the_insecure_argument_overrides_the_configuration(etc):
    _daemon_json(etc, "reg.corp")
    assert host_settings("127.0.0.1", insecure=False) == host_settings("ghcr.io", insecure=False)
    assert host_settings("reg.corp", insecure=False).schemes == ("https",)
    settings = host_settings("ghcr.io", insecure=True)
    assert settings.schemes == ("https", "http")
    assert not settings.tls.verify


@pytest.mark.parametrize("listed", ["reg.corp:5000", "reg.corp"])
def test_insecure_registries_of_docker_are_tried_in_tls_first(etc, listed):
    _daemon_json(etc, "other.corp", listed)
    settings = host_settings("reg.corp:5000")
    assert settings.schemes == ("https", "http")
    assert not settings.tls.verify
    assert host_settings("reg.corp:5001").tls.verify is (listed != "reg.corp")


def test_rootless_docker_lists_insecure_registries_in_the_home_directory(home):
    _daemon_json(home / ".config", "reg.corp")
    assert not host_settings("reg.corp").tls.verify


def test_insecure_registries_can_be_a_network(etc):
    _daemon_json(etc, "10.1.0.0/16", "not a network/x", 7)
    assert not host_settings("10.1.2.3:5000").tls.verify
    assert host_settings("10.2.2.3:5000").tls.verify


@pytest.mark.parametrize("text", ["{", "[]", '{"insecure-registries": "reg.corp"}', '{"insecure-registries": null}'])
def test_a_malformed_daemon_json_is_ignored(etc, text):
    _daemon_json(etc)
    (etc / "docker" / "daemon.json").write_text(text)
    assert host_settings("reg.corp").tls.verify


@pytest.mark.parametrize("place", [".docker/certs.d", ".config/docker/certs.d", ".config/containers/certs.d"])
def test_certificates_of_a_host_are_found_where_docker_and_podman_keep_them(home, place):
    directory = home / place / "reg.corp:5000"
    directory.mkdir(parents=True)
    for name in ("b.crt", "a.crt", "client.cert", "client.key", "notes.txt"):
        (directory / name).touch()
    settings = host_settings("reg.corp:5000")
    assert settings.tls.ca_files == (str(directory / "a.crt"), str(directory / "b.crt"))
    assert settings.tls.client_certs == ((str(directory / "client.cert"), str(directory / "client.key")),)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reading TOML needs Python 3.11")
class TestContainerd:
    @pytest.fixture
    def hosts_toml(self, etc):
        path = etc / "containerd" / "certs.d" / "reg.corp:5000" / "hosts.toml"
        path.parent.mkdir(parents=True)
        return path

    def test_plain_http_of_containerd_is_used(self, hosts_toml):
        hosts_toml.write_text('server = "http://reg.corp:5000"\n')
        assert host_settings("reg.corp:5000").schemes == ("https", "http")

    def test_authorities_and_certificates_of_containerd_are_used(self, hosts_toml):
        hosts_toml.write_text(
            'server = "https://reg.corp:5000"\n'
            '[host."https://mirror.corp"]\nskip_verify = true\n'
            '[host."https://reg.corp:5000"]\nca = "own.pem"\nclient = [["c.pem", "c.key"], ["both.pem"]]\n'
        )
        settings = host_settings("reg.corp:5000")
        where = str(hosts_toml.parent)
        assert settings.tls.verify
        assert settings.tls.ca_files == (f"{where}/own.pem",)
        assert settings.tls.client_certs == ((f"{where}/c.pem", f"{where}/c.key"), (f"{where}/both.pem",) * 2)

    def test_skip_verify_of_containerd_is_used(self, hosts_toml):
        hosts_toml.write_text('[host."https://reg.corp:5000"]\nskip_verify = true\nca = ["/a", "/b"]\n')
        settings = host_settings("reg.corp:5000")
        assert not settings.tls.verify
        assert settings.tls.ca_files == ("/a", "/b")

    def test_a_malformed_hosts_toml_is_ignored(self, hosts_toml):
        hosts_toml.write_text("server = ")
        assert host_settings("reg.corp:5000").tls.verify
