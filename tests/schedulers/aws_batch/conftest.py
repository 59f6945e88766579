from tests.cli.conftest import topcoat, workspace

__all__ = ["topcoat", "workspace"]
