"""The resources of a connected cluster."""

import pytest
import ray
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

from tune.cluster.resources import allot, cluster_nodes
from tune.settings.settings import make

pytestmark = pytest.mark.usefixtures("ray_session")


def test_nodes_that_are_there_and_nodes_that_the_autoscaler_can_start() -> None:
    assert cluster_nodes()[1] == []
    group = NodeGroupConfig(name="gpu", resources={"CPU": 8, "GPU": 4}, max_count=3)
    gcs = ray._private.worker.global_worker.gcs_client
    gcs.report_cluster_config(ClusterConfig(node_group_configs=[group]).SerializeToString())
    try:
        there, startable = cluster_nodes()
        assert [node["CPU"] for node in there] == [1.0]
        assert startable == [{"CPU": 8.0, "GPU": 4.0}] * 3
        assert allot(make({}), there, startable).concurrent == 12
    finally:
        gcs.report_cluster_config(ClusterConfig().SerializeToString())
