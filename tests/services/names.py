"""A name server that knows one name, for programs that find servers by name."""

import socket
import struct
from threading import Thread

import pytest

ADDRESS = "127.53.0.1"
"""An address of this machine's own at which hardly anybody listens on port 53."""

_HEADER = struct.Struct("!6H")
_ANSWERS, _NO_SUCH_NAME = 0x8580, 0x8583
_A, _IN = 1, 1
_TTL_S = 1


class Names:
    """Answers within its context.

    Args:
        name: The name.
        addresses: What it stands for; a test may change them.
    """

    def __init__(self, name, addresses):
        self.addresses = list(addresses)
        self._name = name
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((ADDRESS, 53))
        except OSError as error:
            self._socket.close()
            pytest.skip(f"no name server on {ADDRESS}: {error}; run the tests as root")
        self._thread = Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (ADDRESS, 53))
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while True:
            asked, caller = self._socket.recvfrom(4096)
            if not asked:
                return
            self._socket.sendto(self._answer(asked), caller)

    def _answer(self, asked):
        number, *_ = _HEADER.unpack_from(asked)
        end = asked.index(0, _HEADER.size) + 5  # a name ends with 0; kind and class follow
        question = asked[_HEADER.size : end]
        labels = b"".join(bytes([len(part)]) + part for part in self._name.encode().split(b"."))
        if question[:-5].lower() != labels:
            return _HEADER.pack(number, _NO_SUCH_NAME, 1, 0, 0, 0) + question
        is_for_a = question[-4:] == struct.pack("!2H", _A, _IN)
        found = self.addresses if is_for_a else []
        records = [
            struct.pack("!3HIH", 0xC00C, _A, _IN, _TTL_S, 4) + socket.inet_aton(one)
            for one in found
        ]
        header = _HEADER.pack(number, _ANSWERS, 1, len(records), 0, 0)
        return header + question + b"".join(records)
