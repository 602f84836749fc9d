"""What helps to run, show and measure barewire: network namespaces, the demo, the benchmark."""
