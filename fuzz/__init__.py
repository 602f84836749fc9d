"""Fuzzing protocols with hypothesis: strategies, targets, and what to hold against them.

`strategies` makes packets of each protocol, valid and mutated, and sessions of a peer; a target
(`StackTarget`, `KernelTarget`, `DeviceTarget`) is what they are played to; `Peer` is the far end of its
link; `conversation` and `differential` play the same script to two targets and compare.
"""

from .peer import Flow, Peer, pattern
from .targets import DeviceTarget, KernelTarget, StackTarget, Target

__all__ = ["DeviceTarget", "Flow", "KernelTarget", "Peer", "StackTarget", "Target", "pattern"]
