"""The Transmission Control Protocol (RFC 9293); its control blocks live in the C beside it."""

from .segment import (
    AccEcn,
    FastOpen,
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
    "AccEcn",
    "FastOpen",
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
