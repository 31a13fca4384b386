"""The certificate of our own services."""

import pytest
from cryptography import x509

from sipstack import certificate
from sipstack.errors import OperatorError
from sipstack.secrets import secret_fault


def test_a_bundle_is_one_line_that_holds_key_and_certificate() -> None:
    bundle = certificate.generate()
    assert secret_fault(bundle) is None
    key, public = certificate.split(bundle)
    # pragma: allowlist nextline secret
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    found = x509.load_pem_x509_certificate(public)
    assert found.issuer == found.subject


@pytest.mark.parametrize("text", ["", "not base64", "bm90aGluZw=="])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="postgres_tls"):
        certificate.split(text)
