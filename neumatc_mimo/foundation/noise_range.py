"""How far models are certified beyond the noise powers that a scenario names."""

# Nowhere: in single precision, I - σ² X of a stored Gram matrix loses its digits there.
BEYOND = 1.0
