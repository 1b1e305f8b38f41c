"""The pipelines by the names that commands give them."""

from __future__ import annotations

from neumatc_mimo.simulation.multi_user import MultiUserDownlink, MultiUserUplink
from neumatc_mimo.simulation.pipeline import Pipeline
from neumatc_mimo.simulation.single_user import SingleUserSVD

PIPELINES: dict[str, type[Pipeline]] = {
    "downlink": MultiUserDownlink,
    "uplink": MultiUserUplink,
    "svd": SingleUserSVD,
}
