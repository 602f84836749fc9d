"""TCP answers segments, ICMP and socket calls as the kernel does: the same peer plays to both."""

from __future__ import annotations

import dataclasses
import errno
import socket

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.tcp import Mss

from tests.kit import frames
from tests.netns.answers import (
    HERE,
    THERE,
    Answers,
    BarewireAnswers,
    Conversation,
    KernelAnswers,
    says,
)

ROUTER = "198.18.0.99"
IN, OUT, ERR, HUP, RDHUP = 0x1, 0x4, 0x8, 0x10, 0x2000
ERRORS = [icmp.Unreachable(code) for code in range(17) if code != 4] + [
    icmp.TimeExceeded(0), icmp.TimeExceeded(1), icmp.ParameterProblem(0), icmp.ParameterProblem(20, code=1),
]  # fmt: skip
IGNORED = ("Unreachable-16", "TimeExceeded-1")
GONE = (
    "Unreachable-0",
    "Unreachable-1",
    "TimeExceeded-0",
    "ParameterProblem-0",
    "ParameterProblem-1",
)


def name_of(message: icmp.ErrorMessage) -> str:
    return f"{type(message).__name__}-{getattr(message, 'code', 0)}"


class Errors(Answers):
    def hears(self, message: icmp.ErrorMessage, about: bytes) -> None:
        quoting = dataclasses.replace(message, quoted=about[:28])
        self.side.sends(frames.icmp_message(ROUTER, HERE, quoting))

    @pytest.mark.parametrize("message", ERRORS, ids=name_of)
    def test_an_icmp_error_ends_an_attempt(self, message: icmp.ErrorMessage) -> None:
        c = self.connecting()
        self.hears(message, self.syn.l3)
        c.told()
        ends = name_of(message) not in IGNORED
        assert c.state == ("CLOSED" if ends else "SYN_SENT")
        assert c.error == (self.meaning(message) if ends else "")

    def meaning(self, message: icmp.ErrorMessage) -> str:
        if isinstance(message, icmp.ParameterProblem):
            return "EPROTO"
        if isinstance(message, icmp.TimeExceeded):
            return "EHOSTUNREACH"
        assert isinstance(message, icmp.Unreachable)
        names = {
            0: "ENETUNREACH", 2: "ENOPROTOOPT", 3: "ECONNREFUSED", 5: "ENOTSUP", 6: "ENETUNREACH",
            7: "EHOSTDOWN", 8: "ENONET", 9: "ENETUNREACH", 11: "ENETUNREACH",
        }  # fmt: skip
        return names.get(message.code, "EHOSTUNREACH")

    @pytest.mark.parametrize("message", ERRORS, ids=name_of)
    def test_an_icmp_error_ends_no_connection(self, message: icmp.ErrorMessage) -> None:
        c = self.connected()
        c.sock.send(b"data")
        ((_, data),) = c.segments(1)
        self.hears(message, data.l3)
        c.told()
        assert c.state == "ESTABLISHED"
        assert c.error == ("" if name_of(message) in IGNORED else self.meaning(message))

    @pytest.mark.parametrize("message", ERRORS, ids=name_of)
    def test_an_icmp_error_and_a_half_open_child(self, message: icmp.ErrorMessage) -> None:
        listener = self.listener()
        c = Conversation(self.side, self.peer(stack_port=listener.getsockname()[1]))
        c.peer.sends("S", seq=0, mss=1460)
        ((_, answer),) = c.segments(1)
        self.hears(message, answer.l3)
        c.peer.sends("A", ack=1)
        ends = name_of(message) in GONE
        assert c.told(ends) == (["R 1"] if ends else [])
        assert says(lambda: self.keep(listener.accept()[0]) and "") == ("EAGAIN" if ends else "")


class Ends(Answers):
    # ---- before accept ---------------------------------------------------------------------------

    @pytest.mark.parametrize("first", ["", "PA", "FA"], ids=["empty", "data", "FIN"])
    def test_a_reset_before_accept(self, first: str) -> None:
        listener = self.listener()
        c = self.knocks(listener)
        c.peer.sends("A")
        if first:
            c.peer.sends(first, data=b"hello" if first == "PA" else b"")
            c.told()
        c.peer.sends("R")
        c.told()
        assert self.poll(listener) == IN
        c.sock, (host, port) = listener.accept()
        self.keep(c.sock).setblocking(False)
        assert (host, port) == (THERE, c.peer.port)
        assert (c.state, self.poll(c.sock)) == ("CLOSED", IN | OUT | ERR | HUP | RDHUP)
        reads = [says(lambda: c.sock.recv(10)) for _ in range(3)]
        assert reads == {
            "": ["ECONNRESET", b"", b""], "PA": [b"hello", "ECONNRESET", b""], "FA": [b"", b"", b""],
        }[first]  # fmt: skip
        assert c.error == ("EPIPE" if first == "FA" else "")
        assert says(lambda: c.sock.send(b"x")) == "EPIPE"
        assert says(c.sock.getpeername) == "ENOTCONN"

    # ---- shutdown --------------------------------------------------------------------------------

    @pytest.mark.parametrize("how", [0, 1, 2])
    def test_shutdown_while_connecting(self, how: int) -> None:
        c = self.connecting()
        assert says(lambda: c.sock.shutdown(how)) is None
        assert (c.state, self.poll(c.sock)) == ("CLOSED", OUT | ERR | HUP)
        c.peer.sends("SA", seq=0, ack=1, mss=1460)
        assert c.told(1) == ["R 1"]
        assert (c.error, self.poll(c.sock)) == ("ECONNRESET", OUT | HUP)
        assert says(lambda: c.sock.recv(1)) == "ENOTCONN"
        assert says(lambda: c.sock.send(b"x")) == "EPIPE"
        assert c.sock.connect_ex((THERE, c.peer.port)) == errno.EINPROGRESS
        c.sock.shutdown(how)
        assert says(lambda: c.sock.shutdown(how)) == "ENOTCONN"

    def test_a_refused_socket(self) -> None:
        c = self.connecting()
        c.peer.sends("RA", seq=0, ack=1)
        c.told()
        assert self.poll(c.sock) == IN | OUT | ERR | HUP | RDHUP
        assert [says(lambda: c.sock.recv(1)) for _ in range(2)] == ["ECONNREFUSED", b""]
        assert self.poll(c.sock) == IN | OUT | HUP | RDHUP
        assert says(lambda: c.sock.send(b"x")) == "EPIPE"

    @pytest.mark.parametrize("acked", [False, True], ids=["FIN_WAIT_1", "FIN_WAIT_2"])
    @pytest.mark.parametrize("what", ["data", "ahead", "with FIN", "FIN", "old"])
    @pytest.mark.parametrize("how", ["shutdown", "close"])
    def test_data_that_nobody_will_read(self, how: str, what: str, acked: bool) -> None:
        c = self.accepted()
        c.peer.sends("PA", data=b"12345")
        c.told()
        assert c.sock.recv(5) == b"12345"
        c.sock.close() if how == "close" else c.sock.shutdown(2)
        assert c.told(1) == ["FA 1 ack 6"]
        ack = 2 if acked else 1
        if acked:
            c.peer.sends("A", ack=2)
            assert c.told() == []
        flags, seq, data = {
            "data": ("PA", 6, b"more"), "ahead": ("PA", 106, b"more"), "with FIN": ("FPA", 6, b"more"),
            "FIN": ("FA", 6, b""), "old": ("PA", 1, b"12345"),
        }[what]  # fmt: skip
        c.peer.sends(flags, seq=seq, ack=ack, data=data)
        told = c.told(1)[:1]
        if what in ("FIN", "old"):
            assert told == [f"A 2 ack {7 if what == 'FIN' else 6}"]
            return
        assert told == [f"R {ack}"]
        if how == "shutdown":
            assert (c.state, self.poll(c.sock)) == ("CLOSED", IN | OUT | ERR | HUP | RDHUP)
            assert [says(lambda: c.sock.recv(9)) for _ in range(2)] == ["ECONNRESET", b""]
        c.peer.sends("PA", seq=6, ack=ack, data=b"more")
        assert c.told(1) == [f"R {ack}"]

    @pytest.mark.parametrize("how", [0, 1])
    def test_half_a_shutdown_reads(self, how: int) -> None:
        c = self.accepted()
        c.sock.shutdown(how)
        c.told()
        c.peer.sends("PA", ack=2 if how else 1, data=b"12345")
        c.told()
        assert says(lambda: c.sock.recv(9)) == b"12345"

    # ---- resets ----------------------------------------------------------------------------------

    def comes_to(self, state: str) -> Conversation:
        c = self.accepted()
        if state in ("CLOSE_WAIT", "LAST_ACK"):
            c.peer.sends("FA")
            c.told()
        if state not in ("ESTABLISHED", "CLOSE_WAIT"):
            c.sock.shutdown(1)
            c.told()
        if state == "CLOSING":
            c.peer.sends("FA", ack=1)
        if state == "FIN_WAIT_2":
            c.peer.sends("A", ack=2)
        c.told()
        assert c.state == state
        return c

    @pytest.mark.parametrize("off", [0, -1, -2, 1])
    @pytest.mark.parametrize(
        "state", ["ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSING", "FIN_WAIT_1", "FIN_WAIT_2"]
    )
    def test_a_reset(self, state: str, off: int) -> None:
        c = self.comes_to(state)
        after_fin = state in ("CLOSE_WAIT", "LAST_ACK", "CLOSING")
        c.peer.sends("R", seq=c.peer.next + off)
        challenged = [text[0] for text in c.told(off == 1)] == ["A"]
        if off == 0 or (off == -1 and after_fin):
            assert (c.state, challenged) == ("CLOSED", False)
            assert c.error == ("EPIPE" if state == "CLOSE_WAIT" else "ECONNRESET")
            assert says(lambda: c.sock.recv(9)) == b""
        else:
            assert (c.state, challenged, c.error) == (state, off == 1, "")

    @pytest.mark.parametrize("at", [1, 501, 1001, 1500, 1501, 1502])
    def test_a_reset_behind_the_last_sack_block(self, at: int) -> None:
        c = self.accepted(sack_ok=True)
        c.peer.sends(seq=1001, len=500)
        c.told()
        c.peer.sends("R", seq=at)
        c.told()
        assert c.state == ("CLOSED" if at in (1, 1501) else "ESTABLISHED")

    def test_what_waited_behind_the_fin_goes(self) -> None:
        c = self.accepted(sack_ok=True)
        c.peer.sends(seq=1001, len=500)
        c.told()
        c.peer.sends("FA", seq=1, data=b"last")
        (text, packet) = c.segments(1)[-1]
        assert (text, packet.tcp and packet.tcp.sack) == ("A 1 ack 6", ())
        assert [c.sock.recv(10), c.sock.recv(10)] == [b"last", b""]


class Headers(Answers):
    def test_an_urgent_pointer_of_0_names_the_first_byte(self) -> None:
        c = self.accepted()
        c.peer.sends("UA", data=b"Xbc", urgent=0)
        c.told()
        assert [c.sock.recv(1, socket.MSG_OOB), c.sock.recv(10)] == [b"X", b"bc"]

    @pytest.mark.parametrize("mss", [1, 47, 48, 49, 60, 88, 536, None])
    def test_the_peers_mss(self, mss: int | None) -> None:
        c = self.accepted(mss=mss)
        c.sock.send(bytes(300))
        sizes = [len(packet.tcp.payload) for _, packet in c.segments(1) if packet.tcp]
        assert max(sizes) == min(300, max(48, mss or 536))

    @pytest.mark.parametrize(
        "options", ["08000000", "03010000", "080a0000", "03ff0000", "01010108", "02030001"]
    )
    def test_a_broken_option_list(self, options: str) -> None:
        """Of the SYN: what stood before it counts."""
        listener = self.listener()
        c = Conversation(self.side, self.peer(stack_port=listener.getsockname()[1]))
        packet = bytearray(c.peer.packet("S", seq=0, options=(Mss(500), Mss(1))))
        packet[44:48] = bytes.fromhex(options)
        self.side.sends(frames.mended(bytes(packet)))
        assert c.told(1) == ["SA 0 ack 1"]
        c.peer.sends("A")
        c.told()
        c.sock = self.keep(listener.accept()[0])
        c.sock.send(bytes(1200))
        sizes = [len(packet.tcp.payload) for _, packet in c.segments(1) if packet.tcp]
        assert max(sizes) == 500

    def test_data_with_a_broken_option_list(self) -> None:
        c = self.accepted()
        packet = bytearray(c.peer.packet("PA", data=b"hello", options=(Mss(1),)))
        packet[40:44] = b"\x08\x00\x08\x00"
        self.side.sends(frames.mended(bytes(packet)))
        c.told()
        assert says(lambda: c.sock.recv(9)) == b"hello"

    @pytest.mark.parametrize(
        ("flags", "answer"),
        [("SF", ""), ("SFPU", ""), ("SPU", "SA"), ("SR", ""), ("SFA", "R"), ("FA", "R"), ("F", ""),
         ("", ""), ("FPU", "")],
    )  # fmt: skip
    def test_odd_flags_to_a_listener(self, flags: str, answer: str) -> None:
        listener = self.listener()
        c = Conversation(self.side, self.peer(stack_port=listener.getsockname()[1]))
        c.peer.sends(flags, seq=0)
        assert [text.split()[0] for text in c.told(bool(answer))] == ([answer] if answer else [])

    @pytest.mark.parametrize("off", [0, -1, -2, -100, -65_535, -70_000])
    @pytest.mark.parametrize("who", ["accepted", "connected"])
    @pytest.mark.parametrize("sent", [0, 5])
    def test_an_ack_from_before_our_first_byte(self, who: str, sent: int, off: int) -> None:
        c = self.accepted() if who == "accepted" else self.connected()
        if sent:
            c.sock.send(bytes(sent))
            c.told()
            c.peer.sends("A", ack=1 + sent)
            c.told()
        c.peer.sends("PA", ack=1 + off, data=b"data")
        c.told()
        good = off == 0 or (who == "connected" and off == -1)
        assert says(lambda: c.sock.recv(9)) == (b"data" if good else "EAGAIN")

    @pytest.mark.parametrize("offset", [0, 4, 6])
    def test_a_data_offset_that_lies(self, offset: int) -> None:
        listener = self.listener()
        c = Conversation(self.side, self.peer(stack_port=listener.getsockname()[1]))
        self.side.sends(frames.patched(c.peer.packet("S", seq=0), 32, offset << 4))
        assert c.told() == []


@pytest.mark.netns
class TestKernel(Errors, Ends, Headers, KernelAnswers):
    pass


class TestBarewire(Errors, Ends, Headers, BarewireAnswers):
    pass
