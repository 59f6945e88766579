from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from topcoat.schedulers.local.app_json import role_from_dict, role_to_dict
from topcoat.specs import BindMount, DeviceMount, Resource, RetryPolicy, Role, VolumeMount, Workspace

texts = st.text(max_size=5)
mounts = st.one_of(
    st.builds(BindMount, texts, texts, st.booleans()),
    st.builds(VolumeMount, texts, texts, st.booleans()),
    st.builds(DeviceMount, texts, texts, texts),
)
roles = st.builds(
    Role,
    name=texts,
    image=texts,
    min_replicas=st.none() | st.integers(1, 9),
    entrypoint=texts,
    args=st.lists(texts),
    env=st.dictionaries(texts, texts),
    num_replicas=st.integers(1, 9),
    max_retries=st.integers(0, 9),
    retry_policy=st.sampled_from(RetryPolicy),
    resource=st.builds(Resource, st.integers(-1, 9), st.integers(-1, 9), st.integers(-1, 9)),
    port_map=st.dictionaries(texts, st.integers(1, 65535)),
    metadata=st.dictionaries(texts, st.none() | texts | st.lists(texts)),
    mounts=st.lists(mounts, max_size=3),
    workspace=st.none() | st.just(Workspace({"/a": "", "/b": "lib"})),
)


@given(roles)
def test_a_role_comes_back_from_json_as_it_was(role: Role) -> None:
    assert role_from_dict(json.loads(json.dumps(role_to_dict(role)))) == role


def test_a_role_of_the_users_own_class_comes_back_as_a_role() -> None:
    class Mine(Role):
        pass

    assert role_from_dict(role_to_dict(Mine("a", "i"))) == Role("a", "i")
