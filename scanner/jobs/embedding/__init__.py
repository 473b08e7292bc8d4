"""Pictures → embedded faces, in shards that survive a kill."""
