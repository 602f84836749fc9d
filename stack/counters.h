/* SPDX-License-Identifier: MIT */
/* Every counter of a stack, by name: the drop reasons first, then what else is counted.
 * X(SYMBOL, "name people see"). A packet is never an error: it is dropped with one of these. */
#ifndef BW_COUNTERS_H
#define BW_COUNTERS_H

#define BW_DROPS(X) \
    X(DROP_ETH_SHORT, "drop_eth_short") \
    X(DROP_ETH_NOT_OURS, "drop_eth_not_ours") \
    X(DROP_ETH_TYPE, "drop_eth_type") \
    X(DROP_VLAN, "drop_vlan_tagged") \
    X(DROP_ARP_MALFORMED, "drop_arp_malformed") \
    X(DROP_ARP_NOT_OURS, "drop_arp_not_ours") \
    X(DROP_ARP_DUPLICATE, "drop_arp_duplicate") \
    X(DROP_IP_SHORT, "drop_ip_short") \
    X(DROP_IP_VERSION, "drop_ip_version") \
    X(DROP_IP_HEADER, "drop_ip_header") \
    X(DROP_IP_CHECKSUM, "drop_ip_checksum") \
    X(DROP_IP_LENGTH, "drop_ip_length") \
    X(DROP_IP_OPTIONS, "drop_ip_options") \
    X(DROP_IP_SOURCE, "drop_ip_bad_source") \
    X(DROP_IP_NOT_OURS, "drop_ip_not_ours") \
    X(DROP_IP_PROTOCOL, "drop_ip_protocol") \
    X(DROP_IP_LOOPBACK, "drop_ip_martian_loopback") \
    X(DROP_FRAG_NONSENSE, "drop_fragment_nonsense") \
    X(DROP_FRAG_DUPLICATE, "drop_fragment_duplicate") \
    X(DROP_FRAG_OVERLAP, "drop_fragment_overlap") \
    X(DROP_FRAG_OF_DROPPED, "drop_fragment_of_dropped") \
    X(DROP_FRAG_TOO_MANY, "drop_fragment_too_many") \
    X(DROP_FRAG_ECN, "drop_fragment_ecn") \
    X(DROP_FRAG_FULL, "drop_reassembly_full") \
    X(DROP_FRAG_TIMEOUT, "drop_reassembly_timeout") \
    X(DROP_ICMP_SHORT, "drop_icmp_short") \
    X(DROP_ICMP_CHECKSUM, "drop_icmp_checksum") \
    X(DROP_ICMP_NOT_OURS, "drop_icmp_no_owner") \
    X(DROP_ICMP_BROADCAST, "drop_icmp_broadcast") \
    X(DROP_ICMP_NO_ROUTE, "drop_icmp_no_route_back") \
    X(DROP_ICMP_WINDOW, "drop_icmp_out_of_window") \
    X(DROP_ICMP_UNHEARD, "drop_icmp_changes_nothing") \
    X(DROP_ICMP_UNASKED, "drop_echo_reply_unasked") \
    X(DROP_ICMP_TYPE, "drop_icmp_type") \
    X(DROP_ICMP_REDIRECT, "drop_icmp_redirect") \
    X(DROP_UDP_SHORT, "drop_udp_short") \
    X(DROP_UDP_CHECKSUM, "drop_udp_checksum") \
    X(DROP_UDP_UNFINISHED, "drop_udp_checksum_unfinished") \
    X(DROP_UDP_NO_SOCKET, "drop_udp_no_socket") \
    X(DROP_UDP_BROADCAST, "drop_udp_broadcast_to_many") \
    X(DROP_UDP_RCVBUF, "drop_udp_receive_buffer_full") \
    X(DROP_TCP_SHORT, "drop_tcp_short") \
    X(DROP_TCP_OFFSET, "drop_tcp_data_offset") \
    X(DROP_TCP_PORT, "drop_tcp_port_zero") \
    X(DROP_TCP_CHECKSUM, "drop_tcp_checksum") \
    X(DROP_TCP_UNFINISHED, "drop_tcp_checksum_unfinished") \
    X(DROP_TCP_BROADCAST, "drop_tcp_broadcast") \
    X(DROP_TCP_NO_SOCKET, "drop_tcp_no_socket") \
    X(DROP_TCP_NO_ACK, "drop_tcp_segment_without_ack") \
    X(DROP_TCP_PAWS, "drop_tcp_paws") \
    X(DROP_TCP_WINDOW, "drop_tcp_out_of_window") \
    X(DROP_TCP_RST, "drop_tcp_rst_not_exact") \
    X(DROP_TCP_SYN, "drop_tcp_syn_in_window") \
    X(DROP_TCP_SYN_FIN, "drop_tcp_syn_with_fin") \
    X(DROP_TCP_ACK, "drop_tcp_unacceptable_ack") \
    X(DROP_TCP_BACKLOG, "drop_tcp_accept_queue_full") \
    X(DROP_TCP_SYN_QUEUE, "drop_tcp_syn_queue_full") \
    X(DROP_TCP_SYN_FLOOD, "drop_tcp_syn_until_repeated") \
    X(DROP_TCP_NO_MEMORY, "drop_tcp_no_socket_memory") \
    X(DROP_TCP_OOO, "drop_tcp_out_of_order_memory") \
    X(DROP_TCP_RCV_MEMORY, "drop_tcp_receive_memory") \
    X(DROP_TCP_AFTER_CLOSE, "drop_tcp_data_after_close") \
    X(DROP_TX_QUEUE, "drop_transmit_queue_full") \
    X(DROP_TX_DOWN, "drop_transmit_interface_down") \
    X(DROP_TX_MEMORY, "drop_transmit_memory") \
    X(DROP_TX_STATELESS, "drop_transmit_stateless_share") \
    X(DROP_PUNT_ARP, "drop_punt_arp_full") \
    X(DROP_PUNT_RESOLVE, "drop_punt_resolve_full") \
    X(DROP_PUNT_ICMP, "drop_punt_icmp_full") \
    X(DROP_PUNT_RESOLVE_ANSWER, "drop_punt_resolve_answer_full") \
    X(DROP_PUNT_ARP_ANSWER, "drop_punt_arp_answer_full") \
    X(DROP_PUNT_RESOLVE_CONNECTED, "drop_punt_resolve_connected_full") \
    X(DROP_PUNT_ARP_RATE, "drop_punt_arp_rate") \
    X(DROP_PUNT_RESOLVE_RATE, "drop_punt_resolve_rate") \
    X(DROP_PUNT_ICMP_RATE, "drop_punt_icmp_rate") \
    X(DROP_PUNT_RESOLVE_ANSWER_RATE, "drop_punt_resolve_answer_rate") \
    X(DROP_PUNT_RESOLVE_CONNECTED_RATE, "drop_punt_resolve_connected_rate") \
    X(DROP_PUNT_ARP_ANSWER_RATE, "drop_punt_arp_answer_rate")

#define BW_COUNTS(X) \
    X(COUNT_TRACE_OVERWRITTEN, "trace_records_overwritten") \
    X(COUNT_RX_FRAMES, "rx_frames") \
    X(COUNT_TX_FRAMES, "tx_frames") \
    X(COUNT_ARP_REPLIES, "arp_replies_sent") \
    X(COUNT_ECHO_REPLIES, "icmp_echo_replies_sent") \
    X(COUNT_ICMP_APPLIED, "icmp_errors_applied") \
    X(COUNT_ICMP_ERRORS_SENT, "icmp_errors_sent") \
    X(COUNT_ICMP_FORBIDDEN, "icmp_error_forbidden") \
    X(COUNT_ICMP_LIMITED, "icmp_error_rate_limited") \
    X(COUNT_IP_PATHS, "ip_paths_looked_up") \
    X(COUNT_IP_FRAGMENTS, "ip_fragments_received") \
    X(COUNT_IP_REASSEMBLED, "ip_reassembled") \
    X(COUNT_IP_FRAGMENTS_SENT, "ip_fragments_sent") \
    X(COUNT_UDP_RX, "udp_datagrams_received") \
    X(COUNT_UDP_TX, "udp_datagrams_sent") \
    X(COUNT_TCP_RX_SEGMENTS, "tcp_segments_received") \
    X(COUNT_TCP_BROKEN_OPTIONS, "tcp_option_lists_broken") \
    X(COUNT_TCP_RX_MERGED, "tcp_segments_merged") \
    X(COUNT_TCP_MERGES_FULL, "tcp_merges_full") \
    X(COUNT_TCP_TX_SEGMENTS, "tcp_segments_sent") \
    X(COUNT_TCP_FAST_PATH, "tcp_header_prediction_hits") \
    X(COUNT_TCP_FULL_PATH, "tcp_header_prediction_misses") \
    X(COUNT_TCP_ACTIVE_OPENS, "tcp_active_opens") \
    X(COUNT_TCP_PASSIVE_OPENS, "tcp_passive_opens") \
    X(COUNT_TCP_RETRANSMITS, "tcp_segments_retransmitted") \
    X(COUNT_TCP_FAST_RECOVERIES, "tcp_fast_recoveries") \
    X(COUNT_TCP_TIMEOUTS, "tcp_retransmission_timeouts") \
    X(COUNT_TCP_TAIL_PROBES, "tcp_tail_loss_probes") \
    X(COUNT_TCP_TAIL_REPAIRS, "tcp_tail_loss_repairs") \
    X(COUNT_TCP_BLACK_HOLES, "tcp_mtu_black_holes") \
    X(COUNT_TCP_MTU_PROBES, "tcp_mtu_probes_sent") \
    X(COUNT_TCP_MTU_PROBES_PASSED, "tcp_mtu_probes_passed") \
    X(COUNT_TCP_UNDOS, "tcp_spurious_recoveries_undone") \
    X(COUNT_TCP_DSACKS, "tcp_dsacks_sent") \
    X(COUNT_TCP_PROBES, "tcp_zero_window_probes") \
    X(COUNT_TCP_KEEPALIVES, "tcp_keepalive_probes") \
    X(COUNT_TCP_DELAYED_ACKS, "tcp_delayed_acks") \
    X(COUNT_TCP_CHALLENGE_ACKS, "tcp_challenge_acks") \
    X(COUNT_TCP_CHALLENGES_LIMITED, "tcp_challenge_acks_limited") \
    X(COUNT_TCP_FASTOPEN_ACTIVE, "tcp_fastopen_active") \
    X(COUNT_TCP_FASTOPEN_ACTIVE_FAIL, "tcp_fastopen_active_fail") \
    X(COUNT_TCP_FASTOPEN_PASSIVE, "tcp_fastopen_passive") \
    X(COUNT_TCP_FASTOPEN_PASSIVE_FAIL, "tcp_fastopen_passive_fail") \
    X(COUNT_TCP_FASTOPEN_REQUESTS, "tcp_fastopen_cookie_requests") \
    X(COUNT_TCP_FASTOPEN_OVERFLOW, "tcp_fastopen_listen_overflow") \
    X(COUNT_TCP_FASTOPEN_BLACKHOLES, "tcp_fastopen_blackholes") \
    X(COUNT_TCP_COOKIES_SENT, "tcp_syn_cookies_sent") \
    X(COUNT_TCP_COOKIES_RECEIVED, "tcp_syn_cookies_received") \
    X(COUNT_TCP_COOKIES_FAILED, "tcp_syn_cookies_failed") \
    X(COUNT_TCP_ECN_AGREED, "tcp_ecn_connections") \
    X(COUNT_TCP_ACCECN_AGREED, "tcp_accecn_connections") \
    X(COUNT_TCP_ECN_MANGLED, "tcp_ecn_mangled_on_path") \
    X(COUNT_TCP_ECN_FALLBACKS, "tcp_ecn_syn_fallbacks") \
    X(COUNT_TCP_ECN_CE, "tcp_ecn_marks_received") \
    X(COUNT_TCP_ECN_REDUCTIONS, "tcp_ecn_reductions") \
    X(COUNT_TCP_RST_SENT, "tcp_resets_sent") \
    X(COUNT_TCP_RST_RECEIVED, "tcp_resets_received") \
    X(COUNT_TCP_OOO_QUEUED, "tcp_out_of_order_queued") \
    X(COUNT_TCP_OOO_PRUNED, "tcp_out_of_order_pruned") \
    X(COUNT_TCP_BAD_TRANSITION, "tcp_bad_state_transition") \
    X(COUNT_TCP_WINDOW_BROKEN, "tcp_announced_window_not_kept") \
    X(COUNT_TCP_TIMEWAIT_RECYCLED, "tcp_time_wait_recycled") \
    X(COUNT_TCP_CC_REPORTS_MERGED, "tcp_congestion_reports_merged") \
    X(COUNT_TCP_ORPHANS_RESET, "tcp_orphans_reset")

#define BW_AS_ENUM(symbol, name) symbol,
enum bw_counter_id { BW_DROPS(BW_AS_ENUM) BW_COUNTS(BW_AS_ENUM) BW_COUNTERS };
#undef BW_AS_ENUM

#endif
