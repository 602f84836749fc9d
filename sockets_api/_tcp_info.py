"""TCP_INFO as an object, from the kernel's bytes or ours."""

from __future__ import annotations

from dataclasses import dataclass, fields
from struct import Struct
from typing import Self


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """struct tcp_info of linux/tcp.h, in its names and order.

    Times are us, but for tcpi_last_*: ms. Of the sender, unacked, sacked, lost, retrans, snd_cwnd and
    snd_ssthresh are segments (2**31 - 1: no threshold yet); rates are bytes a second (2**64 - 1: no
    limit); tcpi_options are bits (1 timestamps, 2 SACK, 4 window scale, 8 ECN); tcpi_ca_state is 0
    open, 1 disorder, 2 window reduced, 3 recovery, 4 loss. Of a listener, tcpi_unacked is the length
    of its accept queue and tcpi_sacked the backlog. docs/trace.md says where ours differ.

        info = TcpInfo.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512))
    """

    tcpi_state: int = 0
    tcpi_ca_state: int = 0
    tcpi_retransmits: int = 0
    tcpi_probes: int = 0
    tcpi_backoff: int = 0
    tcpi_options: int = 0
    tcpi_snd_wscale: int = 0
    tcpi_rcv_wscale: int = 0
    tcpi_delivery_rate_app_limited: int = 0
    tcpi_fastopen_client_fail: int = 0
    tcpi_rto: int = 0
    tcpi_ato: int = 0
    tcpi_snd_mss: int = 0
    tcpi_rcv_mss: int = 0
    tcpi_unacked: int = 0
    tcpi_sacked: int = 0
    tcpi_lost: int = 0
    tcpi_retrans: int = 0
    tcpi_fackets: int = 0
    tcpi_last_data_sent: int = 0
    tcpi_last_ack_sent: int = 0
    tcpi_last_data_recv: int = 0
    tcpi_last_ack_recv: int = 0
    tcpi_pmtu: int = 0
    tcpi_rcv_ssthresh: int = 0
    tcpi_rtt: int = 0
    tcpi_rttvar: int = 0
    tcpi_snd_ssthresh: int = 0
    tcpi_snd_cwnd: int = 0
    tcpi_advmss: int = 0
    tcpi_reordering: int = 0
    tcpi_rcv_rtt: int = 0
    tcpi_rcv_space: int = 0
    tcpi_total_retrans: int = 0
    tcpi_pacing_rate: int = 0
    tcpi_max_pacing_rate: int = 0
    tcpi_bytes_acked: int = 0
    tcpi_bytes_received: int = 0
    tcpi_segs_out: int = 0
    tcpi_segs_in: int = 0
    tcpi_notsent_bytes: int = 0
    tcpi_min_rtt: int = 0
    tcpi_data_segs_in: int = 0
    tcpi_data_segs_out: int = 0
    tcpi_delivery_rate: int = 0
    tcpi_busy_time: int = 0
    tcpi_rwnd_limited: int = 0
    tcpi_sndbuf_limited: int = 0
    tcpi_delivered: int = 0
    tcpi_delivered_ce: int = 0
    tcpi_bytes_sent: int = 0
    tcpi_bytes_retrans: int = 0
    tcpi_dsack_dups: int = 0
    tcpi_reord_seen: int = 0
    tcpi_rcv_ooopack: int = 0
    tcpi_snd_wnd: int = 0
    tcpi_rcv_wnd: int = 0
    tcpi_rehash: int = 0
    tcpi_total_rto: int = 0
    tcpi_total_rto_recoveries: int = 0
    tcpi_total_rto_time: int = 0
    tcpi_received_ce: int = 0
    tcpi_delivered_e1_bytes: int = 0
    tcpi_delivered_e0_bytes: int = 0
    tcpi_delivered_ce_bytes: int = 0
    tcpi_received_e1_bytes: int = 0
    tcpi_received_e0_bytes: int = 0
    tcpi_received_ce_bytes: int = 0
    tcpi_accecn_fail_mode: int = 0
    tcpi_accecn_opt_seen: int = 0

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What getsockopt(IPPROTO_TCP, TCP_INFO, n) returned, of any kernel: fields that it does not
        have are 0, and what comes after the known ones is passed over."""
        values = _LAYOUT.unpack(data[: _LAYOUT.size].ljust(_LAYOUT.size, b"\0"))
        wscale, limits = values[6:8]
        bits = [wscale & 15, wscale >> 4, limits & 1, limits >> 1 & 3]
        return cls(*[*values[:6], *bits, *values[8:]])


# 8 bytes (two of them bit fields), then the figures in the order above.
_LAYOUT = Struct("=8B 24I 4Q 6I 4Q 2I 2Q 6I 2H 8I 2H")
assert len(_LAYOUT.unpack(bytes(_LAYOUT.size))) + 2 == len(fields(TcpInfo))
