import subprocess
import sys

import pytest

_SCRIPT = """
import resource, torch

torch.set_num_threads(1)
from ssl_ce.pretraining.allocation import kept_memory

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(16 << 20)  # 64 MiB: 16,384 pages
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / rounds

with kept_memory():
    faults(20)  # glibc keeps the odd bytes around the first few blocks apart, so these do not merge
    kept = faults(5)
print(kept, faults(5))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_a_freed_block_is_used_again_only_inside():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    kept, given_back = map(float, done.stdout.split())
    assert kept < 100
    assert given_back > 4 * kept + 20  # huge pages make few of many
