"""Raw IP sockets: a stack on the kernel's own address, with CAP_NET_RAW alone."""
