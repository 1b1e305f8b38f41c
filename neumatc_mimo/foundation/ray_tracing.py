"""Whether Sionna RT can run here, found out before it is imported."""

from __future__ import annotations

import subprocess
import sys

# Dr.Jit, on which it runs, loads LLVM's library on a CPU.
LLVM_HINT = (
    "install LLVM 19 (`apt-get install libllvm19`, `brew install llvm@19`), and where it is not "
    "found set DRJIT_LIBLLVM_PATH to its shared library"
)

# In a process of its own: an LLVM that does not fit crashes it. A backend that is there may still
# fail to compile, so that something is computed, in the way that Sionna RT does.
_PROGRAM = """
import sys
import mitsuba
mitsuba.set_variant(sys.argv[1] + "_ad_mono_polarized")
import drjit
print("computed", drjit.sum(mitsuba.Float(1, 2) * 2)[0])
"""


def computes(backend: str) -> bool:
    """Whether Sionna RT can compute with "llvm" or "cuda" here; takes a second or two."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, backend], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "computed" in done.stdout
