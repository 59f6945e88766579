"""Builders of Dockerfiles that topcoat does not evaluate itself."""
