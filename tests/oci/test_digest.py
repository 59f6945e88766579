import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidImage
from topcoat.oci.digest import canonical_json, hasher, is_digest, matches, sha256_digest

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_the_digest_of_no_bytes_is_the_well_known_one():
    assert sha256_digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_registered_algorithms_are_checked(algorithm):
    digest = f"{algorithm}:{hashlib.new(algorithm, b'x').hexdigest()}"
    assert is_digest(digest)
    assert matches(digest, b"x")
    assert not matches(digest, b"y")


@pytest.mark.parametrize(
    "text",
    ["", "latest", "sha256:", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "md5:" + "a" * 32, "sha512:" + "a" * 64],
)
def test_an_invalid_digest_is_refused(text):
    assert not is_digest(text)
    with pytest.raises(InvalidImage, match="invalid digest"):
        hasher(text)


@given(_JSON)
def test_canonical_json_has_the_same_value_and_does_not_depend_on_the_order_of_keys(value):
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data, object_pairs_hook=lambda pairs: dict(reversed(pairs)))) == data


def test_canonical_json_is_compact_utf8():
    assert canonical_json({"b": 1, "a": ["é", {}]}) == '{"a":["é",{}],"b":1}'.encode()


def test_canonical_json_keeps_a_lone_surrogate_as_an_escape():
    value = json.loads(r'{"label": "\ud800 é"}')
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_refuses_numbers_that_are_not_json():
    with pytest.raises(ValueError):
        canonical_json({"x": math.nan})
