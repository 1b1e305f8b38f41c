"""Benchmarks: how long the blocks take, and how close a model comes to the exact result."""
