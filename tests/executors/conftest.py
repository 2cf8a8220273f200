"""One Dask scheduler with two workers for all contract tests, since a cluster of its own takes
seconds to start.
"""

import pytest


@pytest.fixture(scope="session")
def dask_scheduler():
    """Its address."""
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address
