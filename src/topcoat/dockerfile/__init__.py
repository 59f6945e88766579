"""Dockerfiles: read as BuildKit reads them, and those that run nothing carried out without a builder."""
