"""AF_PACKET: an interface of the kernel's through mapped rings."""
