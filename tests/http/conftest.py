"""What the tests of the HTTP client share."""

from tests.support.certificates import certificates

__all__ = ["certificates"]
