"""A load of concurrent streams, as clients see it: so many at a time, each the next request as soon as its last is answered.

One thread and one epoll for all connections, and next to nothing done with what arrives: on a machine whose cores both the server
and this program share, what the client takes the server does not get. Its share is measured with the rest.
"""

import json
import random
import re
import resource
import select
import socket
import time

from engines import Failure

WORDS = """the of and to in is that it was for on are as with his they at be this from have or by one had not but what all were when we
there can an your which their said if do will each about how up out them then she many some so these would other into has more her two like
him see time could no make than first been its who now people my made over did down only way find use may water long little very after words
called just where most know get through back much before go good new write our used me man too any day same right look think also around
another came come work three word must because does part even place well such here take why things help put years different away again off
went old number great tell men say small every found still between name should home big give air line set own under read last never us left
end along while might next sound below saw something thought both few those always looked show large often together asked house world going
want school important until form food keep children feet land side without boy once animals life enough took sometimes four head above kind
began almost live page got earth need far hand high year mother light parts country father let night following picture being study second
eyes soon times story boys since white days ever paper hard near sentence better best across during today others however sure means knew try
told young miles sun ways thing whole hear example heard several change answer room sea against top turned learn point city play toward five
using himself usually money seen car morning given order red door sound strong""".split()


def prompts(count, shortest, longest, seed):
    """Texts of random words, lengths spread evenly over the logarithm; none begins like another."""
    choose = random.Random(seed)
    lengths = [round(shortest * (longest / shortest) ** ((place + 0.5) / count)) for place in range(count)]
    choose.shuffle(lengths)
    return [" ".join(choose.choice(WORDS) for _ in range(length)) for length in lengths]


class Stream:
    """One request on a connection of its own."""

    def __init__(self, port, request):
        self.began = time.monotonic()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self.headed, self.pieces, self.tail, self.arrivals, self.over = False, 0, b"", [], False

    def read(self):
        """Takes what is there; true when the answer is complete."""
        try:
            received = self.socket.recv(1 << 18)
        except BlockingIOError:
            return False
        now, held = time.monotonic(), self.tail + received
        if not self.headed:
            if b"\r\n\r\n" not in held:
                self.tail = held
                return self.ended(received)
            if b" 200 " not in held[:20]:
                raise Failure(f"the server refused a request: {held[:600].decode(errors='replace')}")
            self.headed = True
        pieces = held.count(b"data: {") - self.tail.count(b"data: {")
        if pieces:
            self.arrivals.append(now)
            self.pieces += pieces
        self.tail = held[-2000:]
        self.over = b"data: [DONE]" in self.tail
        return self.over or self.ended(received)

    @staticmethod
    def ended(received):
        if not received:
            raise Failure("the server closed a connection before its answer was complete")
        return False

    def close(self):
        self.socket.close()

    def tokens(self):
        """(of the prompt, of the answer), by the server's own count."""
        counts = [re.findall(rb'"%s":\s*(\d+)' % name, self.tail) for name in (b"prompt_tokens", b"completion_tokens")]
        if not all(counts):
            raise Failure("an answer ended without its usage")
        return tuple(int(found[-1]) for found in counts)


def request_bytes(path, body):
    text = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\n\r\n").encode() + text


def rank(values, share):
    """The value that `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def play(port, bodies, streams, limit=600):
    """Sends `bodies` to /v1/completions, `streams` at a time, and gives the figures of the whole."""
    poll, running, done = select.epoll(), {}, []
    waiting = [request_bytes("/v1/completions", body) for body in reversed(bodies)]
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()

    def start():
        stream = Stream(port, waiting.pop())
        running[stream.socket.fileno()] = stream
        poll.register(stream.socket, select.EPOLLIN)

    try:
        while waiting and len(running) < streams:
            start()
        while running:
            if time.monotonic() - began > limit:
                raise Failure(f"{streams} streams took longer than {limit} s")
            for number, _ in poll.poll(1):
                stream = running[number]
                if not stream.read():
                    continue
                poll.unregister(stream.socket)
                stream.close()
                done.append(running.pop(number))
                if waiting:
                    start()
    finally:
        for stream in running.values():
            stream.close()
        poll.close()
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    return figures(done, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def figures(done, wall, cpu):
    """Of finished streams. A gap is the time between two arrivals of text at one client."""
    firsts = [stream.arrivals[0] - stream.began for stream in done]
    gaps = [later - earlier for stream in done for earlier, later in zip(stream.arrivals, stream.arrivals[1:])]
    counts = [stream.tokens() for stream in done]
    return {"tokens_per_second": sum(answer for _, answer in counts) / wall, "wall": wall, "requests": len(done),
            "prompt_tokens": sum(prompt for prompt, _ in counts), "answer_tokens": sum(answer for _, answer in counts),
            "first_median": rank(firsts, 0.5), "first_p99": rank(firsts, 0.99), "gap_median": rank(gaps, 0.5),
            "gap_p99": rank(gaps, 0.99), "pieces": sum(stream.pieces for stream in done), "client_share": cpu / wall}
