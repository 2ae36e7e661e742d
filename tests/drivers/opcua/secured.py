"""An OPC UA server made with asyncua, with every security policy: a JSON argument says what to be, lines what to do."""

import asyncio
import json
import logging
import sys
from pathlib import Path

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User
from asyncua.server.user_managers import UserManager, UserRole
from cryptography import x509

P = ua.SecurityPolicyType


class Users(UserManager):
    """One user by name, one by certificate, and anonymous ones where they may."""

    def __init__(self, given: dict) -> None:
        self.given = given

    def get_user(self, iserver, username=None, password=None, certificate=None):
        if username is not None:
            right = username == "edgeflow" and password == self.given["password"]
        elif certificate is not None and self.given.get("user_certificate"):
            right = certificate == bytes.fromhex(self.given["user_certificate"]) or self.given["anonymous"]
        else:
            right = self.given["anonymous"]
        return User(role=UserRole.Admin) if right else None


class Clients:
    """The clients' certificates that are trusted; others are kept until they are approved."""

    def __init__(self, accept: bool, known: list[str]) -> None:
        self.accept, self.rejected = accept, set()
        self.trusted = {x509.load_der_x509_certificate(bytes.fromhex(one)) for one in known}

    async def validate(self, certificate: x509.Certificate, description: ua.ApplicationDescription) -> None:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if description.ApplicationUri not in names.get_values_for_type(x509.UniformResourceIdentifier):
            raise ServiceError(ua.StatusCodes.BadCertificateUriInvalid)
        if not self.accept and certificate not in self.trusted:
            self.rejected.add(certificate)
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    def approve(self) -> int:
        self.trusted |= self.rejected
        count = len(self.rejected)
        self.rejected.clear()
        return count


async def main(given: dict) -> None:
    logging.disable(logging.CRITICAL)
    server = Server(user_manager=Users(given))
    await server.init()
    await server.set_application_uri("urn:edgeflow:test:secured")
    server.set_endpoint(f"opc.tcp://127.0.0.1:{given['port']}/")
    clients = Clients(given["accept"], given.get("known", []))
    if given.get("certificate"):
        await server.load_certificate(Path(given["certificate"]))
        await server.load_private_key(Path(given["key"]))
        server.iserver.certificate_validator = clients.validate
    server.set_security_policy([getattr(P, name) for name in given["policies"]])
    server.set_identity_tokens(
        [
            *([ua.AnonymousIdentityToken] if given["anonymous"] else []),
            ua.UserNameIdentityToken,
            *([ua.X509IdentityToken] if given.get("certificate") else []),
        ]
    )
    if "session_s" in given:
        server.iserver.min_session_timeout_ms = server.iserver.max_session_timeout_ms = 1000 * given["session_s"]
    index = await server.register_namespace("urn:edgeflow:test")
    filler = await server.nodes.objects.add_object(ua.NodeId("Filler", index), "Filler")
    await filler.add_variable(
        ua.NodeId("Filler.Good", index), "Good", ua.Variant(given["value"], ua.VariantType.UInt32)
    )
    level = server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
    await level.write_value(ua.Variant(given["level"], ua.VariantType.Byte))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with server:
        print("> ready", flush=True)
        while line := await reader.readline():
            order = json.loads(line)
            answer = None
            if order["do"] == "approve":
                answer = clients.approve()
            elif order["do"] == "level":
                await level.write_value(ua.Variant(order["level"], ua.VariantType.Byte))
            elif order["do"] == "sessions":
                answer = len(server.iserver._external_sessions)
            print("> " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
