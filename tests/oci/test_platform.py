import pytest

from topcoat.errors import UsageError
from topcoat.oci.platform import Platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("Linux/AMD64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/armhf", Platform("linux", "arm", "v7")),
        ("linux/armhf/v6", Platform("linux", "arm", "v6")),
    ],
)
def test_other_spellings_of_platforms_are_read(text, platform):
    assert Platform.parse(text) == platform


@pytest.mark.parametrize("text", ["", "linux", "amd64", "linux/", "/amd64", "linux//v8", "a/b/c/d"])
def test_an_invalid_platform_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="invalid platform") as caught:
        Platform.parse(text)
    assert "linux/amd64" in caught.value.hint


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm/v6", "windows/amd64"])
def test_a_platform_is_written_as_it_is_read(text):
    assert str(Platform.parse(text)) == text


@pytest.mark.parametrize(
    ("wanted", "offered", "fits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", True),
        ("linux/amd64/v2", "linux/amd64", False),
        ("linux/amd64/v1", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
    ],
)
def test_a_variant_counts_only_if_it_is_wanted(wanted, offered, fits):
    assert Platform.parse(wanted).matches(Platform.parse(offered)) is fits


@pytest.mark.parametrize("value", [None, {}, {"os": "linux"}, {"architecture": "amd64", "os": None}, "linux/amd64"])
def test_a_platform_that_is_not_fully_stated_is_not_known(value):
    assert not Platform.from_json(value).known


def test_a_stated_platform_is_known():
    assert Platform.from_json({"os": "linux", "architecture": "arm", "variant": "v7"}) == ("linux", "arm", "v7")
    assert Platform("linux", "arm").known
