"""What barewire says of Linux, a test shows beside the kernel: every statement names it, or stands here.

In the documents a row or paragraph that says "Linux" names a test that plays the same to both, or has its
phrase in SHOWN; in the sources every comment has. Whether the test shows what is said is for people to judge.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_rfc_records import REFERENCE, missing

pytestmark = pytest.mark.tree

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "docs/*.md", "docs/rfc/*.md")
SOURCES = ("stack/**/*.[ch]", "stack/**/*.py", "sockets_api/**/*.[ch]", "sockets_api/**/*.py",
           "l2/**/*.h", "l2/**/*.py", "nic_drivers/**/*.[ch]", "nic_drivers/**/*.py")  # fmt: skip
# Not what is needed ("Linux 6.2 and later") and not whose it is ("an interface of the Linux kernel").
STATEMENT = re.compile(r"\bLinux\b(?! kernel| \d)|\bas on the kernel\b|\bas the kernel's\b")
BESIDE_THE_KERNEL = (
    "tests/fuzz/test_found.py",
    "tests/netns/",
    "tests/nic_drivers/test_raw_claims.py",
    "tests/sockets/test_arguments.py",
    "tests/sockets/test_descriptions.py",
    "tests/sockets/test_epoll.py",
    "tests/sockets/test_reuse.py",
)
COMPARED = (
    "docs/fuzz.md",
)  # differences that barewire.fuzz accepts: the comparison itself meets them
NO_STATEMENT = {"README.md": ("Python 3.11 or later, Linux",)}

WANTED = "name a test that plays it to the kernel too: in the row or paragraph, or in SHOWN"
ARGUMENTS = "tests/sockets/test_arguments.py::test_same"
RAW = "tests/nic_drivers/test_raw_claims.py::"
EPOLL = "tests/sockets/test_epoll.py::Epoll::"
TIME_LIMITS = "tests/sockets/test_time_limits.py::"
REUSE = "tests/sockets/test_reuse.py::test_who_may_share_a_name"
URGENT = "tests/sockets/test_urgent.py::"
INFO = "tests/sockets/test_tcp_info.py::"
SEGMENTS = "tests/sockets/test_datagram.py::test_segments"
LINUX, HANDSHAKE, IP, ANSWERS, ICMP = (
    f"tests/netns/test_{name}.py::"
    for name in ("as_linux", "as_linux_handshake", "as_linux_ip", "answers", "icmp_meets_linux")
)
INTERFACE_DOWN = (
    "tests/netns/test_interface_down.py::test_a_transfer_outlives_it_as_the_kernels_own_does"
)
FOUND = "tests/fuzz/test_found.py::test_the_kernel_gives_the_same"
NUMBERS = IP + "test_the_kernels_numbers"
AGREED_ON = "tests/netns/test_ecn_meets_linux.py::test_what_the_two_agree_on"
SHOWN = {
    "README.md": {
        "with Linux's options": "tests/netns/test_fastopen.py::test_the_options_are_the_kernels",
        "Urgent data as on Linux": URGENT + "test_the_urgent_byte",
    },
    "ARCHITECTURE.md": {
        "Linux withdraws the": INTERFACE_DOWN,
        "give round-trip samples, as on Linux": LINUX + "test_a_block_gives_a_round_trip",
        "after Minshall**, as on Linux": LINUX + "test_a_short_segment_waits_only_for_a_short_one",
        'Linux\'s EAGAIN for "no port is free"': "tests/netns/test_no_port.py::test_sending_and_connecting",
        "urgent byte, as on Linux": URGENT + "test_the_urgent_byte",
        "which Linux's are not": NUMBERS,
        "window scale, as Linux's": HANDSHAKE + "test_a_cookies_timestamp_holds_the_options",
        "200 ms at least**, as on Linux": LINUX + "test_round_trips_and_time_outs",
        "is accepted, as Linux": HANDSHAKE + "test_without_their_option_segments_are_taken",
    },
    "docs/devices.md": {
        "as on Linux, no socket hears of it": INTERFACE_DOWN,
        "`IP_MTU_DISCOVER`, Linux's default": ARGUMENTS,
        "above those that Linux chooses": NUMBERS,
        "that Linux may choose": RAW + "test_ports_reserved_from_the_kernel_may_be_taken",
    },
    "docs/trace.md": {
        "Linux counts also what it has sent again": HANDSHAKE + "test_where_tcp_info_differs",
        "which Linux leaves out": HANDSHAKE + "test_where_tcp_info_differs",
        "Linux computes a rate always": HANDSHAKE + "test_where_tcp_info_differs",
    },
    "stack/tcp/user/user.c": {
        "with Linux's errors": "tests/sockets/test_stream.py::test_unconnected",
        "Linux: this host": ARGUMENTS,
        "takes nothing from the reader (Linux)": ANSWERS + "test_a_reset",
        "as on Linux: the attempt ends": ANSWERS + "test_shutdown_while_connecting",
        "and yet it is shut (Linux)": ANSWERS + "test_shutdown_while_connecting",
    },
    "stack/tcp/in/ack.c": {
        "Linux counts the SYN of a connect alone": LINUX + "test_what_a_connection_begins_with",
        "one loss may be none, as on Linux": LINUX + "test_a_lost_syn_counts_only_if_it_was_lost_twice",
    },
    "stack/tcp/ecn/ecn.c": {
        "Linux's tcp_ecn_fallback": HANDSHAKE + "test_the_second_syn_asks_for_no_ecn",
        "As Linux, no RFC 3168": HANDSHAKE + "test_a_syn_that_says_ect_or_ce_is_declined",
    },
    "stack/tcp/loss/recovery.c": {
        "say nothing of us (as Linux)": LINUX + "test_a_dsack_undoes_unless_the_network_duplicates",
    },
    "stack/tcp/user/buffers.c": {
        "as in Linux": HANDSHAKE + "test_a_window_grows_with_what_is_read",
    },
    "stack/tcp/out/mtu_probe.c": {
        "Linux's tcp_base_mss": NUMBERS,
        "Linux's tcp_probe_threshold": NUMBERS,
        "Linux's tcp_probe_interval": NUMBERS,
    },
    "stack/tcp/in/error.c": {
        "As on Linux any error ends one": ANSWERS + "test_an_icmp_error_ends_an_attempt",
    },
    "stack/tcp/user/options.c": {
        "still has a say, as on Linux": FOUND,
    },
    "stack/tcp/tcp_timer.c": {
        "or a guess; as on Linux": FOUND,
        "The variance, as Linux has it": LINUX + "test_round_trips_and_time_outs",
        "nothing else, as on Linux": LINUX + "test_the_user_timeout_of_a_listener_is_not_its_childrens_yet",
        "the number of probes (as on Linux)": LINUX + "test_the_user_timeout_decides",
    },
    "stack/tcp/out/output.c": {
        "and Linux does it": LINUX + "test_a_short_segment_waits_only_for_a_short_one",
    },
    "stack/tcp/open/cookies.c": {
        "as Linux does it": HANDSHAKE + "test_a_cookies_timestamp_holds_the_options",
    },
    "stack/tcp/out/stateless.c": {"as Linux": ICMP + "test_tos"},
    "stack/tcp/state.c": {
        "its data and its error, as on Linux": ANSWERS + "test_a_reset_before_accept",
        "ages begin here, as on Linux": LINUX + "test_ages_count_from_the_handshake",
    },
    "stack/tcp/out/emit.c": {
        "As on Linux it goes with DF": FOUND,
    },
    "stack/tcp/tcp.h": {
        "of its variance term, as Linux": LINUX + "test_round_trips_and_time_outs",
        "an MSL of 30 s, as Linux": HANDSHAKE + "test_time_wait_lasts_a_minute",
        "Linux's tcp_max_reordering": NUMBERS,
    },
    "stack/tcp/tcb.h": {"Linux's tcpi_reordering": LINUX + "test_the_degree_of_reordering"},
    "stack/drive/poller.c": {"As Linux: ERR and HUP": EPOLL + "test_exclusive"},
    "stack/tcp/in/reassembly.c": {
        "Quick ACKs, as Linux does": HANDSHAKE + "test_what_came_before_makes_acks_quick",
        "After SHUT_RD alone it may be, as on Linux": ANSWERS + "test_half_a_shutdown_reads",
        "bytes_received++; /* as Linux": LINUX + "test_what_a_connection_begins_with",
    },
    "stack/tcp/user/info.c": {
        "in the fields of Linux's struct tcp_info": INFO + "test_the_same_exchange_says_the_same",
        "Linux counts segments where": LINUX + "test_windows_are_whole_segments",
        "tcpi_lost Linux also counts": HANDSHAKE + "test_where_tcp_info_differs",
        "Linux's TCP_CA_Open": LINUX + "test_the_timer_restarts_when_the_first_segment_goes_again",
    },
    "stack/tcp/in/segment.c": {
        "As on Linux, what is more than an ACK": FOUND,
        "As Linux: a peer that is gone": ANSWERS + "test_a_reset",
        "As Linux: what the peer sent last": ANSWERS + "test_a_reset_behind_the_last_sack_block",
        "as on Linux, from before our first byte": ANSWERS + "test_an_ack_from_before_our_first_byte",
    },
    "stack/tcp/in/urgent.c": {
        "/* reset, as on Linux": FOUND,
        "and Linux does it": URGENT + "test_the_urgent_byte",
        "as 1, as on Linux": ANSWERS + "test_an_urgent_pointer_of_0_names_the_first_byte",
    },
    "stack/tcp/tcp_header.h": {"counts, as on Linux": ANSWERS + "test_a_broken_option_list"},
    "stack/tcp/cc/cc.c": {
        "RFC 3042), as on Linux": LINUX + "test_a_window_grows_with_what_is_acknowledged",
    },
    "stack/tcp/open/open.c": {
        "as Linux: a largest unscaled": HANDSHAKE + "test_a_name_opens_again_a_window_further",
        "as Linux: no connection begins": ANSWERS + "test_odd_flags_to_a_listener",
        "when it speaks again, as on Linux": HANDSHAKE + "test_a_listener_that_closes",
        "no need to wait (Linux)": HANDSHAKE + "test_an_answer_of_an_old_connection_costs_no_second",
    },
    "stack/ip/routes.py": {"as Linux's netlink": IP + "test_errors_of_routes_and_addresses"},
    "stack/ip/ip4_options.c": {
        "as Linux does; none": ICMP + "test_options_of_an_echo",
        "Linux records itself twice": ICMP + "test_options_of_an_echo",
    },
    "stack/udp/udp.c": {
        "with Linux's semantics": "tests/sockets/test_datagram.py::test_connected",
        "Linux's default": IP + "test_the_default_buffers_of_a_datagram_socket",
        "As Linux: a connected socket hears": IP + "test_what_a_datagram_socket_hears",
        "The destination as Linux reads it": ARGUMENTS,
    },
    "stack/udp/segments.c": {"(Linux's UDP_SEGMENT, udp(7))": SEGMENTS},
    "stack/udp/udp.h": {
        "with Linux's meaning": ARGUMENTS,
        "super-segment, as Linux": SEGMENTS,
        "kept to be read, as on Linux": ARGUMENTS,
    },
    "stack/bind.c": {"Linux's rules": REUSE},
    "stack/sock.c": {
        "As Linux, the type of service": ARGUMENTS,
        "as on Linux, the last error that did not": ANSWERS + "test_an_icmp_error_ends_no_connection",
    },
    "stack/icmp/icmp_error.c": {"in Linux's numbers": NUMBERS},
    "stack/icmp/policy.py": {"Linux: net.ipv4.route.min_pmtu": IP + "test_the_least_path_mtu"},
    "stack/icmp/icmp.c": {
        "to a socket: Linux's errno": IP + "test_what_a_datagram_socket_hears",
        "that came later, Linux": IP + "test_what_a_datagram_socket_hears",
        "as Linux judges": ANSWERS + "test_an_icmp_error_and_a_half_open_child",
        "no socket hears of it, as on Linux": IP + "test_what_a_datagram_socket_hears",
    },
    "stack/engine.h": {
        "BW_NO_PORT is Linux's EAGAIN": "tests/netns/test_no_port.py::test_sending_and_connecting",
        "in the unit the Linux option has": ARGUMENTS,
        "the numbers of Linux's tcp_ecn": AGREED_ON,
        "numbered as Linux's TCP_ESTABLISHED": INFO + "test_states",
        "TCP_INFO in Linux's layout": INFO + "test_the_same_exchange_says_the_same",
    },
    "sockets_api/_errors.py": {
        "an error on Linux too": "tests/netns/test_no_port.py::test_sending_and_connecting",
    },
    "sockets_api/_inet.py": {"Linux's; types from there on": ARGUMENTS, "as the kernel's": ARGUMENTS},
    "sockets_api/_options.py": {
        "Linux's numbers and layouts outside": ARGUMENTS,
        "Linux's numbers that not every": ARGUMENTS,
        "Linux keeps room": ARGUMENTS,
        "as Linux, which reads it as": ARGUMENTS,
        "As Linux: rounded up": TIME_LIMITS + "test_a_negative_one_is_no_wait_and_zero_none",
        "As Linux: 8 bytes": ARGUMENTS,
    },
    "sockets_api/_transfer.py": {
        "as on Linux: a read of urgent data": URGENT + "test_what_is_not_there",
        "tells of its failure as Linux does": "tests/netns/test_fastopen.py"
        "::test_the_first_write_tells_of_a_refusal",
    },
    "sockets_api/_stack.py": {
        "as Linux's netlink": IP + "test_errors_of_routes_and_addresses",
    },
    "l2/neighbour.py": {"by hearsay (as Linux)": NUMBERS},
    "nic_drivers/raw/ports.py": {"those that Linux chooses": NUMBERS},
}  # fmt: skip


@functools.cache
def beside_the_kernel(path: str) -> bool:
    """Does that file play its tests to the kernel too?"""
    return path.startswith(BESIDE_THE_KERNEL) or "TestKernel" in (ROOT / path).read_text()


def names_a_test(text: str) -> bool:
    return any(
        missing(path, test) is None and beside_the_kernel(path)
        for path, test in REFERENCE.findall(text)
    )


def plain(text: str) -> str:
    """One line, without what a comment's lines begin with."""
    return re.sub(r"\s+(?:\*\s|#\s)?\s*", " ", text)


def paragraphs(text: str) -> list[str]:
    """Of a document: rows of a table and items of a list each for themselves."""
    return [plain(part) for part in re.split(r"\n(?=\||- )|\n\s*\n", text)]


def untold(text: str, phrases: tuple[str, ...]) -> list[str]:
    """The statements in it that no phrase covers."""
    for phrase in phrases:
        text = text.replace(phrase, "")
    return [text[max(0, m.start() - 60) : m.end() + 40] for m in STATEMENT.finditer(text)]


def files(patterns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            if str(path.relative_to(ROOT)) not in COMPARED:
                yield str(path.relative_to(ROOT)), path.read_text()


def phrases_of(path: str) -> tuple[str, ...]:
    return (*SHOWN.get(path, ()), *NO_STATEMENT.get(path, ()))


def test_every_statement_in_the_documents_has_a_test() -> None:
    found = {
        path: [
            what
            for part in paragraphs(text)
            if not names_a_test(part)
            for what in untold(part, phrases_of(path))
        ]
        for path, text in files(DOCUMENTS)
    }
    assert {path: what for path, what in found.items() if what} == {}, WANTED


def test_every_statement_in_the_sources_has_a_test() -> None:
    found = {path: untold(plain(text), phrases_of(path)) for path, text in files(SOURCES)}
    assert {path: what for path, what in found.items() if what} == {}, WANTED


@pytest.mark.parametrize("path", SHOWN)
def test_the_table_has_nothing_that_is_gone(path: str) -> None:
    text = plain((ROOT / path).read_text())
    for phrase, reference in SHOWN[path].items():
        assert STATEMENT.search(phrase) and phrase in text, phrase
        assert names_a_test(f"`{reference}`"), reference


def test_a_statement_without_a_test_is_told() -> None:
    assert untold("It ends, as on Linux.", ()) != []
    assert untold("It ends, as on Linux.", ("ends, as on Linux",)) == []
    assert untold("Twice, as on Linux: as on Linux.", ("Twice, as on Linux",)) != []
    assert untold("It takes Linux 6.2, and the Linux kernel.", ()) == []
    assert paragraphs("a\nb\n\n- c\n  d\n- e\n| f |\n| g |") == [
        "a b",
        "- c d",
        "- e",
        "| f |",
        "| g |",
    ]
    assert plain("as on\n * Linux") == "as on Linux"
    assert names_a_test("`tests/netns/test_answers.py::test_a_reset`")
    assert not names_a_test("`tests/netns/test_answers.py::test_nothing`")
    assert not names_a_test("`tests/test_rfc_records.py::test_a_wrong_index_is_told`")
