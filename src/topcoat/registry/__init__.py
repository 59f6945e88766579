"""A client of OCI distribution registries."""
