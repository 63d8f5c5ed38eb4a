"""A second evaluator on cached features starts at once: it imports torch, and nothing else that takes long."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torchvision", "sklearn", "pandas", "scipy", "cv2", "skimage", "matplotlib", "lightning", "torchmetrics")


def test_k_nn_on_cached_features_imports_nothing_heavy_but_torch(ce, tiny_run) -> None:
    line = f"evaluate knn {tiny_run} --data digits --no-floors"
    assert ce(line).code == 0  # packs, describes and counts duplicates
    code = f"""
import sys
sys.argv = ["ce", *{line.split()!r}]
from ssl_ce.cli import main
main()
print(sorted(set(sys.modules) & set({HEAVY!r})))
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "knn-dino@1" in shown
    assert shown.splitlines()[-1] == "[]"
