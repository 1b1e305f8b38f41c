# %% [markdown]
# # Getting started
#
# How do you get from a scenario to a precoder? It takes five lines. A *scenario* is a part of a
# ray-traced city with a base station and users. For each *link*, here a group of eight users, the
# package learns the zero-forcing filter as a function of the frequency, once. After that the filter
# is *queried* instead of computed, and every result has a certificate.
#
# You need the package (`pip install -e .` in a clone), and some minutes on a laptop.

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
# the channels of the first link, which are constant during the slot.

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
# The block was not told which link this is. It compared the channel with those of the model and
# recognised the first link. It counts how every filter was obtained:

# %%
print(precoder.stats)

# %% [markdown]
# Print the scenario and the model to see what they contain.

# %%
scenario

# %%
model

# %%
ax = nm.plots.scenario_map(scenario)

# %% [markdown]
# ## Is it right?
#
# Sionna's block computes the same filter for every subcarrier and every OFDM symbol. We compare
# with its output. `nm.Exact()` can be used instead of the model: it computes the filters, too, but
# only once for all symbols with the same channel. It needs no training.

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
# How long does it take? All three run in turn, so that a change of the machine's load affects all
# of them. The table shows medians.

# %%
times = side_by_side({name: partial(block, x, h) for name, block in blocks.items()})
milliseconds = {name: 1e3 * spread.median for name, spread in times.items()}

# %%
ax = nm.plots.times({"one slot": milliseconds})
_ = ax.figure.set_size_inches(6.4, 2.4)

# %% [markdown]
# Most of the difference to Sionna is repeated work. A query can only save what is left. For eight
# users this is little, for iterative precoders it is much:
# [where a query pays](where_a_query_pays.ipynb) measures it.
#
# ## The filter itself
#
# You can query a model at any frequency of its band, not only on the grid. Here is one entry of
# the filter of link 0, exact and queried. The delay of the first path is removed, because it would
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
# A model is a folder with tensors and a JSON file. Nothing in it is executed when it is loaded.
#
# ```python
# model.save("models/munich")
# model = nm.ScenarioModel.load("models/munich")
# ```
#
# Next: [the method on one link](the_method_on_one_link.ipynb) explains what is learned,
# [substitution in Sionna](substitution_in_sionna.ipynb) changes two lines of a simulation, and
# [your own scenario](your_own_scenario.ipynb) uses your own data.
