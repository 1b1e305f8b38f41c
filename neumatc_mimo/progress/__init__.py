"""How far a long step is: events, bars, TensorBoard."""

from neumatc_mimo.progress.events import Callback, Callbacks, Event, within
from neumatc_mimo.progress.reporting import reported

__all__ = ["Callback", "Callbacks", "Event", "reported", "within"]
