"""AF_XDP: frames of an interface of the kernel's, before the kernel's stack sees them."""
