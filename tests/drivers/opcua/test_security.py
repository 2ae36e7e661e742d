"""Which endpoint, which user, which certificates: what is decided without a server."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.crypto import security_policies as policies
from pydantic import ValidationError

from edgeflow import document
from edgeflow.driver import Home
from edgeflow.errors import Rejected
from edgeflow_opcua import Link
from edgeflow_opcua.certificate import application_uri, chain, der, host_names, own
from edgeflow_opcua.endpoint import choose, policy_name, shown
from edgeflow_opcua.identity import choose_token, identity
from edgeflow_opcua.trust import MOST_PENDING, PENDING, TRUSTED, Trust, remarks
from tests.drivers.opcua.servers import Pair, make_pair

URL = "opc.tcp://127.0.0.1:4840"
URI = "urn:edgeflow:test:secured"
Mode = ua.MessageSecurityMode
Token = ua.UserTokenType
NONE = policies.SecurityPolicyNone.URI
PSS = policies.SecurityPolicyAes256Sha256RsaPss.URI
BASIC = policies.SecurityPolicyBasic256Sha256.URI
OAEP = policies.SecurityPolicyAes128Sha256RsaOaep.URI
OLD = policies.SecurityPolicyBasic128Rsa15.URI


def link(**given: Any) -> Link:
    return Link.model_validate({"url": URL, **given})


def endpoint(policy: str, mode: ua.MessageSecurityMode, *tokens: ua.UserTokenPolicy) -> ua.EndpointDescription:
    return ua.EndpointDescription(
        EndpointUrl=URL, SecurityPolicyUri=policy, SecurityMode=mode, UserIdentityTokens=list(tokens)
    )


def token(kind: ua.UserTokenType, policy: str | None = None) -> ua.UserTokenPolicy:
    return ua.UserTokenPolicy(PolicyId=f"{kind.name} {policy_name(policy)}", TokenType=kind, SecurityPolicyUri=policy)


OPEN = endpoint(NONE, Mode.None_)
EVERY = [OPEN, *(endpoint(policy, mode) for policy in (BASIC, OAEP, PSS) for mode in (Mode.Sign, Mode.SignAndEncrypt))]


# --- what is written --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("None", "none"), ("basic256sha256", "Basic256Sha256"), ("Aes128-Sha256-RsaOaep", "Aes128_Sha256_RsaOaep"),
        ("AES256_SHA256_RSAPSS", "Aes256_Sha256_RsaPss"), ("auto", "auto"),
    ],
)  # fmt: skip
def test_a_policy_may_be_spelt_as_the_pages_of_servers_do(written: str, read: str) -> None:
    assert link(security=written).security == read
    assert link(mode="Sign & Encrypt").mode == link(mode="sign_and_encrypt").mode == "SignAndEncrypt"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"security": "Basic256"}, "Input should be 'auto', 'none'"),
        ({"security": "none", "mode": "Sign"}, "needs a `security` other than none"),
        ({"password": {"env": "X"}}, "`password` needs a `user`"),
        ({"user": "x", "password_in_clear": True}, "`password_in_clear` needs a `password`"),
        ({"user": "x", "password": "secret"}, "a secret is not written here: write `{file: name.secret}`"),
        ({"user": "x", "password": {}}, "write either `{file: name.secret}`"),
        ({"user_certificate": "x.der"}, "belong together"),
        ({"user": "x", "user_certificate": "x.der", "user_key": "x.pem"}, "either `user` or `user_certificate`"),
        ({"urls": ["opc.tcp://10.0.0.7"]}, "write either `url"),
        ({"url": None, "urls": [URL, URL]}, "holds an address twice"),
        ({"url": None}, "write either `url"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("{", r"\{")):
        link(**given)


def test_files_are_looked_for_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "filler.password").write_text("secret \n")
    (tmp_path / "gateway.yaml").write_text(f"url: {URL}\nuser: me\npassword: {{file: filler.password}}\n")
    read = document.load(tmp_path / "gateway.yaml").model(Link)
    assert identity(read).password == "secret "  # only the end of the line is none of it


def test_a_missing_password_says_where_it_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"the password of 'me' is not in the file .*absent; put it there"):
        identity(link(user="me", password={"file": tmp_path / "absent"}))
    with pytest.raises(Rejected, match="the environment variable EDGEFLOW_TEST_ABSENT"):
        identity(link(user="me", password={"env": "EDGEFLOW_TEST_ABSENT"}))


def test_the_certificate_and_key_of_a_user_must_fit(tmp_path: Path) -> None:
    one, other = make_pair(tmp_path, "one"), make_pair(tmp_path, "other")
    assert identity(link(user_certificate=one.file, user_key=one.key_file)).certificate == one.certificate
    for certificate, key, said in (
        (one.file, other.key_file, "does not belong"),
        (one.key_file, one.key_file, "is no certificate"),
        (one.file, one.file, "is no private key"),
        (tmp_path / "absent", one.key_file, "cannot be read"),
    ):
        with pytest.raises(Rejected, match=said):
            identity(link(user_certificate=certificate, user_key=key))


# --- which endpoint ---------------------------------------------------------------------------------


def test_auto_takes_the_strongest_encryption_and_never_none() -> None:
    assert shown(choose(EVERY, link())) == "Aes256_Sha256_RsaPss (SignAndEncrypt)"
    assert shown(choose(EVERY, link(mode="Sign"))) == "Aes256_Sha256_RsaPss (Sign)"
    weaker = [OPEN, endpoint(PSS, Mode.Sign), endpoint(OAEP, Mode.SignAndEncrypt), endpoint(BASIC, Mode.SignAndEncrypt)]
    assert shown(choose(weaker, link())) == "Basic256Sha256 (SignAndEncrypt)"
    with pytest.raises(Rejected, match="accept that and write `security: none`"):
        choose([OPEN], link())


@pytest.mark.parametrize("name", ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"])
def test_what_is_written_is_what_is_used(name: str) -> None:
    assert shown(choose(EVERY, link(security=name))) == f"{name} (SignAndEncrypt)"
    assert shown(choose(EVERY, link(security=name, mode="Sign"))) == f"{name} (Sign)"
    assert shown(choose(EVERY, link(security="none"))) == "None"


def test_nothing_weaker_takes_the_place_of_what_is_written() -> None:
    offered = [OPEN, endpoint(BASIC, Mode.Sign), endpoint(PSS, Mode.Sign)]
    with pytest.raises(Rejected, match=r"it offers Aes256_Sha256_RsaPss \(Sign\), Basic256Sha256 \(Sign\): write one"):
        choose(offered, link(security="Basic256Sha256"))
    with pytest.raises(Rejected, match="leave `mode` out"):
        choose(offered, link(mode="SignAndEncrypt"))
    with pytest.raises(Rejected, match="leave `security` out and the strongest is taken"):
        choose(offered[1:], link(security="none"))


def test_what_is_withdrawn_is_not_used() -> None:
    with pytest.raises(Rejected, match="nor anything else that we speak"):
        choose([endpoint(OLD, Mode.SignAndEncrypt)], link())


def test_of_two_alike_the_one_is_taken_that_knows_such_users() -> None:
    plain = endpoint(PSS, Mode.Sign, token(Token.Anonymous))
    named = endpoint(PSS, Mode.Sign, token(Token.UserName))
    assert choose([plain, named], link(), Token.UserName) is named
    assert choose([named, plain], link(), Token.Anonymous) is plain


# --- which user -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFLOW_TEST_PASSWORD", "secret")


def name_token(where: ua.EndpointDescription, *offered: ua.UserTokenPolicy, **given: Any) -> Any:
    written = link(user="me", password={"env": "EDGEFLOW_TEST_PASSWORD"}, **given)
    return choose_token(offered, identity(written), where, written)


def test_a_password_is_encrypted_by_the_best_that_is_offered() -> None:
    plain, old = token(Token.UserName, NONE), token(Token.UserName, OLD)
    good, best = token(Token.UserName, BASIC), token(Token.UserName, PSS)
    assert name_token(endpoint(PSS, Mode.Sign), plain, good, best, old).policy is best
    assert name_token(endpoint(PSS, Mode.SignAndEncrypt), plain).policy is plain
    assert name_token(endpoint(BASIC, Mode.Sign), token(Token.UserName)).policy.SecurityPolicyUri is None


@pytest.mark.parametrize("offered", [NONE, OLD, None])
@pytest.mark.parametrize("where", [OPEN, endpoint(BASIC, Mode.Sign)])
def test_a_password_is_never_sent_in_clear_unasked(where: ua.EndpointDescription, offered: str | None) -> None:
    if offered is None and where is not OPEN:
        return  # then the endpoint's own policy encrypts it
    with pytest.raises(Rejected, match="write `password_in_clear: true`"):
        name_token(where, token(Token.UserName, offered))


def test_a_password_in_clear_is_sent_where_it_is_allowed_by_name() -> None:
    plain = token(Token.UserName, NONE)
    assert name_token(OPEN, plain, password_in_clear=True).policy is plain
    with pytest.raises(Rejected, match="encrypted by Basic128Rsa15, which we do not speak"):
        name_token(OPEN, token(Token.UserName, OLD), password_in_clear=True)


def test_where_only_the_server_can_read_the_password_the_server_must_be_trusted() -> None:
    good = token(Token.UserName, BASIC)
    assert name_token(OPEN, good).encrypted_for_server
    assert not name_token(endpoint(BASIC, Mode.Sign), good).encrypted_for_server  # it is trusted already


def test_a_kind_of_user_that_is_not_taken_is_said_with_those_that_are() -> None:
    written = link()
    with pytest.raises(Rejected, match=r"it takes user names \(write `user` and `password`\), certificates"):
        choose_token([token(Token.UserName), token(Token.Certificate)], identity(written), OPEN, written)
    assert choose_token([], identity(written), OPEN, written).policy.TokenType is Token.Anonymous


# --- which servers ----------------------------------------------------------------------------------


def check(home: Home, *sent: Pair, url: str = URL, uri: str = URI) -> str:
    """Why a server is not trusted; "" where it is."""
    try:
        Trust(home).check(b"".join(pair.der for pair in sent), url, uri)
    except Rejected as refusal:
        return str(refusal)
    return ""


def test_a_server_is_trusted_once_a_person_has_approved_its_certificate(tmp_path: Path) -> None:
    home, server = Home(), make_pair(tmp_path, "server")
    told = check(home, server)
    assert "nobody has approved it" in told
    assert f"`edgeflow opcua trust {server.fingerprint} --url {URL}`" in told
    assert home.names(PENDING) == [f"{PENDING}{server.fingerprint}.der"]
    Trust(home).approve(server.fingerprint[:6])
    assert home.names() == [f"{TRUSTED}{server.fingerprint}.der"]
    assert check(home, server) == ""
    Trust(home).remove(":".join(server.fingerprint[i : i + 2].upper() for i in range(0, 40, 2)))
    assert "nobody has approved it" in check(home, server)


def test_an_approved_certificate_is_trusted_whatever_it_says_of_dates_and_names(tmp_path: Path) -> None:
    """A person has approved this very one; stopping the line because it has expired would protect nobody."""
    old = make_pair(tmp_path, "old", end=datetime(2021, 1, 1, tzinfo=UTC), host="elsewhere.example", uri="urn:other")
    home = Home()
    home.put(f"{TRUSTED}copied-by-hand.crt", old.der)
    assert check(home, old) == ""
    assert remarks(old.certificate, URL, URI) == [
        "it expired on 2021-01-01",
        "it is for elsewhere.example, not for 127.0.0.1",
        f"it is for the application urn:other, not for {URI}",
    ]


def test_an_authority_is_trusted_for_no_more_than_it_says(tmp_path: Path) -> None:
    home = Home()
    root = make_pair(tmp_path, "root", authority=True)
    between = make_pair(tmp_path, "between", issuer=root, authority=True)
    home.put(f"{TRUSTED}plant-ca.der", root.der)
    assert check(home, make_pair(tmp_path, "direct", issuer=root)) == ""
    assert check(home, make_pair(tmp_path, "through", issuer=between), between) == ""
    assert "nobody has approved it" in check(home, make_pair(tmp_path, "cut", issuer=between))
    late = make_pair(tmp_path, "late", issuer=root, end=datetime(2021, 1, 1, tzinfo=UTC))
    early = make_pair(tmp_path, "early", issuer=root, begin=datetime(2089, 1, 1, tzinfo=UTC))
    away = make_pair(tmp_path, "away", issuer=root, host="elsewhere.example")
    other = make_pair(tmp_path, "other", issuer=root, uri="urn:other")
    assert "it expired on 2021-01-01" in check(home, late)
    assert "it is valid only from 2089-01-01" in check(home, early)
    assert "it is for elsewhere.example, not for 127.0.0.1" in check(home, away)
    assert "it is for the application urn:other" in check(home, other)


def test_an_end_certificate_is_no_authority(tmp_path: Path) -> None:
    home, trusted = Home(), make_pair(tmp_path, "trusted")
    home.put(f"{TRUSTED}{trusted.fingerprint}.der", trusted.der)
    assert "nobody has approved it" in check(home, make_pair(tmp_path, "forged", issuer=trusted))


def test_an_expired_authority_is_none(tmp_path: Path) -> None:
    home = Home()
    root = make_pair(tmp_path, "root", authority=True, end=datetime(2021, 1, 1, tzinfo=UTC))
    home.put(f"{TRUSTED}plant-ca.der", root.der)
    assert "nobody has approved it" in check(home, make_pair(tmp_path, "server", issuer=root))


def test_keys_that_are_too_short_and_garbage_are_refused(tmp_path: Path) -> None:
    home = Home()
    assert "has 1024 bits, fewer than the 2048" in check(home, make_pair(tmp_path, "short", bits=1024))
    whole = make_pair(tmp_path, "whole").der
    for sent in (b"", b"0", whole[:-1], whole + b"0", b"\x30\x84\xff\xff\xff\xff", os.urandom(700)):
        with pytest.raises(Rejected, match="cannot be read"):
            Trust(home).check(sent, URL, URI)
    assert home.names() == []


def test_the_pending_certificates_are_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    """As with a server that makes a new certificate at each start."""
    home, begin = Home(), datetime(2024, 1, 1, tzinfo=UTC)
    made, key = [], make_pair(tmp_path, "server").key
    for day in range(MOST_PENDING + 2):
        pair = make_pair(tmp_path, f"server{day}", begin=begin + timedelta(days=day), key=key)
        made.append(pair.fingerprint)
        check(home, pair)
        check(home, pair)
    assert {entry.fingerprint for entry in Trust(home).entries(PENDING)} == set(made[2:])


def test_a_fingerprint_that_fits_none_or_several_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    home = Home()
    with pytest.raises(Rejected, match="there is none; a server's comes into the list when it is connected"):
        Trust(home).approve("abcd")
    pairs = [make_pair(tmp_path, f"s{number}") for number in range(2)]
    for pair in pairs:
        check(home, pair)
    with pytest.raises(Rejected, match=pairs[0].fingerprint):
        Trust(home).approve("zzzz")
    assert len(home.names(PENDING)) == 2


# --- our own certificate ----------------------------------------------------------------------------


async def test_our_own_certificate_is_made_once_and_kept() -> None:
    home = Home()
    made = await own(home)
    again = await own(home)
    assert home.names() == ["own/certificate.der", "own/key.pem"]
    assert der(again.certificate) == der(made.certificate)
    assert made.key.key_size >= 2048
    assert application_uri(made.certificate).startswith("urn:")
    assert host_names(made.certificate)
    begin, end = made.certificate.not_valid_before_utc, made.certificate.not_valid_after_utc
    assert timedelta(days=365 * 5) < end - begin < timedelta(days=365 * 20)
    assert begin <= datetime.now(UTC) < end
    assert remarks(made.certificate) == []


async def test_our_own_certificate_is_renewed_in_time_with_its_key_and_name(tmp_path: Path) -> None:
    soon = make_pair(tmp_path, "gateway", uri="urn:plant:gateway7", end=datetime.now(UTC) + timedelta(days=90))
    home = Home()
    home.put("own/certificate.der", soon.der)
    home.put("own/key.pem", soon.key_file.read_bytes())
    held = await own(home)
    assert held.former == soon.certificate
    assert held.certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3000)
    assert held.certificate.public_key() == soon.certificate.public_key()
    assert application_uri(held.certificate) == "urn:plant:gateway7"
    over = make_pair(tmp_path, "over", end=datetime(2021, 1, 1, tzinfo=UTC))
    home.put("own/former.der", over.der)
    assert (await own(home)).former is None
    assert "own/former.der" not in home.names()


async def test_a_certificate_that_an_authority_has_issued_is_used_with_its_issuers(tmp_path: Path) -> None:
    root = make_pair(tmp_path, "root", authority=True)
    issued = make_pair(tmp_path, "gateway", issuer=root, end=datetime.now(UTC) + timedelta(days=9))
    home = Home()
    home.put("own/certificate.der", issued.der + root.der)
    home.put("own/key.pem", issued.key_file.read_bytes())
    held = await own(home)
    assert (held.certificate, held.issuers) == (issued.certificate, (root.certificate,))
    assert chain(issued.der + root.der) == [issued.certificate, root.certificate]


async def test_a_pair_that_does_not_fit_is_never_replaced_unasked(tmp_path: Path) -> None:
    one, other = make_pair(tmp_path, "one"), make_pair(tmp_path, "other")
    for certificate, key in ((one.der, other.key_file.read_bytes()), (one.der, None), (b"garbage", b"garbage")):
        home = Home()
        home.put("own/certificate.der", certificate)
        home.put("own/key.pem", key)
        with pytest.raises(Rejected, match="take both away and new ones are made"):
            await own(home)
        assert home.get("own/certificate.der") == certificate
