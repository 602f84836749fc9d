"""Certificates for tests of TLS."""

from __future__ import annotations

import pytest
import trustme

from tests.sockets.kit import LOCAL
from tests.sockets.tls import Contexts


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost", LOCAL)


@pytest.fixture
def contexts(authority: trustme.CA, certificate: trustme.LeafCert) -> Contexts:
    return Contexts(authority, certificate)
