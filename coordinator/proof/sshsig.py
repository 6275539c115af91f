"""SSH signatures (SSHSIG, as `ssh-keygen -Y sign` makes them): the envelope is read here, the cryptography is the library's.

openssh-portable, PROTOCOL.sshsig: base64 between two marks of "SSHSIG" ‖ version 1 ‖ public key ‖ namespace ‖ reserved ‖
hash algorithm ‖ signature; what is signed is "SSHSIG" ‖ namespace ‖ reserved ‖ hash algorithm ‖ hash of the message. Keys:
Ed25519, ECDSA over the NIST curves, RSA of 2048 bits and more, and the security keys (`sk-`) of the first two.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
MAGIC, VERSION = b"SSHSIG", 1
MAX_SIGNATURE = 16 * 1024
MIN_RSA_BITS = 2048
HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
USER_PRESENT = 0x01


class SignatureRefused(ValueError):
    """A signature is none, or not of this key over this message."""


def public_key(text: str) -> str:
    """The key of a line of a `.pub` file or of `allowed_signers`: type and base64, without options and comment.

    Raises SignatureRefused.
    """
    words = text.split()
    for kind, encoded in pairwise(words):
        if encoded.startswith("AAAA"):
            line = f"{kind} {encoded}"
            if _read_string(_decoded(encoded), 0)[0].decode(errors="replace") == kind:
                _load(line)
                return line
    raise SignatureRefused("this is no SSH public key (ssh-ed25519 AAAA…)")


def fingerprint(key: str) -> str:
    """As `ssh-keygen -l` shows it: SHA256 and base64 without padding."""
    digest = hashlib.sha256(_decoded(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def check(armored: str, key: str, namespace: str, message: bytes) -> None:
    """Raises SignatureRefused unless `key` (as `public_key` returns it) signed the message in the namespace."""
    blob = _unarmored(armored)
    if blob[: len(MAGIC)] != MAGIC or int.from_bytes(blob[6:10], "big") != VERSION:
        raise SignatureRefused("this is no SSH signature of version 1")
    signed_key, place = _read_string(blob, 10)
    said_namespace, place = _read_string(blob, place)
    reserved, place = _read_string(blob, place)
    algorithm, place = _read_string(blob, place)
    signature, place = _read_string(blob, place)
    if place != len(blob):
        raise SignatureRefused("the signature has bytes that belong to nothing")
    if signed_key != _decoded(key.split()[1]):
        raise SignatureRefused("the signature is another key's")
    if said_namespace != namespace.encode():
        raise SignatureRefused(
            f"the signature was made for {said_namespace.decode(errors='replace')!r}, not for {namespace!r}"
        )
    hashed = HASHES.get(algorithm.decode(errors="replace"))
    if hashed is None:
        raise SignatureRefused("the signature is over a hash that is not known here")
    parts = (said_namespace, reserved, algorithm, hashed(message).digest())
    _verify(key, signature, MAGIC + b"".join(len(part).to_bytes(4, "big") + part for part in parts))


def _verify(key: str, signature: bytes, message: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    kind, place = _read_string(signature, 0)
    raw, place = _read_string(signature, place)
    rest, name = signature[place:], kind.decode(errors="replace")
    if name.startswith("sk-"):
        message, rest = _security_key(key, rest, message)
    if rest:
        raise SignatureRefused("the signature has bytes that belong to nothing")
    public = _load(key)
    try:
        match public:
            case ed25519.Ed25519PublicKey() if name in ("ssh-ed25519", "sk-ssh-ed25519@openssh.com"):
                public.verify(raw, message)
            case ec.EllipticCurvePublicKey() if name == key.split(maxsplit=1)[0]:
                public.verify(_ecdsa(raw), message, ec.ECDSA(_curve_hash(public.curve.key_size)))
            case rsa.RSAPublicKey() if name in ("rsa-sha2-256", "rsa-sha2-512"):
                if public.key_size < MIN_RSA_BITS:
                    raise SignatureRefused(f"an RSA key of {public.key_size} bits is too short")
                public.verify(raw, message, padding.PKCS1v15(), _hash(int(name[-3:])))
            case _:
                raise SignatureRefused(f"the signature says {name}, which does not go with its key")
    except InvalidSignature as error:
        raise SignatureRefused("the signature is not of this key over this message") from error


def _security_key(key: str, rest: bytes, message: bytes) -> tuple[bytes, bytes]:
    """What a security key signs instead (PROTOCOL.u2f): application, flags, counter; somebody touched it."""
    if len(rest) < 5 or not rest[0] & USER_PRESENT:
        raise SignatureRefused("nobody touched the security key")
    blob = _decoded(key.split()[1])
    places = 3 if "ecdsa" in key.split(maxsplit=1)[0] else 2
    application, place = b"", 0
    for _ in range(places + 1):
        application, place = _read_string(blob, place)
    digest = hashlib.sha256(application).digest()
    return digest + rest[:5] + hashlib.sha256(message).digest(), rest[5:]


def _ecdsa(raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    first, place = _read_string(raw, 0)
    second, place = _read_string(raw, place)
    if place != len(raw):
        raise SignatureRefused("the signature has bytes that belong to nothing")
    return encode_dss_signature(int.from_bytes(first, "big"), int.from_bytes(second, "big"))


def _curve_hash(bits: int) -> HashAlgorithm:
    return _hash(256 if bits <= 256 else 384 if bits <= 384 else 512)


def _hash(bits: int) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256() if bits == 256 else hashes.SHA384() if bits == 384 else hashes.SHA512()


def _load(key: str) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        return load_ssh_public_key(key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureRefused(f"this SSH key cannot be used: {error}") from error


def _unarmored(armored: str) -> bytes:
    lines = armored.strip().split("\n")
    if len(armored) > MAX_SIGNATURE or lines[0].strip() != BEGIN or lines[-1].strip() != END:
        raise SignatureRefused("this is no SSH signature")
    return _decoded("".join(line.strip() for line in lines[1:-1]))


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error) as error:
        raise SignatureRefused("this is no base64") from error


def _read_string(blob: bytes, place: int) -> tuple[bytes, int]:
    """An SSH string (length, bytes) and where it ends."""
    start = place + 4
    stop = start + int.from_bytes(blob[place:start], "big")
    if start > len(blob) or stop > len(blob):
        raise SignatureRefused("the signature or key is cut off")
    return blob[start:stop], stop
