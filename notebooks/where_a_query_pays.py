# %% [markdown]
# # Where a query pays, and where it does not
#
# When is a query faster than an exact result? This page measures it on the machine that runs it:
# for several operations at one size, and for several numbers of users. It also shows how the
# package chooses by itself.
#
# There are two different gains. Sionna computes a filter for every OFDM symbol. `nm.Exact()`
# computes it once per subcarrier, and needs no training. A query has to be faster than *that*.

# %%
import numpy as np
import torch
from IPython.display import Markdown
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

import neumatc_mimo as nm
from neumatc_mimo.bench.blocks import Point, at_point
from neumatc_mimo.bench.plan import plan
from neumatc_mimo.bench.sheet import table
from neumatc_mimo.bench.tasks import Beamforming, ZeroForcing
from neumatc_mimo.blocks import ZFPrecoder

# %% [markdown]
# ## What does it cost here?
#
# `plan` trains one link of each kind and times every block on one slot: 8 users or antennas, 64
# base-station antennas, 3276 subcarriers, 14 OFDM symbols. `neumatc-mimo plan mine.toml` does the
# same for your scenario.

# %%
config = nm.load_scenario("munich").config
config = config.model_copy(
    update={
        "multi_user": config.multi_user.model_copy(update={"wmmse_db": -20.0}),
        "single_user": config.single_user.model_copy(update={"ue": (8, 1), "num_streams": 4}),
    }
)
scenario = nm.Scenario(config)
entries = plan(scenario)
Markdown("\n".join(table(entries)))

# %% [markdown]
# The *limit* applies filters that are already known, with PyTorch. *Repaid* is the number of slots,
# over all links of the scenario, after which queries have saved the time of the training.

# %%
times = {
    entry["block"]: {way: entry[f"{way}, ms"] for way in ("exact", "queried", "limit")}
    for entry in entries
}
ax = nm.plots.times(times)
_ = ax.figure.set_size_inches(6.4, 6.4)

# %%
for entry in entries:
    ratio = entry["exact, ms"] / entry["queried, ms"]
    print(f"{entry['block']:14} a query takes 1/{ratio:.1f} of the time of an exact result")

# %% [markdown]
# The gain depends on the operation. For each subcarrier, an exact inverse takes about 16 K² M real
# multiplications. A query takes 4 w K M, where w is the number of trunk functions that are
# non-zero on a group of subcarriers. Both are cheap, and reading and writing a slot takes as long.
# So the gain is small. An SVD needs several times as many multiplications as an inverse, and an
# iterative precoder tens of times as many. A query takes the same time for all of them.
#
# ## Over the number of users

# %%
users = [2, 4, 8, 16]
tasks = (ZeroForcing, Beamforming)
scenarios, models, found = {}, {}, {task.title: {} for task in tasks}
munich = nm.load_scenario("munich")
# Of large groups the benchmark takes any; here they are as well conditioned as Munich's others.
changes = {"max_condition": munich.config.multi_user.max_condition}
changes |= {"operation": ()}
for number in users:
    point = Point(num_users=number)
    config = point.scenario(munich, num_links=1).config
    config = config.model_copy(update={"multi_user": config.multi_user.model_copy(update=changes)})
    scenarios[number] = nm.Scenario(config)
    models[number] = nm.train(scenarios[number])
    options = {"tasks": tasks, "seconds": 0.3, "theirs": False, "spline_samples": ()}
    for row in at_point(scenarios[number], point, models[number], **options):
        if row.way in ("exact", "queried", "limit"):
            found[row.block].setdefault(row.way, {})[number] = row.milliseconds.median

# %%
for block, ways in found.items():
    ax = nm.plots.times_along(
        "number K of users or antennas",
        users,
        {way: [ways[way][k] for k in users] for way in ("exact", "queried", "limit")},
    )
    _ = ax.set_title(f"{block}, M = 64")

# %%
rows = [
    {"block": block, "K": k, "exact / queried": f"{ways['exact'][k] / ways['queried'][k]:.2f}"}
    for block, ways in found.items()
    for k in users
]
Markdown("\n".join(table(rows)))

# %% [markdown]
# ## Let it choose
#
# `nm.Auto(model)` measures both ways on the first calls of each kind. After that it uses the faster
# one. All results are certified in the same way, so the choice only changes the time.

# %%
K = 8
links, model = scenarios[K].multi_user, models[K]
grid = ResourceGrid(
    num_ofdm_symbols=14, fft_size=3276, subcarrier_spacing=30e3, num_tx=1, num_streams_per_tx=K
)
streams = StreamManagement(np.ones([K, 1]), K)
auto = nm.Auto(model)
precoder = ZFPrecoder(grid, streams, auto)
h = links.channel(links.grid_frequencies())
h = h.permute(0, 2, 3, 1)[:, :, None, None, :, None].expand(-1, -1, -1, -1, -1, 14, -1)
_ = torch.manual_seed(0)
x = torch.randn(1, 1, K, 14, 3276, dtype=torch.complex64)
for _ in range(2 * (auto.num_trials + 1) + 2):
    precoder(x, h)
print("zero forcing:", *auto.choices().values())
print(precoder.stats)

# %% [markdown]
# ## Where it does not pay
#
# - **Few slots.** Below the number in the column *repaid*, exact results cost less than training.
# - **Few users, plain inverses.** See the pictures over K: exact and queried are as fast, or exact
#   is faster. Use `nm.Exact()`; it needs no model.
# - **The same channel again.** `nm.Cached(nm.Exact())` keeps the filters of the last call and
#   needs no training.
# - **Links that are not in the scenario.** They are computed exactly. If exact results are
#   expensive and there is no kernel, the model adapts to them instead, from exact results at a
#   twentieth of the subcarriers. `print(precoder.stats)` counts both.
# - **Estimated channels.** An estimate is not equal to any link, so its filters are exact. See
#   `docs/receivers.md`.
