"""A mapping's trunk: the functions of the frequency that its latent tensors combine.

One kind a file: combinations of fixed functions, splines on knots of each link, and a network as
NeuMatC has it.
"""

from neumatc_mimo.mapping.trunk.base import Trunk
from neumatc_mimo.mapping.trunk.basis import BasisTrunk
from neumatc_mimo.mapping.trunk.knots import KnotTrunk
from neumatc_mimo.mapping.trunk.network import NetworkTrunk
from neumatc_mimo.mapping.trunk.stored import make_trunk

__all__ = ["BasisTrunk", "KnotTrunk", "NetworkTrunk", "Trunk", "make_trunk"]
