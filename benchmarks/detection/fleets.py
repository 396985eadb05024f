"""Scenarios of fleets: one cause that many sessions meet, and what only looks like one."""

import json
from typing import Any

from benchmarks.detection.labelled import tokens_of
from benchmarks.detection.together import Plot, goes_wrong, misleads
from detectors import testing


def _usual(plot: Plot, count: int, tool: str) -> None:
    for _ in range(count):
        plot.call(tool, plot.writer.text(plot.dice.randint(1, 3)))


def _record(plot: Plot, **more: Any) -> dict[str, Any]:
    return {"id": plot.writer.number(), "title": plot.writer.name(), "note": plot.writer.text(1), **more}


def _model(plot: Plot, *, cost: float | None = 0.01, reason: str = "stop", failed: str | None = None, model: str = "gpt-4o") -> None:
    said = plot.writer.text(1)
    fields: dict[str, Any] = {"finish_reasons": (reason,), "input_tokens": plot.writer.number(), "output_tokens": tokens_of(said)}
    if cost is not None:
        fields["cost_usd"] = cost
    if failed is not None:
        fields |= {"error": True, "error_type": "APIError", "error_message": failed, "finish_reasons": ()}
    plot.step(testing.llm(model, said, **fields))


# Schema drift


@goes_wrong("schema_drift")
def a_parameter_was_renamed(plot: Plot) -> None:
    """A release of the tool refuses the parameter that half of the calls still use."""
    tool = plot.writer.tool("search")
    _usual(plot, 60, tool)
    plot.trouble()
    for number in range(60):
        refused = f"ValidationError: {plot.writer.argument} is not a parameter of {tool}"
        plot.call(tool, plot.writer.text(1), failed=refused if number % 2 else None)


@goes_wrong("schema_drift")
def a_definition_lost_a_parameter(plot: Plot) -> None:
    """The tool is announced without a parameter that it used to take."""
    tool = plot.writer.tool("search")
    plot.define(tool, [plot.writer.argument, "limit"])
    _usual(plot, 40, tool)
    plot.trouble()
    plot.define(tool, [plot.writer.argument])
    _usual(plot, 40, tool)


@goes_wrong("schema_drift")
def results_lost_a_field(plot: Plot) -> None:
    """Records come without a field that they always had."""
    tool = plot.writer.tool("read")
    for _ in range(80):
        plot.call(tool, json.dumps(_record(plot, owner={"name": plot.writer.name()})))
    plot.trouble()
    for _ in range(80):
        plot.call(tool, json.dumps(_record(plot, owner={"id": plot.writer.number()})))


@goes_wrong("schema_drift")
def results_changed_types_on_half_of_the_servers(plot: Plot) -> None:
    """A list became an object by id, on every other server."""
    tool = plot.writer.tool("list")
    for _ in range(80):
        plot.call(tool, json.dumps({"items": [_record(plot) for _ in range(plot.dice.randint(0, 4))], "next": None}))
    plot.trouble()
    for number in range(120):
        records = [_record(plot) for _ in range(3)]
        items: Any = records if number % 2 else {str(one["id"]): one for one in records}
        plot.call(tool, json.dumps({"items": items, "next": None}))


@misleads("schema_drift")
def now_and_then_a_wrong_parameter(plot: Plot) -> None:
    """One call in forty does not fit the schema."""
    tool = plot.writer.tool("search")
    for number in range(240):
        plot.call(tool, plot.writer.text(1), failed="ValidationError: limit must be a number" if number % 40 == 39 else None)


@misleads("schema_drift")
def records_of_several_kinds(plot: Plot) -> None:
    """A tool whose records have fields of their own, in no order."""
    tool = plot.writer.tool("read")
    for _ in range(240):
        own = plot.dice.choice(({"price": 3}, {"owner": plot.writer.name()}, {"tags": ["a"]}, {}))
        plot.call(tool, json.dumps(_record(plot, **own)))


@misleads("schema_drift")
def fields_that_are_empty_for_a_while(plot: Plot) -> None:
    """Nulls and empty lists where there is nothing to say, for some time."""
    tool = plot.writer.tool("list")
    for number in range(240):
        full = number < 120
        plot.call(tool, json.dumps({"items": [_record(plot)] if full else [], "next": "p2" if full else None}))


@misleads("schema_drift")
def results_with_more_fields(plot: Plot) -> None:
    """A release adds fields and takes none away."""
    tool = plot.writer.tool("read")
    for number in range(200):
        plot.call(tool, json.dumps(_record(plot, **({"rank": number} if number > 100 else {}))))


# Credentials


@goes_wrong("fleet_credential_failure")
def a_token_expired(plot: Plot) -> None:
    """From one moment on a tool answers everybody with 401."""
    tool = plot.writer.tool("send")
    _usual(plot, 50, tool)
    plot.trouble()
    for _ in range(60):
        plot.call(tool, failed="401 Unauthorized: the access token has expired")
        _model(plot)


@goes_wrong("fleet_credential_failure")
def a_key_of_the_provider_was_revoked(plot: Plot) -> None:
    """Model calls are refused for their key."""
    for _ in range(40):
        _model(plot)
    plot.trouble()
    for _ in range(60):
        _model(plot, failed="Error code: 401 - invalid api key provided")


@misleads("fleet_credential_failure")
def pages_that_some_may_not_open(plot: Plot) -> None:
    """One page in ten is not for everybody."""
    tool = plot.writer.tool("read")
    for number in range(200):
        plot.call(tool, plot.writer.text(2), failed="403 Forbidden: not your page" if number % 10 == 9 else None)


@misleads("fleet_credential_failure")
def one_session_without_rights(plot: Plot) -> None:
    """One session lacks a right and tries five times; the others go on."""
    tool = plot.writer.tool("send")
    _usual(plot, 60, tool)
    for _ in range(5):
        plot.call(tool, failed="403 Forbidden: role reader may not send", session=0)
        _usual(plot, 6, tool)


# A dependency


@goes_wrong("dependency_failure")
def a_tool_is_down(plot: Plot) -> None:
    """Calls of everybody time out, and everybody tries again."""
    tool = plot.writer.tool("run")
    _usual(plot, 60, tool)
    plot.trouble()
    for _ in range(140):
        plot.call(tool, failed=plot.writer.failure("timeout") if "timeout" in plot.writer.all["failures"] else "timed out after 30 s")


@goes_wrong("dependency_failure")
def the_provider_limits_everybody(plot: Plot) -> None:
    """Nine model calls in ten are turned away for their rate."""
    for _ in range(60):
        _model(plot)
    plot.trouble()
    for number in range(160):
        _model(plot, failed="Error code: 429 - rate limit reached" if number % 10 else None)


@misleads("dependency_failure")
def a_tool_that_fails_now_and_then(plot: Plot) -> None:
    """Three calls in ten time out, as they always did."""
    tool = plot.writer.tool("run")
    for number in range(300):
        plot.call(tool, plot.writer.text(1), failed="timed out after 30 s" if number % 10 < 3 else None)


@misleads("dependency_failure")
def tests_that_fail(plot: Plot) -> None:
    """Everybody runs tests, and four runs in ten fail with something new: that is an answer."""
    tool = plot.writer.tool("run")
    for number in range(300):
        plot.call(tool, plot.writer.text(1), failed=f"exit code 1: {plot.writer.text(1)}" if number % 10 < 4 else None)


# Goals


def _judged(plot: Plot, count: int, share: float, *, name: str, failing: bool = False) -> None:
    for _ in range(count):
        tool = plot.writer.tool("search")
        plot.call(tool, plot.writer.text(1), failed="timed out after 30 s" if failing and plot.dice.random() < 0.25 else None)
        plot.judge(name, label="pass" if plot.dice.random() < share else "fail")


@goes_wrong("semantic_regression")
def goals_are_missed(plot: Plot) -> None:
    """Nine in ten goals are reached, from a release on five in ten; every call succeeds."""
    name = plot.writer.pick(["goal", "task completion", "answer correct"])
    _judged(plot, 80, 0.9, name=name)
    plot.trouble()
    _judged(plot, 120, 0.5, name=name)


@goes_wrong("semantic_regression")
def answers_are_cut_off(plot: Plot) -> None:
    """Nobody judges, but a third of the answers end at the limit of tokens from a release on."""
    for number in range(100):
        _model(plot, reason="length" if number % 50 == 49 else "stop")
    plot.trouble()
    for number in range(120):
        _model(plot, reason="stop" if number % 3 else "length")


@misleads("semantic_regression")
def goals_that_are_reached_as_ever(plot: Plot) -> None:
    """Seven goals in ten, all along."""
    _judged(plot, 400, 0.7, name="goal")


@misleads("semantic_regression")
def goals_are_missed_because_calls_fail(plot: Plot) -> None:
    """A quarter of the calls times out: that is a technical matter."""
    _judged(plot, 100, 0.9, name="goal")
    _judged(plot, 120, 0.4, name="goal", failing=True)


# Spend


@goes_wrong("unmetered_spend")
def a_model_without_a_price(plot: Plot) -> None:
    """A third of the calls goes to a model nobody gave a price."""
    for _ in range(100):
        _model(plot)
    plot.trouble()
    for number in range(150):
        _model(plot, **({} if number % 3 else {"cost": None, "model": plot.writer.name()}))


@goes_wrong("unmetered_spend")
def calls_without_token_counts(plot: Plot) -> None:
    """Half of the calls stream, and their usage is not reported."""
    for _ in range(60):
        _model(plot)
    plot.trouble()
    for number in range(100):
        _model(plot, cost=0.01 if number % 2 else None)


@misleads("unmetered_spend")
def failed_calls_cost_nothing(plot: Plot) -> None:
    """Two calls in ten fail, and nobody knows what they cost."""
    for number in range(250):
        _model(plot, **({"cost": None, "failed": "Error code: 500"} if number % 10 < 2 else {}))


@misleads("unmetered_spend")
def a_call_in_forty_is_unmetered(plot: Plot) -> None:
    """Worth a note, not a warning."""
    for number in range(250):
        _model(plot, cost=None if number % 40 == 0 else 0.01)
