"""ICMP (RFC 792): codec, the policy for sending and believing errors, and an echo client."""
