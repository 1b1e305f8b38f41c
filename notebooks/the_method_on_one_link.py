# %% [markdown]
# # The method on one link
#
# How does the method work? NeuMatC replaces a matrix computation by a query: a small network maps
# a parameter p to r numbers, and one product with a learned tensor gives the result. This page
# uses one link of the bundled scenario. It shows step by step why this works: low rank,
# continuity, alignment, the residual, and adaptive sampling. The numbers of equations are those of
# the paper, *NeuMatC: A General Neural Framework For Fast Parametric Matrix Operation*.
#
# The parametric matrix is the channel H(f) of eight users and 64 antennas. The parameter is the
# frequency f. The result that we want is its pseudo-inverse, the zero-forcing filter W(f).

# %%
import dataclasses

import torch
from matplotlib import pyplot as plt

import neumatc_mimo as nm
from neumatc_mimo.families.waves import PlaneWaves
from neumatc_mimo.learning.algorithm1 import Algorithm1Config, train_algorithm1
from neumatc_mimo.metrics import eckart_young_bounds, relative_error

# %%
config = nm.load_scenario("munich").config
one = config.multi_user.model_copy(update={"num_links": 1})
scenario = nm.Scenario(config.model_copy(update={"multi_user": one, "single_user": None}))
links = scenario.multi_user
f = links.grid_frequencies()[::4]  # every fourth of 3276 subcarriers
links

# %% [markdown]
# ## Low rank
#
# Write the results at all frequencies as the rows of one matrix. If its singular values decay
# quickly, all rows are combinations of a few functions φ₁ … φᵣ of the frequency. The compact
# mapping assumes this, **Eq. (1)**:
#
# $$\hat Y_i(p) = \mathcal C_i \times_3 \varphi_i(p)$$
#
# A single matrix need not have a low rank: each W(f) has full rank. The decay depends on what is
# removed before. The first path of user k arrives after a delay τₖ, which multiplies row k of H by
# exp(−j2πfτₖ). This factor is known, and it causes most of the rank. So it is removed first and put
# back after the query.


# %%
def filters(h):
    """The zero-forcing filters of channels [num_frequencies, K, M]."""
    return nm.PseudoInverse().exact(h)[0]


delayed = links.channel(f, [0], dtype=torch.complex128)[0]
aligned = links.channel(f, [0], dtype=torch.complex128, aligned=True)[0]
samples = {
    "channel, delays in": delayed,
    "channel, delays out": aligned,
    "filter, delays in": filters(delayed),
    "filter, delays out": filters(aligned),
}
ax = nm.plots.singular_values(samples)
for name, values in samples.items():
    bounds = eckart_young_bounds(values)
    print(f"{name}: an error of 1 % needs rank {int((bounds >= 1e-2).sum())}")

# %% [markdown]
# ## Continuity
#
# The mapping is Lipschitz-continuous, **Eq. (2)**: its results at p and p′ differ by at most a
# constant times |p − p′|. So it can only represent results that are continuous. An inverse is
# continuous if the matrix stays invertible. The relative change of the filter between two
# frequencies is proportional to their distance, up to about the coherence bandwidth:

# %%
grid = links.grid_frequencies()
w = filters(links.channel(grid, [0], dtype=torch.complex128, aligned=True)[0])
steps = [2**k for k in range(11)]
changes = [relative_error(w[step:], w[:-step]) for step in steps]
khz = [step * links.subcarrier_spacing / 1e3 for step in steps]
fig, ax = plt.subplots(layout="constrained")
ax.loglog(
    khz, [float(c.median()) for c in changes], "o-", color=nm.plots.COLOURS[0], label="median"
)
ax.loglog(khz, [float(c.max()) for c in changes], "s--", color=nm.plots.COLOURS[1], label="largest")
ax.set(xlabel="distance of two frequencies [kHz]", ylabel="relative change of the filter")
ax.grid(alpha=0.3)
legend = ax.legend()

# %% [markdown]
# ## Alignment
#
# A singular value decomposition is not unique: each pair of singular vectors may be multiplied by
# a phase, and equal singular values may swap. The phases that a library returns are arbitrary for
# every matrix. So the vectors jump along the frequency, although the channel does not. The paper
# aligns its training samples (Section 3); continuous factors exist (Theorem 4). Here, each vector
# is followed by its largest overlap, and phases are fixed by parallel transport: the inner product
# of neighbours, ⟨v(pₖ), v(pₖ₊₁)⟩, is real and positive.

# %%
arrays = config.single_user.model_copy(update={"ue": (8, 1), "num_streams": 4, "num_links": 6})
user = nm.Scenario(config.model_copy(update={"single_user": arrays})).single_user
h = user.channel(f, dtype=torch.complex128, aligned=True)  # users with eight antennas
_, _, vh = torch.linalg.svd(h, full_matrices=False)
before = nm.SVD(4).exact(h)  # from eigenvectors of H Hᴴ
after = nm.SVD(4).align(before)
chosen = 1
entries = {
    "torch.linalg.svd": vh[chosen, :, 1, 0].conj(),
    "before alignment": before[2][chosen, :, 0, 1],
    "after alignment": after[2][chosen, :, 0, 1],
}
ax = nm.plots.phase(f, entries)
_ = ax.set_title("an entry of the second right singular vector")

# %% [markdown]
# Before alignment, the phase turns and jumps, and two routines of the same library give different
# phases. After alignment, only the changes of the channel are left.
#
# The table shows the largest step of any of the four vectors between neighbours, 120 kHz apart,
# for six users. A step of 2 is a change of sign. Jumps cannot be learned as a function of the
# frequency, even if they are few. The rank says little about them: it falls for one of these
# users, and stays about the same or rises for the others.

# %%
for link in range(user.num_links):
    text = f"user {link}:"
    for name, v in {"before": before[2][link], "after": after[2][link]}.items():
        step = torch.linalg.vector_norm(v[1:] - v[:-1], dim=-2).max()
        rank = int((eckart_young_bounds(v) >= 1e-2).sum())
        text += f"  {name}: step {float(step):.2f}, rank {rank} for 1 %;"
    print(text.rstrip(";"))

# %% [markdown]
# ## The residual
#
# A wrong inverse can be detected without the exact one: H W is not the identity. So the loss,
# **Eq. (3)**, has two terms,
#
# $$\sum_{p \in S} \lVert \hat Y(p) - Y(p) \rVert^2 + \lambda \sum_{p \in C} \lVert R(p) \rVert^2,$$
#
# the error at a few exact *samples* S, and the residual at *collocation points* C, which need no
# exact result. `train_algorithm1` is the paper's Algorithm 1: φ is a multilayer perceptron with
# sine activations, trained by gradient steps. In the paper, gradient steps also train the latent
# tensor (for this, use the settings `PLAIN_ADAM`). Here it is the least-squares solution at every
# step (variable projection), which needs fewer steps. To train in seconds, we use 10 MHz of the
# band, 24 exact samples and a rank of 32.

# %%
link = 0
delays = links.delays[link] - links.row_delays[link][:, None, None]
cycles = 1e6 * delays[..., None]  # a MHz
family = PlaneWaves(links.coefficients[link], cycles, [(-5.0, 5.0)])
settings = Algorithm1Config(
    rank=32,
    width=64,
    omega0=8.0,
    learning_rate=3e-3,
    steps=600,
    lam=0.03,
    num_collocation=32,
    refine_every=100,
    added=16,
    threshold=0.1,
    candidates=400,
)
operation, looks = nm.PseudoInverse(), []
mapping, report = train_algorithm1(
    operation, family, family.grid(24), settings, callback=looks.append
)
print(f"loss {report.loss[0]:.1e} at the first step, {report.loss[-1]:.1e} at the last")
print(f"{report.num_samples} exact samples, {report.num_collocation} collocation points")

# %%
p = family.grid(801)
exact, _ = operation.exact(family(p))
learned, _ = mapping(p)
band = 1e6 * p[:, 0]
ax = nm.plots.entry(band, exact[:, 0, 0], learned[:, 0, 0])
error = torch.linalg.vector_norm(learned - exact) / torch.linalg.vector_norm(exact)
print(f"relative error over the 10 MHz: {float(error):.3f}")
print(f"least possible at this rank:    {float(eckart_young_bounds(exact)[settings.rank]):.4f}")

# %% [markdown]
# ## Failure-informed adaptive sampling
#
# Where should the collocation points be? Every 100 steps, the mapping is evaluated at 400 random
# candidates (Section 2.2). Candidates have failed if their residual exceeds a threshold. As long as
# more than a tolerated share fails, the worst ones are added to the collocation points. This is the
# first evaluation and the last:

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, look in zip(axes, (looks[0], looks[-1]), strict=True):
    nm.plots.refinement(look, settings.threshold, parameter="frequency [MHz]", ax=ax)

# %%
for look in looks:
    print(
        f"step {look.step}: {100 * look.failure_probability:4.1f} % failed, "
        f"largest residual {float(look.residual.max()):.2f}, "
        f"{look.num_collocation} collocation points"
    )

# %% [markdown]
# Does it help? Here is the same training with random points instead of the worst ones:

# %%
random_looks = []
random_points = dataclasses.replace(settings, adaptive=False)
train_algorithm1(operation, family, family.grid(24), random_points, callback=random_looks.append)
for name, found in {"worst": looks, "random": random_looks}.items():
    largest = (f"{float(look.residual.max()):.2f}" for look in found)
    print(f"{name} points added, largest residual:", *largest)

# %% [markdown]
# It lowers the largest residuals sooner. How much this helps in the end depends on the family:
# `docs/paper.md` compares both for ten seeds.
#
# ## The query
#
# After the training, a result takes a forward pass of φ and one product with the latent tensor,
# **Eq. (4)**. No operation needs a factorisation. The network is the same for all entries.

# %%
numbers = sum(latent.numel() for latent in mapping.latents)
weights = sum(parameter.numel() for parameter in mapping.trunk.parameters())
print(f"trunk: {weights} weights; latent tensors: {numbers} real numbers")

# %% [markdown]
# ## What this package does instead
#
# The package uses the same mapping, but another training. By default, φ consists of splines, and
# the latent tensors are computed in closed form, by least squares from exact samples, for all 98
# MHz at once. Newton steps lower the residual at collocation points. If this does not help, these
# points become exact samples. In the end, each of the 3276 subcarriers is certified, and the few
# that fail are corrected or stored as exact patches. Here are both mappings on the same 10 MHz:

# %%
model = nm.train(scenario)
by_steps = operation.residual(family(p), tuple(c.to(torch.complex128) for c in mapping(p)))
residuals = {
    "Algorithm 1, 24 samples": by_steps,
    "closed form, certified": model.residual("pseudo_inverse", band, links=[link])[0],
}
ax = nm.plots.residual(band, residuals)
for name, values in residuals.items():
    print(f"{name}: median residual {float(values.median()):.1e}")
print(f"exact samples a link: {model.training['pseudo_inverse']['exact_samples_per_link']:.0f}")

# %%
model
