"""Test middleware: a device that completes transmits late and out of order."""
