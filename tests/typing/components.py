"""A typed use of components, of the version and of the alias."""

from __future__ import annotations

from typing_extensions import assert_type

import topcoat
from topcoat.components import dist, finder, utils
from topcoat.specs import AppDef
from topcoat.testing.registry import FakeRegistry

topcoat.install_as_torchx()
assert_type(topcoat.__version__, str)


def trainer(*args: str, image: str, nodes: int = 2) -> AppDef:
    """Train.

    Args:
        args: arguments of the program.
        image: image to run in.
        nodes: number of nodes.
    """
    return dist.ddp(*args, script="train.py", image=image, j=f"{nodes}x8", h="gpu.medium")


assert_type(utils.echo("hi", image="busybox"), AppDef)
assert_type(utils.sh("ls", "-l", image="busybox"), AppDef)
assert_type(finder.get_component("utils.echo"), finder.Component)
assert_type(finder.get_components(), dict[str, finder.Component])
assert_type(finder.get_builtin_source("utils.echo"), str)

with FakeRegistry(quirks={"no-mount"}) as registry:
    assert_type(registry.host, str)
