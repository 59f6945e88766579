"""Images that code is laid over: found, remembered, and looked into."""
