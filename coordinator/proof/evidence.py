"""The evidence file: one ZIP without compression, whose bytes follow from its parts alone.

    statement.json     DSSE envelope (ed25519) of an in-toto statement: the digest of every part below but the texts
    checkpoint         the signed head of the log (C2SP tlog-checkpoint), cosigned by witnesses or not
    entries.jsonl      entries as they were hashed, one a line, in the order of the log
    proof.json         {"size", "indices", "hashes"}: where the entries stand, and the multiproof that they do
    bundles/<digest>   the archive of each bundle that decided here
    texts/<id>         a salted text: 1 byte length of the salt ‖ salt ‖ bytes; may be left out, the id stays in the entries
    about.json         {"format", "origin", "task" ("" : everything), "loom"}
    read.md            a page for people; says nothing that is not in the entries

Names are sorted, times and modes fixed: the same parts are the same file. A file that is not byte for byte the canonical one
of its parts is refused, so nothing can hide between them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from loom.coordinator.errors import LoomError

FORMAT = "loom-evidence/1"
STATEMENT, CHECKPOINT, ENTRIES, PROOF, ABOUT, PAGE = (
    "statement.json", "checkpoint", "entries.jsonl", "proof.json", "about.json", "read.md"
)  # fmt: skip
NEEDED = (STATEMENT, CHECKPOINT, ENTRIES, PROOF, ABOUT, PAGE)
TEXTS, BUNDLES = "texts/", "bundles/"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://loomfsm.dev/evidence/v1"
MAX_PARTS = 1_000_000
MAX_PART_BYTES = 1 << 30
EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20
KEPT = b'{"command":["KeepBundle",'
_NAMED = re.compile(rb'"blob":"([0-9a-f]{64})"(?:,"size":([0-9]{1,16}))?')
"""Inside of a string these quotes would be escaped."""


class EvidenceBroken(LoomError):
    """A file is no evidence file, or not the one canonical form of its parts."""

    code = "L070"
    mend = "Take the file from its source again: it was changed, cut off, or never was one."


Signer = Callable[[bytes], bytes]


class Evidence:
    """An evidence file that is open for reading. Its parts are read one by one."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.names = tuple(archive.namelist())

    def part(self, name: str) -> bytes:
        """The bytes of a part. Raises EvidenceBroken when there is no such part."""
        try:
            return self._archive.read(name)
        except (KeyError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise EvidenceBroken(f"The part {name} cannot be read: {error}.") from error

    def json(self, name: str) -> Any:
        """The value of a JSON part. Raises EvidenceBroken."""
        try:
            return json.loads(self.part(name))
        except (ValueError, RecursionError) as error:
            raise EvidenceBroken(f"The part {name} is no JSON: {error}.") from error

    def below(self, folder: str) -> tuple[str, ...]:
        """What the names of the parts in a folder say behind it."""
        return tuple(name.removeprefix(folder) for name in self.names if name.startswith(folder))

    def close(self) -> None:
        self._archive.close()


def write(path: Path, names: Iterable[str], part: Callable[[str], bytes]) -> None:
    """The canonical file of these parts, whole or not at all; each is asked for when it is written. Raises OSError."""
    made = path.with_name(f".{path.name}.part")
    try:
        with made.open("wb") as file:
            _pack(file, sorted(names), part)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def open_evidence(path: Path) -> Evidence:
    """The file, known to be the canonical one of its parts. Raises EvidenceBroken, OSError."""
    with path.open("rb") as file:
        head = file.read(4)
    if head != b"PK\x03\x04":
        raise EvidenceBroken(f"{path} is no evidence file.")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, OSError) as error:
        raise EvidenceBroken(f"{path} cannot be read: {error}.") from error
    evidence = Evidence(archive)
    try:
        _check_parts(archive, evidence)
        _check_canonical(path, evidence)
    except BaseException:
        evidence.close()
        raise
    return evidence


def _check_parts(archive: zipfile.ZipFile, evidence: Evidence) -> None:
    infos = archive.infolist()
    if len(infos) > MAX_PARTS or any(info.file_size > MAX_PART_BYTES for info in infos):
        raise EvidenceBroken("The file has more parts, or larger ones, than an evidence file can have.")
    if list(evidence.names) != sorted(set(evidence.names)):
        raise EvidenceBroken("The parts are not in order, or one stands there twice.")
    for name in NEEDED:
        if name not in evidence.names:
            raise EvidenceBroken(f"The part {name} is missing.")
    for name in evidence.names:
        folder, slash, identifier = name.partition("/")
        named = slash and f"{folder}/" in (TEXTS, BUNDLES) and _is_digest(identifier)
        if name not in NEEDED and not named:
            raise EvidenceBroken(f"The part {name[:80]!r} does not belong to an evidence file.")


def _check_canonical(path: Path, evidence: Evidence) -> None:
    """The parts packed again come to the same bytes."""
    with tempfile.TemporaryFile() as packed, path.open("rb") as file:
        _pack(packed, evidence.names, evidence.part)
        packed.seek(0)
        while chunk := file.read(_CHUNK):
            if packed.read(len(chunk)) != chunk:
                break
        else:
            if not packed.read(1):
                return
    raise EvidenceBroken("The file is not the canonical one of its parts: something stands between or around them.")


def _pack(file: Any, names: Iterable[str], part: Callable[[str], bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, part(name))


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(each in "0123456789abcdef" for each in text)


# ------------------------------------------------------------------------------------------------------- statement


def statement(digests: dict[str, str], about: dict[str, Any], key: str, signer: Signer) -> bytes:
    """The DSSE envelope. digests: part → hex SHA-256; key: the log's verifier line."""
    payload = canonical(
        {
            "_type": STATEMENT_TYPE,
            "predicate": about,
            "predicateType": PREDICATE_TYPE,
            "subject": [{"digest": {"sha256": digests[name]}, "name": name} for name in sorted(digests)],
        }
    )
    signature = {"keyid": key, "sig": base64.b64encode(signer(pae(payload))).decode()}
    return canonical(
        {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
    )


def pae(payload: bytes) -> bytes:
    """What is signed of a payload: DSSE's pre-authentication encoding, version 1."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def canonical(value: Any) -> bytes:
    """Canonical JSON (RFC 8785 on strings, integers, lists and objects)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def named_texts(body: bytes) -> tuple[tuple[str, int], ...]:
    """(id, bytes) of the salted texts that an entry names. A bundle's archive is a part of its own."""
    return (
        () if body.startswith(KEPT) else tuple((each.decode(), int(size or 0)) for each, size in _NAMED.findall(body))
    )


def pack_text(salt: bytes, data: bytes) -> bytes:
    """A text as a part."""
    return bytes([len(salt)]) + salt + data


def text_id(part: bytes) -> str:
    """The id of a text from its part; its bytes are `text_bytes`."""
    return hashlib.sha256(part[1:]).hexdigest() if part and len(part) > part[0] else ""


def text_bytes(part: bytes) -> bytes:
    return part[1 + part[0] :]
