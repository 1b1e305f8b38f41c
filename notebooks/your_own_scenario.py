# %% [markdown]
# # Your own scenario
#
# How do you use your own data? A scenario is a TOML file that names ray-traced paths in DeepMIMO's
# v4 format. The paths may be your own folder, a scenario of DeepMIMO's database, or a Sionna RT
# scene that you trace yourself. This page goes from a folder to an error curve. Then it traces a
# small scene.

# %%
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import neumatc_mimo as nm
from neumatc_mimo.scenario.bundled import scenarios_folder
from neumatc_mimo.simulation import MultiUserDownlink, error_curves, waterfall

# %% [markdown]
# ## A DeepMIMO folder
#
# As an example, we copy the folder that is bundled with the package. Your own folder comes from
# DeepMIMO's converters, or from `neumatc-mimo trace` below.

# %%
work = Path(tempfile.mkdtemp())
os.environ["MY_DATA"] = str(work)
shutil.copytree(scenarios_folder() / "data/munich_3p5", work / "old_town")
print(*sorted(path.name for path in (work / "old_town").iterdir())[:6], "…")

# %% [markdown]
# ## The scenario file
#
# `path` is relative to the file, and variables in it are expanded. Instead of `path`, you can write
# `scenario = "asu_campus_3p5"`, the name of a scenario in DeepMIMO's database. It is downloaded on
# first use. Everything except the data and the grid has a default.

# %%
text = """
name = "old town"
seed = 0

[deepmimo]
path = "$MY_DATA/old_town"

[array]
bs = [8, 4]                      # base station: 8 antennas in a row, 4 rows

[grid]
fft_size = 3276
subcarrier_spacing = 30e3        # Hz

[multi_user]
users_per_link = 4
num_links = 8
noise_db = [-40.0, 0.0]          # of the MMSE model, relative to unit mean channel power
"""
file = work / "old_town.toml"
file.write_text(text)
scenario = nm.load_scenario(file)
scenario

# %% [markdown]
# If a file is wrong, an error says why in one sentence:

# %%
(work / "wrong.toml").write_text(text.replace("users_per_link", "users_per_lnk"))
try:
    nm.load_scenario(work / "wrong.toml")
except ValueError as error:
    print(str(error).replace(str(work), "…"))

# %% [markdown]
# Look at the scenario before you train. Which users are served? Does the channel have the low rank
# that the method needs? Groups of users with nearly equal channels are skipped. If their share is
# large, the array may be wrong, or there may be too many users.

# %%
ax = nm.plots.scenario_map(scenario)
print(f"skipped groups: {100 * scenario.skipped['multi_user']:.0f} %")

# %%
links = scenario.multi_user
f = links.grid_frequencies()[::8]
(filters, _) = nm.PseudoInverse().exact(links.channel(f, [0], aligned=True)[0])
samples = {
    "channel, as it is": links.channel(f, [0])[0],
    "channel, first arrivals aligned": links.channel(f, [0], aligned=True)[0],
    "zero-forcing filter, aligned": filters,
}
ax = nm.plots.singular_values(samples)

# %% [markdown]
# ## Train, and compare with exact results

# %%
model = nm.train(scenario)
model

# %%
residual = model.residual("pseudo_inverse", f)
ax = nm.plots.residual(f, {"zero forcing": residual})


# %%
def pipeline(solver):
    return MultiUserDownlink(links, solver)


ebno_dbs = waterfall(pipeline(nm.Exact()), num_points=4, batch_size=8)
solvers = {"exact": nm.Exact(), "queried": model}
curves = error_curves(
    pipeline, solvers, ebno_dbs, batch_size=8, target_block_errors=50, max_calls=8
)
ax = nm.plots.error_curves(ebno_dbs, {name: curve.bler for name, curve in curves.items()})
for name, curve in curves.items():
    counts = zip(curve.block_errors, curve.num_blocks, strict=True)
    print(f"{name:8} blocks in error:", *(f"{wrong} of {all_}" for wrong, all_ in counts), sep="  ")

# %% [markdown]
# To do the same from a shell, run `neumatc-mimo train old_town.toml`, then `evaluate` and
# `simulate`.
#
# ## A scene of your own
#
# `neumatc-mimo trace` traces a Sionna RT scene from one base station to a grid of users, and
# writes a DeepMIMO folder. The scene is built in or your own XML file. The tracer needs a GPU or
# LLVM. On Debian or Ubuntu:
#
# ```
# apt install libllvm19
# export DRJIT_LIBLLVM_PATH=$(dpkg -L libllvm19 | grep 'libLLVM.so.19' | head -1)
# ```
#
# An LLVM that is too old does not raise an error, but crashes. So the command runs in a separate
# process. If it cannot trace, the rest of this page says so and is left out.

# %%
command = [sys.executable, "-m", "neumatc_mimo", "trace", "simple_street_canyon"]
command += [str(work / "canyon"), "--base-station", "-30", "0", "20"]
command += ["--x", "-40", "60", "--y", "-15", "15", "--users", "12", "6"]
command += ["--max-depth", "3", "--num-samples", "100000"]
run = subprocess.run(command, capture_output=True, text=True)
traced = run.returncode == 0
if traced:
    print("traced", len(list((work / "canyon").iterdir())), "files")
elif find_spec("sionna.rt") is None:
    print("Sionna RT is not installed.")
else:
    reason = (run.stderr.strip().splitlines() or ["the tracer crashed"])[-1]
    print("Sionna RT cannot trace here:", reason.replace(str(work), "…"))

# %%
if traced:
    (work / "canyon.toml").write_text(
        text.replace("old town", "canyon")
        .replace("old_town", "canyon")
        .replace("num_links = 8", "num_links = 2")
        .replace("users_per_link = 4", "users_per_link = 2")
    )
    canyon = nm.load_scenario(work / "canyon.toml")
    ax = nm.plots.scenario_map(canyon)

# %%
if traced:
    model = nm.train(canyon)
    f = canyon.multi_user.grid_frequencies()[::8]
    residual = model.residual("pseudo_inverse", f)
    ax = nm.plots.residual(f, {"zero forcing, street canyon": residual})

# %%
shutil.rmtree(work)
