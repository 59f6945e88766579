"""Jobs as processes of this machine: ``local`` and ``local_cwd``."""
