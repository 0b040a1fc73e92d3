"""Data: sources, shards, manifests, the order of examples, and ingest (the one file that imports ray.data)."""
