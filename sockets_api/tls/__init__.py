"""TLS over barewire sockets, by the standard library's `ssl`."""
