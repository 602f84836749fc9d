"""What a stack says of its devices: one form for every kind, the driver's and the kernel's counters."""

from __future__ import annotations

import json
from collections.abc import Callable

import barewire
import pytest
from barewire import cli
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine

pytestmark = pytest.mark.netns

EVERY_KIND = {
    "rx_frames", "rx_bytes", "tx_frames", "tx_bytes",
    "rx_dropped", "tx_dropped", "tx_full", "wakeups",
}  # fmt: skip
OWN = {
    "tap:bw0?host=198.18.0.1/24": {"rx_too_long", "rx_malformed", "tx_too_long", "tx_down"},
    "packet:veth0": {"kernel_rx_seen", "kernel_rx_dropped", "kernel_rx_freezes", "rx_truncated"},
    "packet:veth0?rx=block": {"kernel_rx_seen", "kernel_rx_dropped"},
}
XDP = "xdp:veth0"
XDP_OWN = {"to_stack", "to_kernel", "no_socket", "kernel_rx_ring_full", "rx_too_long"}


@pytest.mark.parametrize("wrapped", ["", "loss=0&pcap=/dev/null"])
@pytest.mark.parametrize("name", [*OWN, *for_machine(XDP)])
def test_interface_stats(make_netns: Callable[..., Namespace], name: str, wrapped: str) -> None:
    own = {**OWN, XDP: XDP_OWN}[name]
    near, far = make_netns("near"), make_netns("far")
    netns.veth(near, far, "198.18.1.1/24", "198.18.1.2/24")
    name += ("&" if "?" in name else "?") + wrapped if wrapped else ""
    with near.entered(), barewire.Stack(name, addresses=["198.18.0.2/24"]) as stack:
        first = stack.interface_stats()
        assert set(first) >= EVERY_KIND | own
        assert all(value >= 0 for value in first.values())
        assert set(stack.interface_stats("lo")) == EVERY_KIND


@pytest.mark.machine
def test_the_command_line_shows_the_verdicts_of_programs_that_run(
    make_netns: Callable[..., Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    near, far = make_netns("near"), make_netns("far")
    netns.veth(near, far, "198.18.1.1/24", "198.18.1.2/24")
    with near.entered(), barewire.Stack("xdp:veth0", addresses=["198.18.1.3/24"]) as stack:
        assert near.run(["ping", "-c1", "-W2", "198.18.1.2"], capture_output=True).returncode == 0
        counted = stack.interface_stats()
        assert cli.main(["devices", "-v"]) == 0
        out = capsys.readouterr().out
        assert "\n  xdp:veth0\n    to_stack" in out
        assert cli.main(["devices", "-v", "--json"]) == 0
        kinds = {kind["kind"]: kind for kind in json.loads(capsys.readouterr().out)}
        [shown] = [device for device in kinds["xdp"]["running"] if device["name"] == "veth0"]
        assert shown["counters"]["to_kernel"] >= counted["to_kernel"] > 0
        with far.entered():
            cli.main(["devices", "-v"])
        assert "xdp:(in another network namespace)" in capsys.readouterr().out
    with near.entered():
        cli.main(["devices", "-v"])
        out = capsys.readouterr().out
    assert "running:" in out and "xdp:veth0" not in out, "it ends with its stack"
