"""One certificate authority per cluster, and the certificates its parts know each other by."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Pair:
    """The PEM files of a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """The cluster's CA in ``directory``; made on first use, as is every certificate."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        pair = self._pair("ca")
        self.certificate = pair.certificate
        if not pair.certificate.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("csitrace test cluster")
            builder = _builder(name, name, key).add_extension(x509.BasicConstraints(True, 0), critical=True)
            _write(pair, key, builder.sign(key, hashes.SHA256()))
        self._issuer = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        loaded = serialization.load_pem_private_key(pair.key.read_bytes(), password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{pair.key} is not the EC key this harness wrote")
        self._key = loaded

    def server(self, name: str) -> Pair:
        """A server certificate for 127.0.0.1 and localhost."""
        hosts = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
        )
        return self._issue(name, "localhost", (), hosts)

    def client(self, name: str, user: str, *groups: str) -> Pair:
        """A client certificate: Kubernetes takes CN as the user and each O as a group."""
        return self._issue(name, user, groups, None)

    def service_account_key(self) -> Pair:
        """The key that signs service account tokens; its certificate serves as the public half."""
        return self._issue("service-account", "service-account", (), None)

    def _issue(
        self, name: str, user: str, groups: tuple[str, ...], hosts: x509.SubjectAlternativeName | None
    ) -> Pair:
        pair = self._pair(name)
        if pair.certificate.exists():
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(_name(user, *groups), self._issuer.subject, key)
        if hosts is not None:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(hosts, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        _write(pair, key, builder.sign(self._key, hashes.SHA256()))
        return pair

    def _pair(self, name: str) -> Pair:
        return Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")


def client_context(directory: Path) -> ssl.SSLContext:
    """TLS as the cluster's administrator, trusting only the CA in ``directory``."""
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.load_cert_chain(directory / "admin.crt", directory / "admin.key")
    return context


def _name(user: str, *groups: str) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
    )


def _write(pair: Pair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    pair.key.touch(mode=0o600)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    # The certificate last: its presence says that the pair is whole.
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
