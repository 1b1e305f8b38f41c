"""Results that are known up to a gauge only, in one gauge: along a line of points, or a tree."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation


def align_along_nodes(operation: Operation, components: Components) -> Components:
    """Components [l, P, q, *shape] made continuous along the points, and along the nodes.

    Written in place.
    """
    # Those that one node stands for go with any node.
    num_nodes = max(c.shape[2] for c in components)
    before: Components | None = None
    for node in range(num_nodes):
        places = [min(node, c.shape[2] - 1) for c in components]
        part = tuple(c[:, :, place] for c, place in zip(components, places, strict=True))
        part = operation.align(part) if before is None else operation.align_to(part, before)
        for full, place, aligned in zip(components, places, part, strict=True):
            full[:, :, place] = aligned
        before = part
    return components


def align_along_tree(operation: Operation, components: Components, x: Tensor) -> Components:
    """Components [S, ...] in one gauge along the minimum spanning tree of their points x [S, d]."""
    root, levels = spanning_tree(x)
    aligned = tuple(c.clone() for c in components)
    first = operation.align(tuple(c[root : root + 1] for c in components))
    for c, one in zip(aligned, first, strict=True):
        c[root : root + 1] = one
    for children, parents in levels:
        reference = tuple(c[parents] for c in aligned)
        turned = operation.align_to(tuple(c[children] for c in components), reference)
        for c, part in zip(aligned, turned, strict=True):
            c[children] = part
    return aligned


def spanning_tree(x: Tensor) -> tuple[int, list[tuple[Tensor, Tensor]]]:
    """Minimum spanning tree of points x [S, d], rooted at the one nearest the origin (Prim).

    :return: root; children and their parents, level by level
    """
    root = int(torch.linalg.vector_norm(x, dim=-1).argmin())
    distance = torch.linalg.vector_norm(x - x[root], dim=-1)
    parent = torch.full((len(x),), root, device=x.device)
    depth = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    outside = torch.ones(len(x), dtype=torch.bool, device=x.device)
    outside[root] = False
    for _ in range(len(x) - 1):
        new = int(torch.where(outside, distance, math.inf).argmin())
        outside[new] = False
        depth[new] = depth[parent[new]] + 1
        through = torch.linalg.vector_norm(x - x[new], dim=-1)
        closer = outside & (through < distance)
        distance = torch.where(closer, through, distance)
        parent = torch.where(closer, new, parent)
    numbers = range(1, int(depth.max()) + 1)
    levels = [(depth == number).nonzero()[:, 0] for number in numbers]
    return root, [(children, parent[children]) for children in levels]
