"""Figures of README.md and docs/, written from the committed results between markers.

A page says ``<!-- figures: NAME ARGUMENTS -->``, and ``<!-- /figures -->`` behind; what stands
between is written by ``python -m benchmarks.pages`` (``make pages``), and a test compares it with
the results at hand. So no figure is written by hand, and no two pages disagree.

=====================  =====================================================
``markers``            finds the markers of a page and writes between them
``registry``           the functions behind the names
``results``            the committed files, read
``speed``, …           figures of one kind of results, a file each
=====================  =====================================================
"""
