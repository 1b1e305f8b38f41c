"""Learned, certified matrix inverses and SVDs for MIMO-OFDM link-level simulation."""

__version__ = "0.1.0"
