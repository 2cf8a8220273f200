"""The store: pairs as checksummed HDF5 shards, found by their records."""
