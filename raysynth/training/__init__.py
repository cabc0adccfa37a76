"""Encoded shards and the one training loop, in this process or under Ray Train."""
