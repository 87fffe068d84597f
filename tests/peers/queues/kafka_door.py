"""A door before a Kafka broker that can neither speak TLS nor keep its users: Python's ssl does the one, scramp the other.

    kafka_door.py PORT INNER_PORT MECHANISM|none USER PASSWORD CERT|none KEY|none COMMAND...

It runs COMMAND, a broker on INNER_PORT, and hands on what comes at PORT, once a client has proved who it is. Without a
proof it lets a client ask for the broker's versions alone, as a broker does.
"""

import asyncio
import ssl
import struct
import sys

from scramp import ScramException, ScramMechanism

port, inner, mechanism, user, password, cert, key = sys.argv[1:8]
command = sys.argv[8:]

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_SASL_MECHANISM, SASL_AUTHENTICATION_FAILED = 33, 58


class Plain:
    """RFC 4616."""

    done = False

    def step(self, said):
        if said != f"\0{user}\0{password}".encode():
            raise ValueError("wrong credentials")
        self.done = True
        return b""


class Scram:
    """RFC 5802, by scramp."""

    done = False

    def __init__(self):
        scram = ScramMechanism(mechanism)
        users = {user: scram.make_auth_info(password)}
        self.server = scram.make_server(lambda name: users[name])
        self.first = True

    def step(self, said):
        if self.first:
            self.first = False
            self.server.set_client_first(said.decode())
            return self.server.get_server_first().encode()
        self.server.set_client_final(said.decode())
        self.done = True
        return self.server.get_server_final().encode()


async def frame(reader):
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


def text(data, at):
    (length,) = struct.unpack_from(">h", data, at)
    end = at + 2 + max(length, 0)
    return data[at + 2 : end].decode(), end


def answer(correlation, body):
    return struct.pack(">ii", len(body) + 4, correlation) + body


async def admit(reader, writer, to_broker, from_broker):
    """Answers as a broker does until the client has logged in; whether it has."""
    login = Plain() if mechanism == "PLAIN" else Scram()
    while not login.done:
        request = await frame(reader)
        api, version, correlation = struct.unpack_from(">hhi", request)
        _, at = text(request, 8)
        if api == API_VERSIONS:
            to_broker.write(struct.pack(">i", len(request)) + request)
            versions = await frame(from_broker)
            writer.write(struct.pack(">i", len(versions)) + versions)
        elif (api, version) == (SASL_HANDSHAKE, 1):
            wanted, _ = text(request, at)
            code = 0 if wanted == mechanism else UNSUPPORTED_SASL_MECHANISM
            named = mechanism.encode()
            writer.write(answer(correlation, struct.pack(">hih", code, 1, len(named)) + named))
        elif api == SASL_AUTHENTICATE and version in (0, 1):
            lifetime = struct.pack(">q", 0) if version == 1 else b""
            (length,) = struct.unpack_from(">i", request, at)
            try:
                said = login.step(request[at + 4 : at + 4 + length])
                writer.write(answer(correlation, struct.pack(">hhi", 0, -1, len(said)) + said + lifetime))
            except (ScramException, ValueError, KeyError):
                why = b"wrong credentials"
                body = struct.pack(">hh", SASL_AUTHENTICATION_FAILED, len(why)) + why + struct.pack(">i", 0) + lifetime
                writer.write(answer(correlation, body))
                return False
        else:
            return False
        await writer.drain()
    return True


async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def serve(reader, writer):
    try:
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", int(inner))
        if mechanism == "none" or await admit(reader, writer, to_broker, from_broker):
            ways = [pipe(reader, to_broker), pipe(from_broker, writer)]
            await asyncio.wait(map(asyncio.create_task, ways), return_when=asyncio.FIRST_COMPLETED)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    broker = await asyncio.create_subprocess_exec(*command)
    tls = None
    if cert != "none":
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(cert, key)
    while True:
        try:
            _, probe = await asyncio.open_connection("127.0.0.1", int(inner))
            probe.close()
            break
        except OSError:
            await asyncio.sleep(0.02)
    server = await asyncio.start_server(serve, "127.0.0.1", int(port), ssl=tls)
    async with server:
        await broker.wait()


asyncio.run(main())
