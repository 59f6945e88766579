"""Fakes for tests, of ours and of those who extend topcoat. They run in memory and on loopback."""
