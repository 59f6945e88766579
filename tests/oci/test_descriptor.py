import pytest
from hypothesis import given
from hypothesis import strategies as st

from topcoat.errors import InvalidImage
from topcoat.oci.descriptor import Descriptor

_DIGEST = "sha256:" + "a" * 64
_GOOD = {"mediaType": "text/plain", "digest": _DIGEST, "size": 3}


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.dictionaries(st.text(), st.text())))
def test_every_key_survives_reading_and_writing(extra):
    document = {**extra, **_GOOD}
    assert Descriptor.from_json(document).to_json() == document


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"digest": "sha256:abc"}, "with an invalid digest: 'sha256:abc'"),
        ({"digest": None}, "with an invalid digest: None"),
        ({"size": -1}, "with an invalid size: -1"),
        ({"size": True}, "with an invalid size: True"),
        ({"size": "3"}, "with an invalid size: '3'"),
        ({"mediaType": ""}, "without a media type"),
        ({"mediaType": None}, "without a media type"),
    ],
)
def test_an_invalid_value_is_named(change, why):
    with pytest.raises(InvalidImage, match=why):
        Descriptor.from_json({**_GOOD, **change})


def test_a_descriptor_that_is_not_an_object_is_refused():
    with pytest.raises(InvalidImage, match="expected a JSON object"):
        Descriptor.from_json([_GOOD])


def test_a_descriptor_with_annotations_can_be_a_key():
    descriptor = Descriptor.from_json({**_GOOD, "annotations": {"a": "b"}})
    two = Descriptor.from_json({**_GOOD, "annotations": {"a": "b"}})
    assert len({descriptor, two}) == 1
    assert descriptor.annotations == {"a": "b"}
    assert Descriptor.from_json(_GOOD).annotations == {}
