"""A name server, as Docker has one for its networks: names whose addresses change."""

import socketserver
import struct
import threading

_QUESTION_BEGINS = 12
_A = 1


class Names:
    """Answers over UDP on this machine, until `stop`.

    Attributes:
        known: IPv4 addresses by name; what changes here is answered from the next question on.
        port: Where it listens.
    """

    def __init__(self, **known):
        self.known = known
        names = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                question, socket = self.request
                socket.sendto(names.answer(question), self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, message):
        """The answer to a question for the addresses of a name (RFC 1035)."""
        labels, place = [], _QUESTION_BEGINS
        while length := message[place]:
            labels.append(message[place + 1 : place + 1 + length].decode())
            place += 1 + length
        end = place + 5
        (kind,) = struct.unpack_from(">H", message, place + 1)
        addresses = self.known.get(".".join(labels)) if kind == _A else ()
        flags = 0x8180 if addresses is not None else 0x8183  # an answer, or: no such name
        header = message[:2] + struct.pack(">HHHHH", flags, 1, len(addresses or ()), 0, 0)
        records = b"".join(
            struct.pack(">HHHIH", 0xC00C, _A, 1, 1, 4) + bytes(map(int, address.split(".")))
            for address in addresses or ()
        )
        return header + message[_QUESTION_BEGINS:end] + records

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
