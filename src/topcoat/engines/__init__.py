"""Container engines on this machine: how they are found, talked to and read."""
