"""Parse Dockerfiles as BuildKit does, and evaluate those that need no builder."""
