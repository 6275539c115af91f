"""SSH signatures: what ssh-keygen makes is taken, and nothing that differs from it in a byte."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.signing import Signer
from loom.coordinator.proof.sshsig import SignatureRefused, check, fingerprint, public_key

pytestmark = pytest.mark.needs("ssh-keygen")
SPACE, MESSAGE = "loom.approval/1", b"a payload"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.make(tmp_path_factory.mktemp("keys"))


@pytest.mark.parametrize(
    "kind",
    [("ed25519",), ("ecdsa", "-b", "256"), ("ecdsa", "-b", "384"), ("ecdsa", "-b", "521"), ("rsa", "-b", "2048")],
)
def test_what_ssh_keygen_signs(tmp_path: Path, kind: tuple[str, ...]) -> None:
    """Each kind of key: taken; another message, another namespace, another key: refused."""
    mine, other = Signer.make(tmp_path / "a", *kind), Signer.make(tmp_path / "b", *kind)
    signature = mine.sign(MESSAGE, SPACE)
    check(signature, mine.public, SPACE, MESSAGE)
    for key, space, message, why in (
        (mine.public, SPACE, b"another", "not of this key"),
        (mine.public, "git", MESSAGE, "was made for"),
        (other.public, SPACE, MESSAGE, "another key's"),
    ):
        with pytest.raises(SignatureRefused, match=why):
            check(signature, key, space, message)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 400), change=st.integers(1, 255))
def test_any_changed_byte(signer: Signer, place: int, change: int) -> None:
    """A signature with one byte changed is refused, with a sentence."""
    import base64

    lines = signer.sign(MESSAGE, SPACE).strip().split("\n")
    blob = bytearray(base64.b64decode("".join(lines[1:-1])))
    blob[place % len(blob)] ^= change
    wrong = "\n".join([lines[0], base64.b64encode(bytes(blob)).decode(), lines[-1]])
    with pytest.raises(SignatureRefused):
        check(wrong, signer.public, SPACE, MESSAGE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----",
        "-----BEGIN SSH SIGNATURE-----\n!\n-----END SSH SIGNATURE-----",
    ],
)
def test_what_is_no_signature(signer: Signer, text: str) -> None:
    """Refused, not a crash."""
    with pytest.raises(SignatureRefused):
        check(text, signer.public, SPACE, MESSAGE)


def test_keys_are_read_from_any_line(signer: Signer) -> None:
    """Of a .pub file or of allowed_signers; what is none, or damaged, is refused; the fingerprint is ssh-keygen's."""
    assert signer.public == public_key(f'anna@example.org namespaces="a" {signer.public} a comment')
    for wrong in ("", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa " + signer.public.split()[1], signer.public[:-12]):
        with pytest.raises(SignatureRefused):
            public_key(wrong)
    said = subprocess.run(["ssh-keygen", "-lf", str(signer.path) + ".pub"], capture_output=True, text=True, check=True)
    assert fingerprint(signer.public) in said.stdout
