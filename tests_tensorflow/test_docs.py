"""The page on TensorFlow runs as it stands, with the small model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sionna.phy
import tensorflow as tf


def test_page(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/munich").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parent.parent / "docs/tensorflow.md"
    text = page.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "page"}
    # Links are drawn: of few calls, one may be harder than another 10 dB above.
    tf.random.set_seed(1)
    sionna.phy.config.seed = 1
    exec(compile(block, str(page), "exec"), namespace)
    stats = namespace["precoder"].stats
    assert stats.links_recalled == 4 and stats.links_unknown == 0
    assert 0 < namespace["ber"][1] < namespace["ber"][0] < 0.5
