"""DPDK: poll-mode drivers of network cards, and its virtual devices."""
