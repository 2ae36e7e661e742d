"""Which endpoint of a server a link uses: what is written is what is used, and never anything weaker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asyncua import ua

from edgeflow.errors import Rejected
from edgeflow_opcua.settings import Link

POLICIES = ("Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep")
"""The security policies that we use, the strongest first (OPC 10000-7, those that are not withdrawn)."""

_MODES = {ua.MessageSecurityMode.Sign: "Sign", ua.MessageSecurityMode.SignAndEncrypt: "SignAndEncrypt"}


def policy_name(uri: str | None) -> str:
    """The last part of a security policy's URI, as `Basic256Sha256`; "" where there is none."""
    return (uri or "").rpartition("#")[2]


def shown(endpoint: ua.EndpointDescription) -> str:
    """A policy with its mode, as `Basic256Sha256 (Sign)`."""
    name = policy_name(endpoint.SecurityPolicyUri)
    mode = _MODES.get(endpoint.SecurityMode)
    return f"{name} ({mode})" if mode else name


def usable(endpoint: ua.EndpointDescription) -> bool:
    """Whether we speak its transport and its policy at all."""
    name, secured = policy_name(endpoint.SecurityPolicyUri), endpoint.SecurityMode in _MODES
    binary = not endpoint.EndpointUrl or endpoint.EndpointUrl.startswith("opc.tcp:")
    return binary and (name in POLICIES if secured else name == "None")


def strength(endpoint: ua.EndpointDescription) -> tuple[int, int]:
    """For comparing: encrypted before signed before neither, and then by the policy."""
    if endpoint.SecurityMode not in _MODES:
        return 0, 0
    name = policy_name(endpoint.SecurityPolicyUri)
    rank = len(POLICIES) - POLICIES.index(name) if name in POLICIES else 0
    return 1 + (endpoint.SecurityMode is ua.MessageSecurityMode.SignAndEncrypt), rank


def choose(
    offered: Iterable[ua.EndpointDescription], link: Link, token: ua.UserTokenType = ua.UserTokenType.Anonymous
) -> ua.EndpointDescription:
    """The endpoint that the link asks for; of several, the strongest and one that takes such users.

    Raises Rejected with what the server offers and what to write.
    """
    known = [endpoint for endpoint in offered if usable(endpoint)]
    fitting = [endpoint for endpoint in known if _asked(endpoint, link)]
    if fitting:
        return max(fitting, key=lambda endpoint: (strength(endpoint), _takes(endpoint, token)))
    raise Rejected(_missing(known, link))


def _asked(endpoint: ua.EndpointDescription, link: Link) -> bool:
    if link.security == "none":
        return endpoint.SecurityMode not in _MODES
    name, mode = policy_name(endpoint.SecurityPolicyUri), _MODES.get(endpoint.SecurityMode)
    return mode is not None and link.security in ("auto", name) and mode == (link.wanted_mode or mode)


def _takes(endpoint: ua.EndpointDescription, token: ua.UserTokenType) -> bool:
    return any(policy.TokenType == token for policy in endpoint.UserIdentityTokens or ())


def _missing(known: Sequence[ua.EndpointDescription], link: Link) -> str:
    secured = sorted((endpoint for endpoint in known if endpoint.SecurityMode in _MODES), key=strength, reverse=True)
    names = ", ".join(dict.fromkeys(map(shown, secured)))
    if link.security == "none":
        return (
            f"it offers no connection without encryption, only {names or 'what we do not speak'}; leave `security` "
            "out and the strongest is taken"
        )
    if secured and link.security == "auto":
        return f"it offers {names}, but none in mode {link.wanted_mode}; leave `mode` out"
    asked = f"{link.security} in mode {link.wanted_mode}" if link.security != "auto" else "encryption"
    if secured:
        return f"it does not offer {asked}; it offers {names}: write one of these as `security` and `mode`"
    if known:
        return (
            f"it does not offer {asked}: everybody on the network could read and change what is sent; enable "
            "Basic256Sha256 on the server, or accept that and write `security: none`"
        )
    return f"it does not offer {asked}, nor anything else that we speak; enable Basic256Sha256 on the server"
