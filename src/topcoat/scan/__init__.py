"""From a workspace to a snapshot: walk, ignore rules, stat index."""
