"""The Ray session and the nodes that it runs on: resources, nodes, ports, cluster files, doctor."""
