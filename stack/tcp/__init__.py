"""The Transmission Control Protocol (RFC 9293); its control blocks live in the C beside it."""

from .segment import (
    Flags,
    Mss,
    Nop,
    Option,
    Sack,
    SackPermitted,
    Segment,
    Timestamps,
    UnknownOption,
    WindowScale,
)

__all__ = [
    "Flags",
    "Mss",
    "Nop",
    "Option",
    "Sack",
    "SackPermitted",
    "Segment",
    "Timestamps",
    "UnknownOption",
    "WindowScale",
]
