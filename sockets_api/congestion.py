"""Congestion control in Python: `register` a class with a name and `on_report(report)`, and choose it
by that name with TCP_CONGESTION or `Stack(congestion=…)`. docs/congestion.md has an example."""

from barewire.stack.congestion import Algorithm, Decision, Report, names, register

__all__ = ["Algorithm", "Decision", "Report", "names", "register"]
