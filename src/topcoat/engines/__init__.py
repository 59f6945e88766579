"""Container engines: find them, connect to them, and read the images that they export."""
