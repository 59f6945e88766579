"""Where a snapshot goes: a registry, a container engine on this machine, a directory."""
