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

    @pytest.mark.parametrize("name", ["reg.corp_5000_", "reg.corp:5000", "_default"])
    def test_every_directory_of_containerd_for_a_host_is_found(self, etc, name):
        directory = etc / "containerd" / "certs.d" / name
        directory.mkdir(parents=True)
        (directory / "hosts.toml").write_text("skip_verify = true\n")
        assert not host_settings("reg.corp:5000").tls.verify
        assert host_settings("reg.corp").tls.verify is (name != "_default")

    def test_the_first_directory_of_containerd_counts_alone(self, etc, hosts_toml):
        hosts_toml.write_text("skip_verify = true\n")
        directory = etc / "containerd" / "certs.d" / "reg.corp_5000_"
        directory.mkdir(parents=True)
        (directory / "hosts.toml").touch()
        assert host_settings("reg.corp:5000").tls.verify

    def test_a_client_certificate_with_an_empty_key_has_its_key_in_the_same_file(self, hosts_toml):
        hosts_toml.write_text('client = [["c.pem", ""], "d.pem"]\n')
        where = str(hosts_toml.parent)
        assert host_settings("reg.corp:5000").tls.client_certs == ((f"{where}/c.pem",) * 2, (f"{where}/d.pem",) * 2)

    def test_a_host_of_containerd_without_a_scheme_is_https(self, hosts_toml):
        hosts_toml.write_text('server = "reg.corp:5000"\nca = "own.pem"\n')
        settings = host_settings("reg.corp:5000")
        assert (settings.schemes, settings.tls.ca_files) == (("https",), (f"{hosts_toml.parent}/own.pem",))

    def test_the_keys_of_another_server_are_not_used(self, hosts_toml):
        hosts_toml.write_text('server = "https://upstream.corp"\nskip_verify = true\n')
        assert host_settings("reg.corp:5000").tls.verify

    def test_a_directory_of_containerd_without_a_hosts_toml_has_dockers_form(self, hosts_toml):
        (hosts_toml.parent / "ca.crt").touch()
        assert host_settings("reg.corp:5000").tls.ca_files == (f"{hosts_toml.parent}/ca.crt",)

    @pytest.mark.parametrize(
        ("text", "insecure"),
        [
            ('[[registry]]\nlocation = "reg.corp:5000"\ninsecure = true\n', True),
            ('[[registry]]\nprefix = "reg.corp:5000"\ninsecure = true\n', True),
            ('[[registry]]\nprefix = "*.corp:5000"\ninsecure = true\n', True),
            ('[[registry]]\nlocation = "reg.corp:5000"\ninsecure = false\n', False),
            ('[[registry]]\nlocation = "other.corp:5000"\ninsecure = true\n', False),
            ('[registries.insecure]\nregistries = ["reg.corp:5000"]\n', True),
            ('insecure = "x"\nregistry = 7\nregistries = []\n', False),
            ("insecure =", False),
        ],
    )
    @pytest.mark.parametrize("place", ["registries.conf", "registries.conf.d/a.conf"])
    def test_insecure_registries_of_podman_are_tried_in_tls_first(self, etc, text, insecure, place):
        path = etc / "containers" / place
        path.parent.mkdir(parents=True)
        path.write_text(text)
        settings = host_settings("reg.corp:5000")
        assert settings.schemes == (("https", "http") if insecure else ("https",))
        assert settings.tls.verify is not insecure

    def test_the_registries_of_podmans_user_replace_those_of_the_system(self, etc, home, monkeypatch):
        table = '[[registry]]\nlocation = "reg.corp"\ninsecure = {}\n'
        for root, value in ((etc / "containers", "true"), (home / ".config" / "containers", "false")):
            root.mkdir(parents=True)
            (root / "registries.conf").write_text(table.format(value))
        assert host_settings("reg.corp").tls.verify
        (home / "named.conf").write_text(table.format("true"))
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(home / "named.conf"))
        assert not host_settings("reg.corp").tls.verify
