"""Both ends' contexts for tests of TLS, from an authority of the test's own."""

from __future__ import annotations

import ssl

import trustme


class Contexts:
    """A certificate's contexts for both ends, fresh ones for each test."""

    def __init__(self, authority: trustme.CA, certificate: trustme.LeafCert) -> None:
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)
        self._authority = authority

    def ask_for_certificate(self) -> None:
        self._authority.configure_trust(self.server)
        self._authority.issue_cert("client.example").configure_cert(self.client)

    def only(self, version: ssl.TLSVersion) -> None:
        for context in (self.server, self.client):
            context.minimum_version = context.maximum_version = version
