"""One seed, one thread and the kernels for every test of the networks: the nets are tiny, and
waiting threads cost more than they give.
"""

import pytest
import torch

from sbiwb.networks import compiled_flow


@pytest.fixture(autouse=True)
def _seed_and_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    compiled_flow.use(True)  # a training in this process may have chosen otherwise
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)
