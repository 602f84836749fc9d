"""Middleware: a bad network around a device."""
