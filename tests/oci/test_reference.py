import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidReference
from topcoat.oci.reference import Reference

_HEX = "0123456789abcdef" * 4
_DIGEST = f"sha256:{_HEX}"
_COMPONENT = st.from_regex(r"[a-z0-9]{1,5}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
_REFERENCES = st.builds(
    Reference,
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "ghcr.io", "[::1]:5000", "10.0.0.1:80", "Host"]),
    st.lists(_COMPONENT, min_size=1, max_size=3).map("/".join),
    st.just("") | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.just("") | st.just(_DIGEST),
).filter(lambda reference: reference.tag or reference.digest)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("busybox", Reference("docker.io", "library/busybox", "latest")),
        ("busybox:1.36", Reference("docker.io", "library/busybox", "1.36")),
        ("org/app", Reference("docker.io", "org/app", "latest")),
        ("docker.io/busybox", Reference("docker.io", "library/busybox", "latest")),
        ("index.docker.io/org/app:x", Reference("docker.io", "org/app", "x")),
        ("localhost/app", Reference("localhost", "app", "latest")),
        ("localhost", Reference("docker.io", "library/localhost", "latest")),
        ("localhost:5000", Reference("docker.io", "library/localhost", "5000")),
        ("localhost:5000/app", Reference("localhost:5000", "app", "latest")),
        ("127.0.0.1:5000/a/b:c", Reference("127.0.0.1:5000", "a/b", "c")),
        ("[::1]:5000/app", Reference("[::1]:5000", "app", "latest")),
        ("[2001:db8::1]/app:v1", Reference("[2001:db8::1]", "app", "v1")),
        ("ghcr.io/org/app:v1", Reference("ghcr.io", "org/app", "v1")),
        ("Registry/app", Reference("Registry", "app", "latest")),
        ("reg_istry/app", Reference("docker.io", "reg_istry/app", "latest")),
        (f"busybox@{_DIGEST}", Reference("docker.io", "library/busybox", "", _DIGEST)),
        (f"ghcr.io/a:v1@{_DIGEST}", Reference("ghcr.io", "a", "v1", _DIGEST)),
        ("org/a-b__c.d---e", Reference("docker.io", "org/a-b__c.d---e", "latest")),
    ],
)
def test_defaults_are_filled_in_as_docker_does(text, reference):
    assert Reference.parse(text) == reference


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        (" busybox", "white space around it"),
        ("https://ghcr.io/org/app", "no scheme"),
        ("docker://busybox", "no scheme"),
        ("busybox:", "invalid tag ''"),
        ("busybox:-x", "invalid tag '-x'"),
        ("busybox:" + "a" * 129, "invalid tag"),
        ("busybox@sha256:abc", "invalid digest 'sha256:abc'"),
        ("busybox@", "invalid digest ''"),
        ("busybox@md5:" + "a" * 32, "invalid digest"),
        ("org/App", "must be lower-case"),
        ("Busybox", "must be lower-case"),
        ("org//app", "a component of the repository is empty"),
        ("org/app/", "a component of the repository is empty"),
        ("org/-app", "invalid component '-app'"),
        ("org/a..b", "invalid component 'a..b'"),
        ("org/a___b", "invalid component 'a___b'"),
        ("bad_host.io/app", "invalid registry 'bad_host.io'"),
        ("host:port/app", "invalid registry 'host:port'"),
        ("host.io:99999/app", "invalid port 99999"),
        (_HEX, "an image id, not a name"),
        ("ghcr.io/" + "a/" * 130 + "a", "more than 255"),
        ("a b", "invalid component 'a b'"),
    ],
)
def test_an_invalid_name_is_an_error_with_the_reason(text, why):
    with pytest.raises(InvalidReference, match=re.escape(why)) as caught:
        Reference.parse(text)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_the_hint_is_the_corrected_name():
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("https://ghcr.io/org/app")
    assert caught.value.hint == "write ghcr.io/org/app"
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("ghcr.io/Org/App:V1")
    assert caught.value.hint == "write ghcr.io/org/app:V1"


@given(_REFERENCES)
def test_a_reference_is_read_back_as_it_is_written(made):
    reference = Reference.parse(str(made))
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=40) | st.from_regex(r"[a-zA-Z0-9.:/@_\[\]-]{0,40}", fullmatch=True))
def test_any_text_is_a_name_or_an_invalid_reference(text):
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference


def test_a_new_tag_drops_the_digest():
    reference = Reference.parse(f"ghcr.io/app:v1@{_DIGEST}")
    assert str(reference.with_tag("v2")) == "ghcr.io/app:v2"
    assert reference.identifier == _DIGEST
    assert reference.with_tag("v2").identifier == "v2"
    assert reference.name == "ghcr.io/app"
    with pytest.raises(InvalidReference):
        reference.with_tag("no good")


def test_a_port_with_thousands_of_digits_is_an_invalid_reference() -> None:
    with pytest.raises(InvalidReference, match="the maximum is 65535"):
        Reference.parse(f"host:{'9' * 5000}/a")
