"""The tables and figures of the NeuMatC paper, one module each, each runnable alone.

``python -m benchmarks.paper.table_1 --quick`` runs one, ``python -m benchmarks.paper`` all.
"""
