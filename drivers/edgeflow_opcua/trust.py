"""Which servers we trust: certificates a person has approved, and those that wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from edgeflow.driver import Home
from edgeflow.errors import Rejected
from edgeflow_opcua.certificate import application_uri, chain, der, fingerprint, host_names, now, shown

TRUSTED, PENDING = "trusted/", "pending/"
MOST_PENDING = 20
_LEAST_BITS = 2048  # OPC 10000-7, MinAsymmetricKeyLength of every policy we use


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate in a list; `name` is that in the driver's home."""

    name: str
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificate)


class Trust:
    """The lists of a driver's home, read anew each time: a person may also copy files in and take them away.

    A certificate in `trusted/` is accepted as it is, whatever it says of dates and host names: a person
    has approved this very one. Where a certificate authority in `trusted/` has signed it, its word is
    taken for no more than it says: dates, host name and application URI must fit.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def entries(self, prefix: str) -> list[Entry]:
        """The certificates of `TRUSTED` or `PENDING`; what is no certificate is left out."""
        found: list[Entry] = []
        for name in self._home.names(prefix):
            content = self._home.get(name) or b""
            try:
                pem = content.lstrip().startswith(b"-----")
                some = x509.load_pem_x509_certificates(content) if pem else chain(content)
            except ValueError:
                continue
            found += [Entry(name, certificate) for certificate in some]
        return found

    def check(self, sent: bytes, url: str, uri: str) -> None:
        """Raises Rejected unless the server at the url, which calls itself `uri`, is to be trusted.

        `sent`: its certificate as it was sent, its issuers may follow. What is unknown is kept as pending.
        """
        try:
            own, *issuers = chain(sent)
        except ValueError:
            raise Rejected("its certificate cannot be read; have it make a new one") from None
        key = own.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise Rejected("its certificate has no RSA key, which the security policies ask for")
        if key.key_size < _LEAST_BITS:
            raise Rejected(
                f"the key of its certificate has {key.key_size} bits, fewer than the {_LEAST_BITS} that the security "
                "policies ask for; have it make a new one"
            )
        trusted = [entry.certificate for entry in self.entries(TRUSTED)]
        if own in trusted:
            return
        doubts = ["nobody has approved it"]
        if _issued_by(own, issuers, trusted):
            doubts = remarks(own, url, uri)
        if doubts:
            self._keep(own)
            raise Rejected(
                f"its certificate is not trusted: {shown(own)}, fingerprint {fingerprint(own)}; "
                f"{' and '.join(doubts)}. Compare the fingerprint with what the server itself shows, then approve it: "
                f"`edgeflow opcua trust {fingerprint(own)} --url {url}{self._home.option}`"
            )

    def approve(self, start: str) -> Entry:
        """Moves the pending certificate whose fingerprint begins so to the trusted ones; raises Rejected."""
        entry = self._one(PENDING, start)
        self._home.put(f"{TRUSTED}{entry.fingerprint}.der", der(entry.certificate))
        self._home.put(entry.name, None)
        return entry

    def remove(self, start: str) -> Entry:
        """Takes the certificate whose fingerprint begins so out of the trusted and pending ones; raises Rejected."""
        entry = self._one("", start)
        for prefix in (TRUSTED, PENDING):
            for other in self.entries(prefix):
                if other.certificate == entry.certificate:
                    self._home.put(other.name, None)
        return entry

    def _one(self, prefix: str, start: str) -> Entry:
        wanted = "".join(sign for sign in start.lower() if sign.isalnum())
        entries = [entry for each in ([prefix] if prefix else [TRUSTED, PENDING]) for entry in self.entries(each)]
        found = {entry.fingerprint: entry for entry in entries if wanted and entry.fingerprint.startswith(wanted)}
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            raise Rejected(f"{start!r} is the beginning of {len(found)} fingerprints; write more of it")
        known = ", ".join(sorted({entry.fingerprint for entry in entries}))
        listed = f"there are {known}" if known else "there is none; a server's comes into the list when it is connected"
        raise Rejected(
            f"no {'pending ' if prefix else ''}certificate has a fingerprint that begins with {start!r}; {listed}"
        )

    def _keep(self, certificate: x509.Certificate) -> None:
        """As pending; where there are too many the one with the oldest date goes."""
        name = f"{PENDING}{fingerprint(certificate)}.der"
        pending = sorted(self.entries(PENDING), key=lambda entry: entry.certificate.not_valid_before_utc)
        if any(entry.name == name for entry in pending):
            return
        for entry in pending[: max(0, len(pending) - MOST_PENDING + 1)]:
            self._home.put(entry.name, None)
        self._home.put(name, der(certificate))


def remarks(certificate: x509.Certificate, url: str = "", uri: str = "") -> list[str]:
    """What speaks against a certificate of the server at the url, which calls itself `uri`; "" is not compared."""
    found: list[str] = []
    moment = now()
    if moment > certificate.not_valid_after_utc:
        found.append(f"it expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if moment < certificate.not_valid_before_utc:
        found.append(
            f"it is valid only from {certificate.not_valid_before_utc:%Y-%m-%d} (here it is {moment:%Y-%m-%d})"
        )
    host, names = urlsplit(url).hostname, host_names(certificate)
    if host and host not in names:
        found.append(f"it is for {', '.join(names) or 'no host'}, not for {host}")
    if uri and application_uri(certificate) != uri:
        found.append(f"it is for the application {application_uri(certificate)}, not for {uri}")
    return found


def _issued_by(own: x509.Certificate, issuers: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]) -> bool:
    """Whether a trusted certificate authority has signed it, through at most the issuers that were sent."""
    link = own
    for _ in range(len(issuers) + 1):
        if any(_signed(link, authority) for authority in trusted):
            return True
        above = next((issuer for issuer in issuers if issuer != link and _signed(link, issuer)), None)
        if above is None:
            return False
        link = above
    return False


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        if not authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return authority.not_valid_before_utc <= now() <= authority.not_valid_after_utc
