# %% [markdown]
# # Substitution in Sionna
#
# How do you use the blocks in a link-level simulation that you already have? Its grid, bits,
# channel and error counting do not change. Only the block that inverts matrices is replaced. This
# takes two lines: the import and the constructor. This notebook replaces a zero-forcing precoder
# (downlink) and an MMSE detector (uplink), and compares error curves and times.

# %%
import time
import warnings
from functools import partial

import numpy as np
import torch
from sionna.phy import Block, config
from sionna.phy.channel import ApplyOFDMChannel
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LinearDetector, ResourceGrid, ResourceGridMapper, RZFPrecoder
from sionna.phy.utils import ebnodb2no, sim_ber

import neumatc_mimo as nm
from neumatc_mimo.bench.timing import side_by_side
from neumatc_mimo.blocks import MMSEDetector, ZFPrecoder

# %% [markdown]
# ## The simulation as it was
#
# There are eight users, 64 antennas, 16-QAM or 64-QAM, and a 5G LDPC code. The channels come from a
# scenario, but any other source of `h` in Sionna's layout works, too. To save time, we use every
# twelfth of the 3276 subcarriers. The band is the same, and a slot takes a twelfth of the time.

# %%
USERS, ANTENNAS, SYMBOLS, STRIDE = 8, 64, 2, 12

settings = nm.load_scenario("munich").config
settings = settings.model_copy(
    update={
        "multi_user": settings.multi_user.model_copy(update={"num_links": 8}),
        "single_user": None,
    }
)
scenario = nm.Scenario(settings)
links = scenario.multi_user


class Channels:
    """Downlink channels of the links in turn, [batch, users, 1, 1, antennas, symbols, fft_size]."""

    def __init__(self, grid, start=0):
        self.grid, self.next = grid, start
        index = torch.arange(grid.fft_size, dtype=torch.float64) - grid.fft_size // 2
        self.h = links.channel(
            index * grid.subcarrier_spacing
        )  # [links, fft_size, users, antennas]

    def __call__(self, batch_size):
        link = (torch.arange(batch_size) + self.next) % links.num_links
        self.next += batch_size
        h = self.h[link].permute(0, 2, 3, 1)[:, :, None, None, :, None]
        return h.expand(-1, -1, -1, -1, -1, self.grid.num_ofdm_symbols, -1)


# %%
class Link(Block):
    """What both directions share: bits, code, constellation and the resource grid."""

    def __init__(self, grid, num_bits_per_symbol, coderate):
        super().__init__()
        self.grid, self.num_bits_per_symbol, self.coderate = grid, num_bits_per_symbol, coderate
        n = grid.num_data_symbols * num_bits_per_symbol
        self.num_info = int(n * coderate)
        self.source, self.encoder = BinarySource(), LDPC5GEncoder(self.num_info, n)
        self.decoder = LDPC5GDecoder(self.encoder, num_iter=10)
        self.mapper = Mapper("qam", num_bits_per_symbol)
        self.to_grid, self.channels = ResourceGridMapper(grid), Channels(grid)
        self.propagate = ApplyOFDMChannel()

    def bits_and_symbols(self, batch_size):
        grid = self.grid
        bits = self.source([batch_size, grid.num_tx, grid.num_streams_per_tx, self.num_info])
        return bits, self.to_grid(self.mapper(self.encoder(bits)))

    def noise_power(self, ebno_db):
        return ebnodb2no(ebno_db, self.num_bits_per_symbol, self.coderate)


class Downlink(Link):
    """Precoding to the users; each knows its own gain and treats leakage as noise."""

    def __init__(self, grid, precoder):
        super().__init__(grid, num_bits_per_symbol=4, coderate=0.5)
        self.precoder, self.demapper = precoder, Demapper("app", "qam", 4)

    def call(self, batch_size, ebno_db):
        bits, x = self.bits_and_symbols(batch_size)
        h, no = self.channels(batch_size), self.noise_power(ebno_db)
        x_precoded, h_eff = self.precoder(x, h)
        y = self.propagate(x_precoded, h, no)[:, :, 0].flatten(2)
        gains = h_eff[:, :, 0, 0].flatten(3)  # [batch, user, stream, resource elements]
        own = gains.diagonal(dim1=1, dim2=2).movedim(-1, 1)
        power = own.abs().square()
        leakage = gains.abs().square().sum(2) - power
        llr = self.demapper(y / own, (no + leakage) / power)
        return bits[:, 0], self.decoder(llr)


class Uplink(Link):
    """Detection of the users at the base station, on the transpose of the channel."""

    def __init__(self, grid, detector):
        super().__init__(grid, num_bits_per_symbol=6, coderate=0.75)
        self.detector = detector

    def call(self, batch_size, ebno_db):
        bits, x = self.bits_and_symbols(batch_size)
        h, no = self.channels(batch_size), self.noise_power(ebno_db)
        h = h.permute(0, 3, 4, 1, 2, 5, 6)  # [batch, 1, antennas, users, 1, symbols, fft_size]
        y = self.propagate(x, h, no)
        return bits, self.decoder(self.detector(y, h, torch.zeros(()), no))


# %%
def downlink_grid(fft_size=3276 // STRIDE, spacing=30e3 * STRIDE, symbols=SYMBOLS):
    return ResourceGrid(symbols, fft_size, spacing, num_tx=1, num_streams_per_tx=USERS)


def uplink_grid(fft_size=3276 // STRIDE, spacing=30e3 * STRIDE, symbols=SYMBOLS):
    return ResourceGrid(symbols, fft_size, spacing, num_tx=USERS, num_streams_per_tx=1)


down, up = downlink_grid(), uplink_grid()
to_users = StreamManagement(np.ones([USERS, 1]), USERS)
from_users = StreamManagement(np.ones([1, USERS]), 1)

# %% [markdown]
# ## The two lines
#
# ```diff
# -from sionna.phy.ofdm import RZFPrecoder
# +from neumatc_mimo.blocks import ZFPrecoder
# -precoder = RZFPrecoder(down, to_users, return_effective_channel=True)
# +precoder = ZFPrecoder(down, to_users, model, return_effective_channel=True)
# ```
#
# ```diff
# -from sionna.phy.ofdm import LinearDetector
# +from neumatc_mimo.blocks import MMSEDetector
# -detector = LinearDetector("lmmse", "bit", "app", up, from_users, "qam", 6)
# +detector = MMSEDetector("bit", "app", up, from_users, model, "qam", 6)
# ```
#
# `model` is trained once. You can use `nm.Exact()` instead. Then the block computes all filters,
# and needs no training.

# %%
model = nm.train(scenario)
options = {"return_effective_channel": True}
precoders = {
    "Sionna": RZFPrecoder(down, to_users, **options),
    "exact": ZFPrecoder(down, to_users, nm.Exact(), **options),
    "queried": ZFPrecoder(down, to_users, model, **options),
}
detectors = {
    "Sionna": LinearDetector("lmmse", "bit", "app", up, from_users, "qam", 6),
    "exact": MMSEDetector("bit", "app", up, from_users, nm.Exact(), "qam", 6),
    "queried": MMSEDetector("bit", "app", up, from_users, model, "qam", 6),
}

# %% [markdown]
# ## The same error curves
#
# Each simulation starts from the same seed, so all have the same bits, channels and noise. They
# only differ by rounding, and the curves coincide.

# %%
SEED, BATCH = 1, 4


def curves(simulations, ebno_dbs, calls):
    found = {}
    for name, simulation in simulations.items():
        config.seed = SEED
        started = time.perf_counter()
        _, bler = sim_ber(simulation, ebno_dbs, BATCH, calls, verbose=False, early_stop=False)
        found[name] = bler.tolist()
        seconds = time.perf_counter() - started
        print(f"{name:8} {seconds:5.1f} s  BLER", *(f"{rate:.4f}" for rate in bler.tolist()))
    return found


# %%
ebno_dbs = torch.linspace(-12.0, 3.0, 4)
bler = curves({name: Downlink(down, block) for name, block in precoders.items()}, ebno_dbs, 4)
ax = nm.plots.error_curves(ebno_dbs, bler)
_ = ax.set_title("downlink, zero forcing")
print(precoders["queried"].stats)

# %%
# The model knows noise powers up to that of the channel, as the scenario asks for.
ebno_dbs = torch.linspace(-6.0, 15.0, 4)
bler = curves({name: Uplink(up, block) for name, block in detectors.items()}, ebno_dbs, 4)
ax = nm.plots.error_curves(ebno_dbs, bler)
_ = ax.set_title("uplink, MMSE")
print(detectors["queried"].stats)

# %% [markdown]
# ## Times at full size
#
# These are the times of the precoder and of the detector alone, for one slot of 3276 subcarriers
# and 14 symbols. All ways run in turn, so that a change of the machine's load affects all of them.
# The table shows medians. Every block runs once before it is measured.

# %%
size = {"fft_size": 3276, "spacing": 30e3, "symbols": 14}
down, up = downlink_grid(**size), uplink_grid(**size)
_ = torch.manual_seed(0)
h = Channels(down)(1)
x = torch.randn(1, 1, USERS, 14, 3276, dtype=torch.complex64)
y = torch.randn(1, 1, ANTENNAS, 14, 3276, dtype=torch.complex64)
h_up = h.permute(0, 3, 4, 1, 2, 5, 6)
blocks = {
    "zero forcing": {
        "Sionna": (RZFPrecoder(down, to_users), (x, h)),
        "exact": (ZFPrecoder(down, to_users, nm.Exact()), (x, h)),
        "queried": (ZFPrecoder(down, to_users, model), (x, h)),
    },
    "MMSE detector": {
        "Sionna": (
            LinearDetector("lmmse", "bit", "app", up, from_users, "qam", 6),
            (y, h_up, torch.zeros(()), torch.tensor(0.01)),
        ),
        "exact": (
            MMSEDetector("bit", "app", up, from_users, nm.Exact(), "qam", 6),
            (y, h_up, torch.zeros(()), torch.tensor(0.01)),
        ),
        "queried": (
            MMSEDetector("bit", "app", up, from_users, model, "qam", 6),
            (y, h_up, torch.zeros(()), torch.tensor(0.01)),
        ),
    },
}
milliseconds = {}
for task, ways in blocks.items():
    found = side_by_side({way: partial(block, *inputs) for way, (block, inputs) in ways.items()})
    milliseconds[task] = {way: 1e3 * spread.median for way, spread in found.items()}
    for way, value in milliseconds[task].items():
        print(f"{task:14} {way:8} {value:8.1f} ms")

# %%
ax = nm.plots.times(milliseconds)

# %% [markdown]
# There are two steps. From Sionna to *exact*, a filter is computed once per subcarrier instead of
# once per symbol. From *exact* to *queried*, it is not computed at all. The detector also has to
# demap. This takes the same time for every filter.
#
# ## What a query promises
#
# If a channel is not one of the trained links, its filters are computed exactly and counted, and
# the block warns once. So a block with a model accepts any channel:

# %%
block = ZFPrecoder(down, to_users, model)
stranger = torch.randn((*h.shape[:-2], 1, 3276), dtype=torch.complex64).expand(h.shape)
with warnings.catch_warnings(record=True) as told:
    x_precoded = block(x, stranger)
difference = x_precoded - ZFPrecoder(down, to_users, nm.Exact())(x, stranger)
print("largest difference from the exact block:", float(difference.abs().max()))
print(block.stats)
print(*(warning.message for warning in told), sep="\n")
