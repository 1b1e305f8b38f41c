"""NeuMatC's compact mapping of a model's links, ready for the frequencies of one grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from neumatc_mimo.foundation.coordinate import coordinate
from neumatc_mimo.storage.names import RAGGED
from neumatc_mimo.tensorflow.axes import make_axis
from neumatc_mimo.tensorflow.basis import Windows, windows, windows_of_links
from neumatc_mimo.tensorflow.network import functions

Array = NDArray[Any]


class Mapping:
    r"""Ŷ_i(p) = C_i ×₃ φ(p; θ) for every component i (NeuMatC, Eq. (1)).

    The frequencies are known when a graph is built, so that the trunk's functions are constants:
    a query is one product of matrices for each group of neighbouring subcarriers.

    :param tensors: ``latent.0``, ... and, maybe, ``scale.0``, ... and those of the trunk, as
        :class:`~neumatc_mimo.mapping.compact.CompactMapping` has them
    :param manifest: functions, axis, layouts and band, plain values
    """

    def __init__(self, tensors: dict[str, Array], manifest: dict[str, Any]) -> None:
        self.axis = make_axis(manifest["axis"])
        self._basis, self._band, self._tensors = manifest["basis"], manifest["band"], tensors
        self._layouts = [(tuple(one["shape"]), one["kind"]) for one in manifest["layouts"]]
        self._knots = tensors.get(f"{RAGGED}knots")
        self._functions = tensors.get("functions")
        prefix = "" if self._knots is None else RAGGED
        self._latents = [
            _planar(_read_out(_widened(tensors, prefix, i), tensors.get("readout")), kind)
            for i, (_, kind) in enumerate(self._layouts)
        ]

    def on(self, frequencies: NDArray[np.float64], dtype: tf.DType) -> MappingOnGrid:
        """The mapping at ascending frequencies [F] in Hz, in a real precision."""
        x = coordinate(frequencies, self._band).clip(-1, 1)
        if self._knots is not None and self._functions is not None:
            table = windows_of_links(self._basis, self._knots, self._functions, x)
            return RefinedOnGrid(self, table, len(x), dtype)
        values = functions(self._basis, self._tensors, x)
        if values is None:
            return MappingOnGrid(self, windows(self._basis, x), len(x), dtype)
        # [num_links or 1, groups, points, functions]
        table = Windows(values[:, None], np.arange(values.shape[-1])[None])
        return MappingOnGrid(self, table, len(x), dtype)


class MappingOnGrid:
    """A mapping on one grid; see :meth:`Mapping.on`."""

    def __init__(self, mapping: Mapping, table: Any, num_points: int, dtype: tf.DType) -> None:
        self._axis, self._layouts = mapping.axis, mapping._layouts
        self._values = tf.constant(table.values, dtype)
        self._basis = tf.constant(table.basis)
        self._num_points = num_points
        self._latents = [tf.constant(latent, dtype) for latent in mapping._latents]

    def __call__(self, links: tf.Tensor, no: tf.Tensor) -> list[tf.Tensor]:
        """Components of the links [B] at noise powers [B], float64: [B, F, ...] each."""
        rows = tf.concat([self._folded(latent, links, no) for latent in self._latents], axis=-1)
        # [B, groups, functions, n]
        values = self._values
        if len(values.shape) > 3 and values.shape[0] > 1:
            values = tf.gather(values, links)  # of each link its own functions
        return self._combined(values, tf.gather(rows, self._basis, axis=1))

    def _combined(self, values: tf.Tensor, windowed: tf.Tensor) -> list[tf.Tensor]:
        product = tf.matmul(values, windowed)
        groups, points = values.shape[-3:-1]
        product = tf.reshape(product, [-1, groups * points, product.shape[-1]])
        return self._split(product[:, : self._num_points])

    def _folded(self, latent: tf.Tensor, links: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
        """Latent tensors [B, width, n] with the noise power folded in."""
        chosen = tf.gather(latent, links)
        if latent.shape[2] == 1:
            return chosen[:, :, 0]
        weights = tf.cast(self._axis.weights(no), latent.dtype)
        return tf.einsum("bwqn,bq->bwn", chosen, weights)

    def _split(self, product: tf.Tensor) -> list[tf.Tensor]:
        sizes = [latent.shape[-1] for latent in self._latents]
        parts = tf.split(product, sizes, axis=-1)
        return [
            _unpacked(part, shape, kind)
            for part, (shape, kind) in zip(parts, self._layouts, strict=True)
        ]


class RefinedOnGrid(MappingOnGrid):
    """A mapping on one grid whose links have knots of their own: their rows stand one below the
    other, [num_rows, nodes, n].
    """

    def __call__(self, links: tf.Tensor, no: tf.Tensor) -> list[tf.Tensor]:
        # [B, groups, functions], and of these the rows [B, groups, functions, n].
        rows = tf.gather(self._basis, links)
        parts = [tf.gather(latent, rows) for latent in self._latents]
        weights = self._axis.weights(no)
        windowed = tf.concat([_at(part, weights) for part in parts], axis=-1)
        return self._combined(tf.gather(self._values, links), windowed)


def _at(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Rows [B, ..., nodes, n] with weights of the nodes [B, nodes] folded in."""
    if rows.shape[-2] == 1:
        return rows[..., 0, :]
    return tf.einsum("bgfqn,bq->bgfn", rows, tf.cast(weights, rows.dtype))


def _widened(tensors: dict[str, Array], prefix: str, number: int) -> Array:
    """Latent tensors of a component in single precision, whose columns may have scales."""
    latent = tensors[f"{prefix}latent.{number}"]
    scale = tensors.get(f"{prefix}scale.{number}")
    if scale is None:
        return latent
    by_column = latent.reshape(*latent.shape[:-1], -1, scale.shape[-1], 2).astype(np.float32)
    by_column *= scale[..., None, :, None]
    return by_column.reshape(latent.shape)


def _read_out(latent: Array, readout: Array | None) -> Array:
    """Latent tensors [num_links, width, nodes, n] of the functions themselves."""
    if readout is None:
        return latent
    folded: Array = np.einsum("lwr,lrqn->lwqn", readout.astype(np.float64), latent, optimize=True)
    return folded.astype(np.float32)


def _planar(latent: Array, kind: str) -> Array:
    """Pairs of reals [..., 2 n], interleaved, as all real parts and then all imaginary ones."""
    if kind != "complex":
        return latent
    return np.concatenate([latent[..., ::2], latent[..., 1::2]], axis=-1)


def _unpacked(rows: tf.Tensor, shape: Sequence[int], kind: str) -> tf.Tensor:
    """A component [..., *shape] from its rows of reals, see ``Layout`` of the compact mapping."""
    batch = [-1, rows.shape[1], *shape]
    if kind == "complex":
        real, imag = tf.split(rows, 2, axis=-1)
        return tf.reshape(tf.complex(real, imag), batch)
    matrix = tf.reshape(rows, batch)
    if kind == "real":
        return matrix
    lower = tf.linalg.band_part(matrix, -1, 0)
    below = lower - tf.linalg.band_part(matrix, 0, 0)
    above = matrix - lower
    return tf.complex(lower + _transposed(below), above - _transposed(above))


def _transposed(matrix: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matrix_transpose(matrix)
