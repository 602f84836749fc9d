"""Middleware: a capture file of what passes through a device."""
