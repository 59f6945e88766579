"""The command line. Nothing is imported here, so that a command loads only what it uses."""
