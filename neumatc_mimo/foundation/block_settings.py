"""Settings of all blocks, those of PyTorch and of TensorFlow alike: the only place of a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from neumatc_mimo.foundation.block_checks import check_type
from neumatc_mimo.foundation.tolerance import Tolerance


@dataclass(frozen=True, kw_only=True)
class ProofSettings:
    """Settings of the blocks of both frameworks about the proofs of results.

    :param certify: "link" (recognised links have the certificate of the training), "call" (each
        result is proven in the call) or `None` (nothing is proven; the block can be compiled and
        captured on a GPU)
    :param tolerance: What a certificate requires. `None`: the solver's default, which is that of
        the training for a model, and 40 dB and a range error of 1e-2 for others
    :param time_varying: Whether the channel differs between OFDM symbols. `None`: the block finds
        out

    :raises TypeError: If the tolerance is not a Tolerance
    :raises ValueError: If a setting has an unknown value
    """

    certify: str | None = "link"
    tolerance: Tolerance | None = None
    time_varying: bool | None = None

    def __post_init__(self) -> None:
        if self.certify not in ("link", "call", None):
            raise ValueError(f'certify is {self.certify!r}, it must be "link", "call" or None.')
        if self.tolerance is not None:
            check_type("tolerance", self.tolerance, Tolerance)
        if self.time_varying not in (None, True, False):
            raise ValueError(
                f"time_varying is {self.time_varying!r}, it must be None, True or False."
            )


@dataclass(frozen=True, kw_only=True)
class BlockSettings(ProofSettings):
    """Keyword arguments of all PyTorch blocks: :class:`ProofSettings`, and ``trust``.

    :param trust: Which channel the matrices are computed from. "estimate" (default): from the
        channel in the call. Links are recognised from it. An estimate is not equal to any link, so
        its matrices are computed exactly. "model": from the channels of the links that ``links``
        names, with their gains and delays, as if these were known perfectly (side information).
        ``links`` is then required, and the channel in the call is not compared with them. For links
        of -1, the matrices are computed exactly from the channel in the call.
    """

    trust: str = "estimate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trust not in ("estimate", "model"):
            raise ValueError(f'trust is {self.trust!r}, it must be "estimate" or "model".')


class ProofKeywords(TypedDict, total=False):
    """:class:`ProofSettings` as keyword arguments, for type checkers."""

    certify: str | None
    tolerance: Tolerance | None
    time_varying: bool | None


class BlockKeywords(ProofKeywords, total=False):
    """:class:`BlockSettings` as keyword arguments, for type checkers."""

    trust: str
