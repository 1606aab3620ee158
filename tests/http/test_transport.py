"""What HTTP itself can get wrong: case numbers are those of the acceptance list. Each request gets its error, and the server
answers the next one."""

import random
import select
import socket
import time

import pytest

from conftest import Answer, Server, answer, error_of, read_all

pytestmark = pytest.mark.usefixtures("steady")
MOST_HEADERS = 63 # that may stand beside Host
BODY = b'{"model":"smol","prompt":"A, B, C, D,","max_tokens":1}'


def request(*headers, body=b"", method="POST", path="/v1/completions", version="HTTP/1.1", host=True):
    lines = [f"{method} {path} {version}".encode()]
    if host:
        lines.append(b"Host: localhost")
    return b"\r\n".join(lines + [h if isinstance(h, bytes) else h.encode() for h in headers]) + b"\r\n\r\n" + body


def test_01_garbage(alive):
    dice = random.Random(1)
    for bytes_sent in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", b"hello\r\n\r\n",
                       b"\r\n\r\n\r\n\r\n", b" / HTTP/1.1\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1 x\r\n\r\n",
                       *(dice.randbytes(size) + b"\r\n\r\n" for size in (1, 10, 100, 1000))):
        received = alive.raw(bytes_sent)
        assert received.count(b"HTTP/1.1 ") == 1 and Answer(received).headers["connection"] == "close", bytes_sent
        error_of(answer(received), 400)


def test_02_long_headers(alive):
    for lines in (["X-Long: " + "x" * 70000], [f"X-{i}: " + "x" * 1000 for i in range(60)]):
        error_of(answer(alive.raw(request(*lines))), 431)
    error_of(answer(alive.raw(request(method="GET", path="/" + "x" * 70000))), 431)


def test_03_many_headers_do_not_hide_a_body(alive):
    hidden = request(method="GET", path="/v1/models")
    for count in (63, 64, 70, 200): # and Host, and the length
        received = alive.raw(request(*[f"X-{i}: 1" for i in range(count)], f"Content-Length: {len(hidden)}", body=hidden))
        assert received.count(b"HTTP/1.1 ") == 1
        error_of(answer(received), 431)
    fits = request(*[f"X-{i}: 1" for i in range(MOST_HEADERS - 2)], "Connection: close", method="GET", path="/version")
    assert answer(alive.raw(fits)).status == 200


@pytest.mark.parametrize("length", ["5abc", "-1", "", "18446744073709551616", "1\r\nContent-Length: 2"])
def test_04_content_length(alive, length):
    received = alive.raw(request("Content-Type: application/json", f"Content-Length: {length}", body=BODY))
    assert received.count(b"HTTP/1.1 ") == 1 and Answer(received).headers["connection"] == "close"
    error_of(answer(received), 400)


def test_05_two_lengths(alive):
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    received = alive.raw(request("Content-Type: application/json", f"Content-Length: {len(chunked)}",
                                 "Transfer-Encoding: chunked", body=chunked))
    assert received.count(b"HTTP/1.1 ") == 1
    error_of(answer(received), 400)


def test_06_other_transfer_encodings(alive):
    for coding in ("gzip, chunked", "chunked, gzip", "gzip", "identity", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked", ""):
        received = alive.raw(request("Content-Type: application/json", f"Transfer-Encoding: {coding}", body=BODY))
        assert received.count(b"HTTP/1.1 ") == 1
        error_of(answer(received), 400)


HIDDEN = request(method="GET", path="/version")


@pytest.mark.parametrize("line", [" folded", ": no name", "\x80: a", "\n\rX: a", "\rX: a", "X: a\n"],
                         ids=["folded", "nameless", "high", "empty", "return", "feed"])
def test_headers_behind_a_line_that_is_none_do_not_hide_a_body(alive, line):
    received = alive.raw(request("Content-Type: application/json", "X: a", line.encode("latin-1"), f"Content-Length: {len(HIDDEN)}",
                                 body=HIDDEN))
    assert received.count(b"HTTP/1.1 ") == 1 and Answer(received).headers["connection"] == "close"
    error_of(answer(received), 400)


def test_no_transfer_encoding_before_http_1_1(alive):
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    received = alive.raw(request("Content-Type: application/json", "Transfer-Encoding: chunked", "Connection: keep-alive",
                                 body=chunked, version="HTTP/1.0"))
    assert Answer(received).status == 400


@pytest.mark.parametrize("wish, version", [("keep-alive", "HTTP/1.0"), ("close", "HTTP/1.1")])
def test_a_connection_that_ends_says_so(alive, wish, version):
    received = alive.raw(request(f"Connection: {wish}", method="GET", path="/version", version=version))
    assert Answer(received).status == 200 and Answer(received).headers["connection"] == "close"


@pytest.mark.parametrize("half_close", [False, True])
@pytest.mark.parametrize("size", [b"zz", b"ffffffffffffffffff", b"10000000000000036", b"-5", b"", b"0x36", b"36 x", b"+36"])
def test_07_bad_chunks(alive, size, half_close):
    received = alive.raw(request("Content-Type: application/json", "Transfer-Encoding: chunked", "Connection: keep-alive",
                                 body=size + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + HIDDEN), half_close=half_close)
    assert received.count(b"HTTP/1.1 ") == 1
    error_of(answer(received), 400)


def test_07_chunks_that_are_longer_than_they_say(alive):
    received = alive.raw(request("Content-Type: application/json", "Transfer-Encoding: chunked", body=b"5\r\n" + BODY + b"\r\n0\r\n\r\n" + HIDDEN))
    assert received.count(b"HTTP/1.1 ") == 1
    error_of(answer(received), 400)


def send_until_answered(server, pieces):
    """How many of the pieces were sent before there was an answer, and the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request("Content-Type: application/json", "Transfer-Encoding: chunked", "Connection: close"))
        sent = 0
        try:
            for sent, piece in enumerate(pieces):
                if select.select([connection], [], [], 0)[0]:
                    break
                connection.sendall(piece)
        except OSError:  # it was closed while this was on its way; what came before can still be read
            pass
        return sent, answer(read_all(connection))


def chunks_of_one(text):
    return b"".join(b"1\r\n%c\r\n" % byte for byte in text)


SMALL = b'{"model":"smol","prompt":"A, B, C, D,","max_tokens":1,"temperature":0,"user":"%s"}'


def test_08_small_chunks(alive):
    """A hundred thousand of them, a byte of stack each would be the whole stack of a thread of CivetWeb's; most are a field that
    means nothing."""
    sent, reply = send_until_answered(alive, [chunks_of_one(SMALL % (b"a" * 100000)) + b"0\r\n\r\n"])
    assert reply.json["choices"][0]["text"] == " E"


def test_08_three_million_small_chunks(hasty):
    """More than can be read in the second that a body may take there: it is read until then, in as little memory."""
    before = resident(hasty)
    piece = chunks_of_one(SMALL % (b"a" * 100000))
    sent, reply = send_until_answered(hasty, [piece] * 30 + [b"0\r\n\r\n"])
    error_of(reply, 408)
    assert resident(hasty) < before + (32 << 20)
    assert hasty.get("/health").status == 200


def resident(server):
    return int(open(f"/proc/{server.process.pid}/statm").read().split()[1]) * 4096


def test_09_a_body_over_the_limit_is_not_read(alive):
    began = time.monotonic()
    received = alive.raw(request("Content-Type: application/json", "Content-Length: 400000000", body=b"x" * 1000))
    error_of(answer(received), 413)
    assert time.monotonic() - began < 5


def test_10_chunks_over_the_limit(alive):
    sent, reply = send_until_answered(alive, [b"100000\r\n" + b" " * 0x100000 + b"\r\n"] * 64)
    assert 16 <= sent < 40, "it is read on behind the limit"
    error_of(reply, 413)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory, smollm2):
    s = Server(tmp_path_factory.mktemp("hasty"), f"  smol: {{ file: {smollm2} }}", ", body_seconds: 1, idle_seconds: 1")
    yield s
    assert s.stop() == 0


def test_11_a_body_that_stalls(hasty):
    received = hasty.raw(request("Content-Type: application/json", "Content-Length: 500", body=BODY))
    error_of(answer(received), 408)


def test_12_headers_that_trickle(hasty):
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=20) as connection:
        began = time.monotonic()
        try:
            for byte in request("X-Slow: " + "x" * 40):
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            pass
        error_of(answer(read_all(connection)), 408)
        assert time.monotonic() - began < 8
    assert hasty.get("/health").status == 200


def test_13_a_body_that_trickles(hasty):
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=20) as connection:
        connection.sendall(request("Content-Type: application/json", "Content-Length: 500"))
        began = time.monotonic()
        try:
            while not select.select([connection], [], [], 0.1)[0] and time.monotonic() - began < 10:
                connection.sendall(b" ")
        except OSError:
            pass
        error_of(answer(read_all(connection)), 408)
        assert 0.9 < time.monotonic() - began < 5
    assert hasty.get("/health").status == 200


@pytest.mark.parametrize("length", ["Content-Length: 500", "Transfer-Encoding: chunked"])
def test_a_body_that_trickles_forever_is_cut_off(hasty, length):
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=20) as connection:
        began = time.monotonic()
        connection.sendall(request("Content-Type: application/json", length, body=b"c8\r\n" if "chunked" in length else b""))
        connection.settimeout(0.4)
        received = None
        while received is None and time.monotonic() - began < 10:
            try:
                received = connection.recv(65536)
            except TimeoutError:
                connection.sendall(b" ")
        assert time.monotonic() - began < 3
        received += read_all(connection)
    error_of(answer(received), 408)


@pytest.mark.parametrize("body", [b"5\r\n", b"5\r\n{}   \r\nzz\r\n", b"%x\r\n%sX" % (len(BODY), BODY)], ids=["cut", "size", "end"])
def test_broken_chunks_are_not_taken_for_a_whole_body(alive, body):
    received = alive.raw(request("Content-Type: application/json", "Transfer-Encoding: chunked", body=body), half_close=True)
    error_of(answer(received), 400, "invalid_request")
    assert answer(received).headers["connection"] == "close"


UNLOAD = b'{"model":"smol"}'


@pytest.mark.parametrize("headers", [["Origin: http://evil.example"], ["Origin: null"], ["Origin: http://localhost.evil.example"],
                                     ["Origin: http://localhost:3000"], ["Origin: http://localhost", "Sec-Fetch-Site: same-site"],
                                     ["Sec-Fetch-Site: cross-site"]])
def test_pages_from_elsewhere_cannot_act(alive, headers):
    assert alive.post("/v1/completions", BODY).status == 200
    received = alive.raw(request("Content-Type: application/json", f"Content-Length: {len(UNLOAD)}", *headers, body=UNLOAD,
                                 path="/models/unload"))
    error_of(answer(received), 403, "forbidden_origin")
    assert all(model["state"] == "ready" for model in alive.get("/v1/models").json["data"])


@pytest.mark.parametrize("headers", [["Origin: http://localhost"], ["Origin: https://models.example", "Sec-Fetch-Site: same-origin"],
                                     ["Sec-Fetch-Site: none"]])
def test_the_servers_own_page_can(alive, headers):
    received = alive.raw(request("Content-Type: application/json", f"Content-Length: {len(BODY)}", "Connection: close", *headers,
                                 body=BODY))
    assert answer(received).status == 200


def test_a_body_of_no_type(alive):
    assert alive.post("/v1/completions", BODY).status == 200
    received = alive.raw(request(f"Content-Length: {len(UNLOAD)}", body=UNLOAD, path="/models/unload"))
    error_of(answer(received), 415)
    assert all(model["state"] == "ready" for model in alive.get("/v1/models").json["data"])


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/jsonp"])
def test_14_other_types(alive, kind):
    received = alive.raw(request(f"Content-Type: {kind}", f"Content-Length: {len(BODY)}", body=BODY))
    error_of(answer(received), 415)


def test_15_compressed(alive):
    received = alive.raw(request("Content-Type: application/json", "Content-Encoding: gzip", f"Content-Length: {len(BODY)}", body=BODY))
    error_of(answer(received), 415)


@pytest.mark.parametrize("method, path, allowed", [
    ("GET", "/v1/completions", "POST"), ("DELETE", "/v1/models", "GET"), ("PUT", "/v1/chat/completions", "POST"),
    ("POST", "/health", "GET")])
def test_16_other_methods(alive, method, path, allowed):
    reply = answer(alive.raw(request("Content-Length: 0", method=method, path=path)))
    error_of(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/v1/modelsX", "/v1/../v1/models", "/v1/models%00", "/V1/models", "//v1/models", "/v1//models",
                                  "/v1/models/", "/v1/models/a/b", "/v1/model%73", "/v1", "/v1/models/smol%00", "/v1/models/smol%00x",
                                  "/v1/models/sm%6fl%00", "/v1/models/smol%00%6f?x=1", "/v1/models/%zz", "/v1/models/..%2fsmol", "/V1/models/smol"])
def test_17_other_paths(alive, path):
    received = alive.raw(request("Connection: close", method="GET", path=path))
    error_of(answer(received), 404)


def test_17_names_may_be_escaped(alive):
    for name in ("smol", "sm%6fl", "%73%6D%6f%6c", "sm%6Fl?x=%00"):
        assert alive.get(f"/v1/models/{name}").json["id"] == "smol"


def test_18_hosts(alive):
    error_of(answer(alive.raw(request(method="GET", path="/v1/models", host=False))), 400)
    error_of(answer(alive.raw(request("Host: localhost", method="GET", path="/v1/models"))), 400) # two
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.2", "", "localhost:80@evil.example", "[::1]x"):
        error_of(answer(alive.raw(request(f"Host: {host}", method="GET", path="/v1/models", host=False))), 403, "forbidden_host")
    for host in ("localhost:1", "127.0.0.1", "[::1]:80"):
        assert answer(alive.raw(request(f"Host: {host}", "Connection: close", method="GET", path="/v1/models", host=False))).status == 200


def test_19_other_versions(alive):
    for version in ("HTTP/2.0", "HTTP/3", "HTTP/1.2", "HTTP/0.9"):
        error_of(answer(alive.raw(request(method="GET", path="/v1/models", version=version))), 505)


def test_20_expect(alive):
    with socket.create_connection(("127.0.0.1", alive.port), timeout=20) as connection:
        connection.sendall(request("Content-Type: application/json", f"Content-Length: {len(BODY)}", "Connection: close",
                                   "Expect: 100-continue"))
        first = connection.recv(100)
        assert first.startswith(b"HTTP/1.1 100")
        connection.sendall(BODY)
        assert b"HTTP/1.1 200" in first + read_all(connection)
    received = alive.raw(request("Content-Type: application/json", "Content-Length: 400000000", "Expect: 100-continue"))
    assert received.count(b"HTTP/1.1 ") == 1
    error_of(answer(received), 413)


def test_21_keys(tmp_path_factory, smollm2):
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text("# people\nsecond\n")
    s = Server(folder, f"  smol: {{ file: {smollm2} }}", ", api_key: first, api_key_file: keys")
    for headers in ([], ["Authorization: Bearer wrong"], ["Authorization: first"], ["Authorization: Bearer "],
                    ["Authorization: Bearer firs"], ["Authorization: Bearer firstx"], ["Authorization: Bearer # people"]):
        error = error_of(s.get("/v1/models", headers), 401, "invalid_api_key")
        assert error["type"] == "authentication_error"
        error_of(s.post("/v1/completions", BODY, headers), 401, "invalid_api_key")
    for key in ("first", "second"):
        assert s.get("/v1/models", [f"Authorization: Bearer {key}"]).status == 200
    assert s.get("/health").status == 200
    assert s.stop() == 0


def test_22_no_cors(alive):
    reply = alive.get("/v1/models", ["Origin: http://evil.example"])
    assert not any(name.startswith("access-control") for name in reply.headers)
    received = alive.raw(request("Origin: http://evil.example", "Access-Control-Request-Method: POST", "Connection: close",
                                 method="OPTIONS", path="/v1/models"))
    assert b"ccess-" + b"control" not in received.lower()


def test_one_connection_serves_many_requests(alive):
    with socket.create_connection(("127.0.0.1", alive.port), timeout=20) as connection:
        for i in range(5):
            connection.sendall(request("Content-Type: application/json", f"Content-Length: {len(BODY)}", f"X-Request-Id: r{i}",
                                       body=BODY))
            received = b""
            while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                received += connection.recv(65536)
            reply = answer(received)
            assert reply.status == 200 and reply.headers["x-request-id"] == f"r{i}"


def test_a_request_id_that_cannot_stand_in_a_header_is_replaced(alive):
    reply = alive.get("/health", ["X-Request-Id: a b"])
    assert reply.headers["x-request-id"] != "a b" and len(reply.headers["x-request-id"]) == 16
