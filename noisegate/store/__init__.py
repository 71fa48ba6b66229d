"""Our tables, the readers and importers around them, and the snapshots made from them."""
