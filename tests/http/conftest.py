"""What the tests of the HTTP client share with those of the registry client."""

from tests.registry.conftest import *  # noqa: F403
