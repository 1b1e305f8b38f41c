"""Settings of all blocks, those of PyTorch and of TensorFlow alike: the only place of a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from neumatc_mimo.foundation.block_checks import check_type
from neumatc_mimo.foundation.tolerance import Tolerance


@dataclass(frozen=True, kw_only=True)
class ProofSettings:
    """What blocks of both frameworks are told about the answers that they use.

    :param certify: "link" (recognised links carry the certificate made in training), "call" (prove
        each call) or `None` (pure query, compiles and captures)
    :param tolerance: What a certificate asks for; `None` is what the solver asks for: a model what
        it was trained for, others 40 dB and a range error of 1e-2
    :param time_varying: Whether the channel differs between OFDM symbols; `None` finds out

    :raises TypeError: If the tolerance is none
    :raises ValueError: If there is no such value
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
    """What all blocks of PyTorch take as keyword arguments: :class:`ProofSettings`, and trust.

    :param trust: What matrices are computed from where the caller names links. "estimate" (default)
        asks for those of the channel that the block is given: links are recognised from it, and of
        an estimate, which none of them equals, they are computed exactly. "model" takes the word
        of ``links``, which is needed then, as side information: the matrices are those of the
        named links' own channels, with their gains and delays, as if these were known perfectly,
        and what the block is given is not compared with them. Links of -1 are computed exactly
        from what the block is given.
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
