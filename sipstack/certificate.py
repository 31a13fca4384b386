"""The certificate by which our own services know each other: self-signed, made once, the only one trusted."""

import base64
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sipstack.errors import OperatorError

# Whoever trusts it trusts nothing else, so it need not end before the machines do.
YEARS = 20
_END_OF_KEY = b"-----END PRIVATE KEY-----\n"


def generate() -> str:
    """A new key with its certificate, as one line of text (base64 of both in PEM), which a SecretStore can keep."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vss")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A host whose clock is a little behind shall not refuse it on the first day.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return base64.b64encode(private + certificate.public_bytes(serialization.Encoding.PEM)).decode()


def split(bundle: str) -> tuple[bytes, bytes]:
    """Key and certificate of a bundle, each in PEM. Raises OperatorError for a text that is none."""
    try:
        key, mark, certificate = base64.b64decode(bundle, validate=True).partition(_END_OF_KEY)
        x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise OperatorError(
            "secret postgres_tls is no key with its certificate: remove it and one is generated"
        ) from None
    return key + mark, certificate


def ends(certificate: bytes) -> float:
    """When a certificate in PEM ends, seconds since the epoch."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
