"""Every registered action against every check; a new action gets all of these for free."""

from collections.abc import AsyncIterator, Callable

import pytest

from collector.enforcement import ACTIONS, Action, KillWebhook
from collector.enforcement.checks import CHECKS, BrokenPromise, Check, tries_once

from .runtime import FakeRuntime

MAKE: dict[str, Callable[[], Action]] = {"kill_webhook": lambda: KillWebhook(timeout_s=1.0)}


@pytest.fixture(params=sorted(ACTIONS))
async def action(request: pytest.FixtureRequest) -> AsyncIterator[Action]:
    made = MAKE[request.param]()
    yield made
    await made.aclose()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_keeps_its_promises(check: Check, action: Action, runtime: FakeRuntime) -> None:
    await check(action, runtime)


def test_is_registered_under_its_own_name() -> None:
    assert {name: cls.name for name, cls in ACTIONS.items()} == {name: name for name in ACTIONS}
    assert set(MAKE) == set(ACTIONS), "an action without a way to make it is not checked"


class Stubborn(KillWebhook):
    async def attempt(self, delivery):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        await super().attempt(delivery)
        return await super().attempt(delivery)


async def test_the_checks_find_an_action_that_retries_by_itself(runtime: FakeRuntime) -> None:
    stubborn = Stubborn()
    with pytest.raises(BrokenPromise, match="one attempt"):
        await tries_once(stubborn, runtime)
    await stubborn.aclose()
