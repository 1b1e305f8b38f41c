"""The compact mapping: its trunk, the basis that a trunk mixes, and its axes."""
