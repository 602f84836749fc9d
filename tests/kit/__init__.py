"""What tests are written with: a clock, a world in virtual time, a wire with a scripted far end.

    def test_fast_retransmit(tcp, peer):
        sock = tcp.established(mss=1000, sack=True)
        tcp.sends(sock, 5000)
        ...
        peer.sends(ack=1, sack=[(1001, 2001)])
        tcp.expects(seq=1, len=1000, why="fast retransmit")

Sequence numbers are relative: 0 is the SYN of whoever sends, 1 the first byte. Times are written
"200ms". Nothing here sleeps or reads a clock: time moves only when a test says so.
"""
