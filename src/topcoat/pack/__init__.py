"""From a snapshot to layers: cut into chunks, packed as deterministic tar."""
