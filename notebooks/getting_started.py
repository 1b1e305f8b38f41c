# %% [markdown]
# # Getting started
#
# From a scenario to a precoder in five lines. A *scenario* is a piece of a ray-traced city with a
# base station and users. For each *link*, here a group of eight users, the package learns the
# zero-forcing filter as a function of frequency, once. From then on the filter is *queried*, not
# computed, and every answer carries a proof.
#
# Needed: the package (`pip install -e .` in a clone of it), and some minutes on a laptop.

# %%
from functools import partial

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid, RZFPrecoder

import neumatc_mimo as nm
from neumatc_mimo.bench.timing import side_by_side
from neumatc_mimo.blocks import ZFPrecoder

# %% [markdown]
# ## A slot, as in any Sionna simulation
#
# One base station with 64 antennas sends one stream to each of eight users, on 3276 subcarriers
# of 30 kHz and in 14 OFDM symbols.

# %%
resource_grid = ResourceGrid(
    num_ofdm_symbols=14, fft_size=3276, subcarrier_spacing=30e3, num_tx=1, num_streams_per_tx=8
)
stream_management = StreamManagement(np.ones([8, 1]), 8)

# %% [markdown]
# ## The five lines
#
# `munich` is bundled with the package. Its training needs no GPU.

# %%
scenario = nm.load_scenario("munich")
links = scenario.multi_user
model = nm.train(scenario)
precoder = ZFPrecoder(resource_grid, stream_management, model)

# %% [markdown]
# The fifth line is the call. It needs symbols `x` and the channel `h`, in Sionna's shapes: here
# the channels of the first link, which stand still during the slot.

# %%
h = links.channel(links.grid_frequencies(), [0])  # [1, 3276, 8, 64]
h = h.permute(0, 2, 3, 1)[:, :, None, None, :, None].expand(-1, -1, -1, -1, -1, 14, -1)
_ = torch.manual_seed(0)
x = torch.randn(1, 1, 8, 14, 3276, dtype=torch.complex64)

# %%
x_precoded = precoder(x, h)
x_precoded.shape

# %% [markdown]
# ## What happened
#
# Nobody told the block which link this is. It compared the channel with those that the model
# knows, at a few subcarriers, and found the first one. It counts how every filter came about:

# %%
print(precoder.stats)

# %% [markdown]
# The scenario knows what it holds, and so does the model.

# %%
scenario

# %%
model

# %%
ax = nm.plots.scenario_map(scenario)

# %% [markdown]
# ## Is it right?
#
# Sionna's block computes the same filter anew for every subcarrier and every OFDM symbol. Its
# output is our yardstick. `nm.Exact()` goes into the same place as the model: it computes too,
# but once for all symbols in which the channel is the same, and needs no training.

# %%
blocks = {
    "Sionna": RZFPrecoder(resource_grid, stream_management),
    "exact": ZFPrecoder(resource_grid, stream_management, nm.Exact()),
    "queried": precoder,
}
outputs = {name: block(x, h) for name, block in blocks.items()}
for name, output in outputs.items():
    error = torch.linalg.vector_norm(output - outputs["Sionna"])
    error = float(error / torch.linalg.vector_norm(outputs["Sionna"]))
    print(f"{name} differs from Sionna by {error:.1e}")

# %% [markdown]
# And how long does it take? All three by turns, so that a change of the machine's load meets all
# of them; medians are shown.

# %%
times = side_by_side({name: partial(block, x, h) for name, block in blocks.items()})
milliseconds = {name: 1e3 * spread.median for name, spread in times.items()}

# %%
ax = nm.plots.times({"one slot": milliseconds})
_ = ax.figure.set_size_inches(6.4, 2.4)

# %% [markdown]
# Most of the gap to Sionna is work that need not be done at all; a query then gains what is left.
# For eight users that is little, for singular value decompositions and iterative precoders it is
# much: [where a query pays](where_a_query_pays.ipynb) measures it.
#
# ## The filter itself
#
# A model answers at any frequency of its band, not only on the grid. Here is one entry of the
# filter of link 0, exact and queried, with the delay of the first path taken out, which would
# turn the phase hundreds of times over the band:

# %%
f = torch.linspace(*links.band, 701, dtype=torch.float64)
(exact,) = nm.PseudoInverse().exact(links.channel(f, [0], dtype=torch.complex128)[0])[:1]
(queried,) = model.query("pseudo_inverse", f, links=[0])
turn = torch.exp(-2j * torch.pi * f * links.row_delays[0, 0])
pair = (exact[:, 0, 0] * turn, queried[0, :, 0, 0] * turn)
ax = nm.plots.entry(f, *pair)

# %%
ax = nm.plots.entry_error(f, *pair)

# %% [markdown]
# ## Keep it
#
# A model is a folder of plain tensors and a JSON card; nothing in it is executed when it is read.
#
# ```python
# model.save("models/munich")
# model = nm.ScenarioModel.load("models/munich")
# ```
#
# Next: [the method on one link](the_method_on_one_link.ipynb) explains what is learned,
# [substitution in Sionna](substitution_in_sionna.ipynb) changes two lines of a simulation, and
# [your own scenario](your_own_scenario.ipynb) brings your own data.
