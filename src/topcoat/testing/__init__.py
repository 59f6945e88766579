"""Fakes for our tests and for those of custom mixins and schedulers: in memory and on loopback."""
