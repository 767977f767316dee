"""The Ray session, and the machines that it runs on: resources, nodes, ports, cluster files, doctor."""
