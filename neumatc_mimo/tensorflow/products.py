"""Matrices of each subcarrier times the symbols of a resource grid."""

from __future__ import annotations

import tensorflow as tf


def products(matrix: tf.Tensor, x: tf.Tensor, inner: tf.Tensor | None = None) -> tf.Tensor:
    """The matrices, or their products with inner ones, times the symbols.

    :param matrix: [batch_size, symbols or 1, num_subcarriers, m, n]
    :param x: [batch_size, n, symbols, num_subcarriers]
    :param inner: [batch_size, symbols or 1, num_subcarriers, n, n]

    :return: [batch_size, m, symbols, num_subcarriers]
    """
    if matrix.shape[1] == 1:
        # One matrix for all symbols, which are the columns of another.
        columns = tf.transpose(x, [0, 3, 1, 2])[:, None]
    else:
        columns = tf.transpose(x, [0, 2, 3, 1])[..., None]
    if inner is not None:
        columns = tf.matmul(inner, columns)
    found = tf.matmul(matrix, columns)
    if matrix.shape[1] == 1:
        return tf.transpose(found[:, 0], [0, 2, 3, 1])
    return tf.transpose(found[..., 0], [0, 3, 1, 2])


def through(received: tf.Tensor, *matrices: tf.Tensor) -> tf.Tensor:
    """Received symbols [batch_size, symbols, F, num_rx_ant] through products of matrices
    [batch_size, symbols or 1, F, ...], as [batch_size, symbols, F, K].
    """
    rows = received[:, :, :, None]
    shared = matrices[0].shape[1] == 1
    if shared:
        # One filter for all symbols, which are the rows of a matrix.
        rows = tf.transpose(received, [0, 2, 1, 3])[:, None]
    for matrix in matrices:
        rows = tf.matmul(rows, matrix)
    return tf.transpose(rows[:, 0], [0, 2, 1, 3]) if shared else rows[:, :, :, 0]
