"""The pcap middleware on real traffic: tshark reads it and finds nothing wrong."""

from __future__ import annotations

import socket
import subprocess

import pytest

from tests.netns.link import KERNEL, Thread, pattern, receive_exactly

pytestmark = pytest.mark.netns


@pytest.fixture
def capture(make_link, tmp_path):
    """The path of a capture with ARP, ICMP, UDP (fragments too) and TCP in it, whole."""
    path = tmp_path / "capture.pcap"
    # Without offload every checksum is finished before the frame passes the capture.
    link = make_link(device=f"offload=0&pcap={path}")
    for size in (56, 3000):
        assert link.ping(KERNEL, size).error is None
    ours, kernels = link.udp()
    for size in (0, 100, 5000):
        ours.sendto(bytes(size), kernels.getsockname())
        kernels.sendto(kernels.recv(65536), ours.getsockname())
        assert len(ours.recv(65536)) == size
    data = pattern(300_000)
    ours, kernels = link.tcp("we connect")
    thread = Thread(ours.sendall, data)
    assert receive_exactly(kernels, len(data)) == data
    thread.result()
    ours.shutdown(socket.SHUT_WR)
    kernels.close()
    assert ours.recv(1) == b""
    link.stack.close()
    return path


def test_scapy_reads_it(capture):
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.l2 import ARP
    from scapy.utils import rdpcap

    packets = rdpcap(str(capture))
    for layer in (ARP, IP, ICMP, UDP, TCP):
        assert any(layer in packet for packet in packets), layer
    stream = b"".join(bytes(p[TCP].payload) for p in packets if TCP in p and p[IP].src != KERNEL)
    assert len(stream) >= 300_000


def test_tshark_finds_nothing_wrong(capture):
    checks = [f"{p}.check_checksum:TRUE" for p in ("ip", "tcp", "udp")]
    wrong = " || ".join(
        ["_ws.malformed", *(f"{p}.checksum.status == 0" for p in ("ip", "tcp", "udp", "icmp"))]
    )
    command = ["tshark", "-n", "-r", str(capture)]
    for check in checks:
        command += ["-o", check]
    whole = subprocess.run(command, capture_output=True, text=True, check=True)
    bad = subprocess.run([*command, "-Y", wrong], capture_output=True, text=True, check=True)
    assert len(whole.stdout.splitlines()) > 200
    assert bad.stdout == ""
