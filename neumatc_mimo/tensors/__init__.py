"""Small helpers on PyTorch tensors."""
