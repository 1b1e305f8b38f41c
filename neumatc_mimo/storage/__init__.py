"""Model folders on disk and behind URLs: files, shards, manifests."""
