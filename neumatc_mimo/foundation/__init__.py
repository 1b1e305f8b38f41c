"""What every part needs, PyTorch and TensorFlow alike: nothing here imports either."""
