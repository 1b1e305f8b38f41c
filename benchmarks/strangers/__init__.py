"""Channels of no scenario through blocks that have one's model."""
