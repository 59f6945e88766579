"""A test case for components (TorchX's ``ComponentTestCase``)."""

from __future__ import annotations

import os
import tempfile
import time
import unittest
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from topcoat.components.finder import get_component
from topcoat.specs.signature import component_help

if TYPE_CHECKING:
    from topcoat.specs import AppDef, AppStatus


class ComponentTestCase(unittest.TestCase):
    """Check components; each test has an empty directory, ``test_dir``.

    ::

        class TestMyComponents(ComponentTestCase):
            def test_train(self) -> None:
                self.validate(my_components, "train")
    """

    def setUp(self) -> None:
        """Make the directory."""
        directory = tempfile.TemporaryDirectory(prefix="topcoat-component-test-")
        self.addCleanup(directory.cleanup)
        self.test_dir = directory.name

    def validate(self, module: ModuleType, function_name: str) -> None:
        """Load a component as ``topcoat run FILE.py:FUNCTION --help`` does; raise its error."""
        assert module.__file__, f"{module.__name__} is not a file"
        component = get_component(f"{os.path.abspath(module.__file__)}:{function_name}")
        component_help(component.fn, component.name)

    def run_component(
        self,
        component: Callable[..., AppDef],
        args: Mapping[str, Any] | None = None,
        scheduler_params: Mapping[str, Any] | None = None,
        scheduler: str = "local_cwd",
        interval: float = 0.1,
        timeout: float = 1,
    ) -> AppStatus | None:
        """Run *component* with *args* and return its status when it has ended, or after *timeout* seconds.

        Args:
            component: the function.
            args: its arguments.
            scheduler_params: arguments of the scheduler's factory.
            scheduler: name of the scheduler.
            interval: pause between two status requests, in seconds.
            timeout: maximum time, in seconds.
        """
        # The one component module that runs anything, for tests; the others only declare.
        from importlib import import_module

        get_runner = import_module("topcoat.runner").get_runner
        with get_runner(**(scheduler_params or {})) as runner:
            handle = runner.run(component(**(args or {})), scheduler)
            deadline = time.monotonic() + timeout
            while True:
                status: AppStatus | None = runner.status(handle)
                if (status and status.is_terminal()) or time.monotonic() > deadline:
                    return status
                time.sleep(interval)
