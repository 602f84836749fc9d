"""io_uring: the frames of a TAP interface or of a packet socket, many of them by one request."""
