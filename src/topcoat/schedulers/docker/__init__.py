"""Jobs as containers of this machine's engine: ``local_docker``."""
