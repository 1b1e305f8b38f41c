# %% [markdown]
# # SVD beamforming and water-filling
#
# How do you send several streams to one user with several antennas? With H = U Σ Vᴴ on every
# subcarrier, streams are sent along the strongest columns of V and received along those of U. The
# streams then do not interfere. An SVD is expensive. A model learns the triplets as functions of
# the frequency, so that they can be queried.

# %%
import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

import neumatc_mimo as nm
from neumatc_mimo.blocks import SVDBeamformer, SVDCombiner
from neumatc_mimo.blocks.power import waterfilling
from neumatc_mimo.metrics import achievable_rate
from neumatc_mimo.simulation import SingleUserSVD, error_curves, waterfall

# %%
config = nm.load_scenario("munich").config
config = config.model_copy(
    update={
        "multi_user": None,
        "single_user": config.single_user.model_copy(update={"num_links": 8}),
    }
)
scenario = nm.Scenario(config)
links = scenario.single_user
model = nm.train(scenario)
model

# %% [markdown]
# ## The streams along frequency
#
# Streams start with the strongest triplets at the centre of the band. From there, each one is
# followed to both sides. Where two singular values nearly cross, a stream stays with its own
# triplet, even if this is no longer the stronger one.

# %%
LINK = 0
f = links.grid_frequencies()
h = links.channel(f, [LINK])  # [1, 3276, 4, 64]
u, s, v = model.query("svd", f, links=[LINK])
ax = nm.plots.branches(f, torch.linalg.svdvals(h[0]))
_ = ax.set(title=f"all singular values of link {LINK}", ylim=(2e-2, 50))

# %% [markdown]
# Queried triplets satisfy their equations, H V = U Σ and Hᴴ U = V Σ, to within the tolerance. This
# is the residual of each of the eight links:

# %%
few = f[::8]
residual = model.residual("svd", few)
ax = nm.plots.residual(few, {"queried SVD": residual}, threshold=1e-2)
print(f"median {float(residual.median()):.1e}, largest {float(residual.max()):.1e}")

# %% [markdown]
# ## Beamformer and combiner
#
# Both blocks get the same solver, so they use the same triplets. With two streams in one slot and
# without noise, the received symbols are equal to those that were sent.

# %%
grid = ResourceGrid(
    num_ofdm_symbols=14, fft_size=3276, subcarrier_spacing=30e3, num_tx=1, num_streams_per_tx=2
)
streams = StreamManagement(np.ones([1, 1]), 2)
beamformer, combiner = SVDBeamformer(grid, streams, model), SVDCombiner(grid, streams, model)

slot = h.permute(0, 2, 3, 1)[:, None, :, None, :, None].expand(-1, -1, -1, -1, -1, 14, -1)
_ = torch.manual_seed(0)
x = torch.randn(1, 1, 2, 14, 3276, dtype=torch.complex64)
sent = beamformer(x, slot)  # [1, 1, 64, 14, 3276]
received = torch.einsum("bfkm,btmsf->btksf", h, sent)
x_hat, no_eff = combiner(received, slot, torch.tensor(1e-3))
error = (x_hat.reshape(x.shape) - x).abs().max()
print(f"largest error of a symbol: {float(error):.1e}")
print(beamformer.stats)

# %% [markdown]
# ## Water-filling
#
# If the noise is high, uniform powers waste power on weak streams. Water-filling gives stream k the
# power p_k = (μ − σ²/s_k²)⁺. The water level μ is chosen such that the sum of the powers is the
# number of streams. In a block, set `power="waterfilling"`, and pass the noise power to the call:
#
# ```python
# beamformer = SVDBeamformer(grid, streams, model, power="waterfilling")
# combiner = SVDCombiner(grid, streams, model, power="waterfilling")
# x_precoded = beamformer(x, h, no=no)
# ```
#
# These are the powers over frequency at three noise powers, from queried singular values:

# %%
no_dbs = [-10.0, 0.0, 10.0]
powers = [waterfilling(s[0], torch.full((), 10 ** (no / 10))) for no in no_dbs]
ax = nm.plots.branches(f, torch.stack([p[:, 1] for p in powers], dim=-1))
_ = ax.set(yscale="linear", ylabel="power of the second stream", ylim=(-0.05, 1.05))
for line, no in zip(ax.lines, no_dbs, strict=True):
    line.set_label(f"noise power {no:g} dB")
legend = ax.legend()

# %% [markdown]
# Water-filling increases the rate at a low signal-to-noise ratio. This is the mean over links and
# subcarriers, exact and queried, with uniform powers and with water-filling:

# %%
snr_dbs = np.arange(-20.0, 21.0, 5.0)
few = f[::32]
h_few = links.channel(few)
_, s_few, v_few = model.query("svd", few)
_, s_exact, v_exact = nm.SVD(2).exact(h_few)
rates = {}
for way, (values, vectors) in {"exact": (s_exact, v_exact), "queried": (s_few, v_few)}.items():
    for power in ("uniform", "waterfilling"):
        rates[f"{way}, {power}"] = []
        for snr in snr_dbs:
            no = torch.full((), 10 ** (-snr / 10))
            amplitude = torch.ones_like(values)
            if power == "waterfilling":
                amplitude = waterfilling(values, no).sqrt()
            rate = achievable_rate(h_few, vectors * amplitude[..., None, :].to(vectors), no)
            rates[f"{way}, {power}"].append(float(rate.mean()))
ax = nm.plots.achievable_rates(snr_dbs, rates)
for name in ("uniform", "waterfilling"):
    lost = np.subtract(rates[f"exact, {name}"], rates[f"queried, {name}"])
    print(f"{name}: a query loses {100 * max(lost / rates[f'exact, {name}']):.4f} % at most")
gain = np.divide(rates["exact, waterfilling"], rates["exact, uniform"])
print(f"water-filling gains {100 * (gain[0] - 1):.1f} % at {snr_dbs[0]:g} dB")

# %% [markdown]
# ## Coded error rates
#
# The error curve falls in two steps: first the strong stream is decoded, then the weak one. For
# both solvers, the package's pipeline transmits the same bits over the same channels with the same
# noise, with a 5G LDPC code, on every twelfth subcarrier.


# %%
def pipeline(solver):
    return SingleUserSVD(links, solver)


ebno_dbs = waterfall(pipeline(nm.Exact()), num_points=6, batch_size=8)
curves = error_curves(
    pipeline,
    {"exact": nm.Exact(), "queried": model},
    ebno_dbs,
    batch_size=8,
    target_block_errors=50,
    max_calls=8,
)
ax = nm.plots.error_curves(ebno_dbs, {name: curve.bler for name, curve in curves.items()})
for name, curve in curves.items():
    counts = zip(curve.block_errors, curve.num_blocks, strict=True)
    print(f"{name:8} blocks in error:", *(f"{wrong} of {all_}" for wrong, all_ in counts), sep="  ")
