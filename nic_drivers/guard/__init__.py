"""TAP and TUN interfaces of the Linux kernel."""
