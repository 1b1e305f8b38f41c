"""How far models are certified beyond the noise powers that a scenario names."""

# There filters are those for one stream at a time but for a thousandth, and more noise changes
# nothing.
BEYOND = 1024.0
