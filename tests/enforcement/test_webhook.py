import base64
from collections.abc import AsyncIterator

import httpx2
import pytest
from pydantic import SecretStr

from collector.enforcement.action import Delivery, Reply, Runtime
from collector.enforcement.webhook import ANSWER_LIMIT, KillWebhook, signing_key
from collector.errors import ConfigError

from .runtime import Clock, FakeRuntime


@pytest.fixture
async def webhook() -> AsyncIterator[KillWebhook]:
    made = KillWebhook(timeout_s=5.0)
    yield made
    await made.aclose()


def delivery(target: Runtime, clock: Clock, key: str = "msg_1") -> Delivery:
    return Delivery(key=key, runtime=target, body='{"type":"session.halt","summary":"größer"}'.encode(), attempt=1, now_ns=clock())


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"])
async def test_the_library_verifies_the_signature(secret: str, webhook: KillWebhook, clock: Clock) -> None:
    with FakeRuntime(secret) as runtime:
        await webhook.attempt(delivery(runtime.target(), clock))
        assert [request.verified for request in runtime.requests] == [True]


async def test_a_secret_in_plain_text_signs_as_its_bytes(webhook: KillWebhook, clock: Clock, runtime: FakeRuntime) -> None:
    runtime.secret = "whsec_" + base64.b64encode(b"correct horse battery staple").decode()
    target = Runtime(url=runtime.url, secret=SecretStr("correct horse battery staple"))
    await webhook.attempt(delivery(target, clock))
    assert runtime.requests[0].verified


async def test_each_attempt_is_signed_afresh_under_the_same_id(webhook: KillWebhook, clock: Clock, runtime: FakeRuntime) -> None:
    await webhook.attempt(delivery(runtime.target(), clock))
    clock.sleep(61)
    await webhook.attempt(delivery(runtime.target(), clock))
    first, second = (request.headers for request in runtime.requests)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 61
    assert first["webhook-signature"] != second["webhook-signature"]
    assert all(request.verified for request in runtime.requests)


async def test_a_wrong_secret_is_noticed_by_the_receiver(webhook: KillWebhook, clock: Clock, runtime: FakeRuntime) -> None:
    await webhook.attempt(delivery(Runtime(url=runtime.url, secret=SecretStr("another")), clock))
    assert not runtime.requests[0].verified


@pytest.mark.parametrize(
    ("behaviour", "reply"),
    [
        ("stopping", Reply.STOPPING),
        ("stopped", Reply.STOPPED),
        ("unknown_session", Reply.UNKNOWN_SESSION),
        ("unsupported", Reply.UNSUPPORTED),
        ("empty", Reply.UNPROVEN),
        ("garbage", Reply.UNPROVEN),
        ("flood", Reply.UNPROVEN),
        ("error", Reply.FAILED),
        ("busy", Reply.FAILED),
        ("redirect", Reply.FAILED),
    ],
)
async def test_only_the_words_of_the_contract_are_an_owners(
    behaviour: str, reply: Reply, webhook: KillWebhook, clock: Clock, runtime: FakeRuntime
) -> None:
    runtime.answers(behaviour)
    assert (await webhook.attempt(delivery(runtime.target(), clock))).reply is reply


@pytest.mark.parametrize("text", ["null", "[]", '"stopped"', '{"status": null}', '{"status": ["stopped"]}', '{"status": "STOPPED"}', "{"])
async def test_an_answer_that_only_looks_like_one_proves_nothing(
    text: str, webhook: KillWebhook, clock: Clock, runtime: FakeRuntime
) -> None:
    runtime.answers(f"text:{text}")
    assert (await webhook.attempt(delivery(runtime.target(), clock))).reply is Reply.UNPROVEN


async def test_a_redirect_is_not_followed_and_says_so(webhook: KillWebhook, clock: Clock, runtime: FakeRuntime) -> None:
    runtime.answers("redirect")
    answer = await webhook.attempt(delivery(runtime.target(), clock))
    assert len(runtime.requests) == 1
    assert "redirects are not followed" in answer.detail


async def test_a_busy_receiver_may_wish_for_a_pause(webhook: KillWebhook, clock: Clock, runtime: FakeRuntime) -> None:
    runtime.answers("busy")
    assert (await webhook.attempt(delivery(runtime.target(), clock))).retry_after_s == 30.0


async def test_an_endless_answer_is_cut_off(clock: Clock) -> None:
    sent = 0

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 4096
                yield b" " * 4096

    webhook = KillWebhook(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Endless())))
    answer = await webhook.attempt(delivery(Runtime(url="http://runtime.test/", secret=SecretStr("s")), clock))
    assert answer.reply is Reply.UNPROVEN
    assert sent <= ANSWER_LIMIT + 2 * 4096
    await webhook.aclose()


async def test_the_details_name_the_place_without_what_is_secret(webhook: KillWebhook, clock: Clock) -> None:
    target = Runtime(url="http://user:hunter2@127.0.0.1:1/kill?token=hunter2", secret=SecretStr("hunter2"))
    answer = await webhook.attempt(delivery(target, clock))
    assert answer.detail == "http://127.0.0.1:1/kill: cannot connect"
    assert "hunter2" not in repr(target.secret)


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, clock: Clock, runtime: FakeRuntime) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    webhook = KillWebhook()
    assert (await webhook.attempt(delivery(runtime.target(), clock))).reply is Reply.STOPPING
    await webhook.aclose()


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!"])
async def test_an_unusable_secret_is_a_mistake_of_the_configuration(secret: str, webhook: KillWebhook, clock: Clock) -> None:
    with pytest.raises(ConfigError):
        signing_key(SecretStr(secret))
    answer = await webhook.attempt(delivery(Runtime(url="http://127.0.0.1:1/", secret=SecretStr(secret)), clock))
    assert answer.reply is Reply.FAILED
    assert "not base64!" not in answer.detail


@pytest.mark.parametrize(
    ("patterns", "agent_type", "runs"),
    [
        ((), "research", True),
        (("research",), "research", True),
        (("res*",), "research", True),
        (("ops-*",), "research", False),
        (("Research",), "research", False),
        (("research",), "unknown", True),
    ],
)
def test_a_runtime_runs_the_types_it_says(patterns: tuple[str, ...], agent_type: str, runs: bool) -> None:
    assert Runtime(url="http://h/", secret=SecretStr("s"), agent_types=patterns).runs(agent_type) is runs


def test_the_place_keeps_ports_and_addresses_readable() -> None:
    assert Runtime(url="https://[::1]:8443/a?b=c", secret=SecretStr("s")).place == "https://[::1]:8443/a"
