"""The worker's end of the blob socket: large texts to and from the coordinator, in chunks, resumable.

One thread uses it (a ZeroMQ socket belongs to one). A lost chunk or answer is asked for again; a put goes on from where the
coordinator has it; a whole text that is there already costs one round trip.
"""

from __future__ import annotations

import time

import zmq

from loom.workers.link import Link
from loom.workers.protocol import (
    BLOB_CHUNK,
    MAX_BLOB,
    BlobAck,
    BlobGet,
    BlobPut,
    Malformed,
    Nack,
    OnBlobSocket,
    Text,
    decode_blob,
    encode_blob,
    salted_id,
)

ANSWER_MS = 2_000
"""How long one answer may take before the question is asked again, on a new connection."""
DEADLINE_MS = 60_000
"""How long one text may take without any progress."""


class BlobError(Exception):
    """A text could not be brought or fetched; the sentence says why."""


class BlobClient:
    """Puts and gets texts. `token`: the session that the coordinator gave."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], link: Link | None = None) -> None:
        self._context, self._link = context, link or Link()
        self._socket: zmq.Socket[bytes] | None = None
        self._endpoint = ""
        self._token = ""

    def connect(self, endpoint: str, token: str) -> None:
        """Where the coordinator takes blobs now; the next text goes there."""
        if endpoint != self._endpoint:
            self.close()
        self._endpoint, self._token = endpoint, token

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def put(self, text: Text, data: bytes) -> None:
        """Durable at the coordinator when it returns. Raises BlobError."""
        have = 0
        while have < text.size or text.size == 0:
            chunk = data[have : have + BLOB_CHUNK]
            header = BlobPut(id=text.id, salt=text.salt, size=text.size, offset=have, token=self._token)
            answer, _ = self._ask(header, chunk, text.id)
            if answer.have >= text.size:
                return
            have = answer.have

    def get(self, text_id: str) -> bytes:
        """The bytes of a text. Raises BlobError."""
        parts: list[bytes] = []
        have = 0
        while True:
            answer, chunk = self._ask(BlobGet(id=text_id, offset=have, token=self._token), None, text_id)
            if answer.size > MAX_BLOB:
                raise BlobError(f"text {text_id} has {answer.size} bytes, more than {MAX_BLOB}")
            parts.append(chunk)
            have += len(chunk)
            if have >= answer.size:
                data = b"".join(parts)
                if salted_id(answer.salt, data) != text_id:
                    raise BlobError(f"text {text_id} came with other bytes than its id says")
                return data
            if not chunk:
                raise BlobError(f"text {text_id} ended after {have} of {answer.size} bytes")

    def _ask(self, header: OnBlobSocket, chunk: bytes | None, text_id: str) -> tuple[BlobAck, bytes]:
        """One question and its answer, asked again until there is one."""
        end = time.monotonic() + DEADLINE_MS / 1000
        while time.monotonic() < end:
            socket = self._open()
            try:
                socket.send_multipart([encode_blob(header)] if chunk is None else [encode_blob(header), chunk])
                if socket.poll(ANSWER_MS):
                    answer, *rest = socket.recv_multipart()
                    said = decode_blob(answer)
                    if isinstance(said, BlobAck) and said.id == text_id:
                        return said, rest[0] if rest else b""
                    if isinstance(said, Nack):
                        raise BlobError(f"{said.code}: {said.sentence}")
            except (zmq.Again, Malformed):
                pass
            self.close()  # what still comes on the old connection answers an older question
        raise BlobError(f"the coordinator gave no answer about text {text_id} for {DEADLINE_MS // 1000} s")

    def _open(self) -> zmq.Socket[bytes]:
        if not self._endpoint:
            raise BlobError("there is no session with a coordinator")
        if self._socket is None:
            self._socket = self._link.dealer(self._context)
            self._socket.sndtimeo = ANSWER_MS
            self._socket.connect(self._endpoint)
        return self._socket
