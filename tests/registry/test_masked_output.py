from __future__ import annotations

import json

import pytest

from topcoat.registry.masked_output import masked_output

SECRETS = ["hunter2", "correct-horse", "ghp_0123456789abcdefghijABCDEFGHIJ", "pa ss", "s3cr3t/with=signs"]


@pytest.mark.parametrize(
    "form",
    [
        json.dumps({"ServerURL": "ghcr.io", "Username": "me", "Secret": "%s"}),
        json.dumps({"ServerURL": "ghcr.io", "Username": "me", "Secret": "%s"}, indent=2),
        '{"ServerURL":"ghcr.io","Username":"me","Secret":"%s',
        "%s",
        "%s\n",
        "cannot log in\n%s\n",
        "login failed, password=%s",
        "login failed. Password: %s",
        "the token is %s",
        "TOKEN=%s docker login",
        "auth: %s",
    ],
)
@pytest.mark.parametrize("secret", [secret for secret in SECRETS if " " not in secret])
def test_a_secret_is_never_shown(form: str, secret: str) -> None:
    assert secret not in masked_output((form % secret).encode())


@pytest.mark.parametrize("secret", ["hunter2", "ghp_0123456789abcdefghijABCDEFGHIJ", "s3cr3t/with=signs"])
def test_an_opaque_word_is_not_shown_in_a_sentence_either(secret: str) -> None:
    assert masked_output(f"cannot use {secret} here".encode()) == "cannot use *** here"


@pytest.mark.parametrize(
    "text",
    [
        "the keychain is locked",
        "gpg: decryption failed: No secret key",
        "pass not initialized",
        "User interaction is not allowed.",
        "exit status 2",
    ],
)
def test_a_message_of_words_is_shown_as_it_is(text: str) -> None:
    assert masked_output(text.encode()) == text


def test_a_long_output_is_cut() -> None:
    assert len(masked_output(b"no session\n" * 100_000)) <= 300


def test_no_output_is_empty() -> None:
    assert masked_output(b" \n ") == ""
