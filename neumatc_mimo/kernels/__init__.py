"""Kernels that apply filters, and the plain PyTorch way that is their reference."""
