"""Builders of a Dockerfile that runs something."""
