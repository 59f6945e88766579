"""The command line. Nothing is imported here: every command pays for itself alone."""
