"""What the command line promises scripts: exit statuses, one line for an error, JSON of the contract."""

import sys
from pathlib import Path

import pytest

from collector.cli import main as entry
from collector.web.schemas import FindingPage, Halt, SessionDetail, SessionPage
from tests.core.agents import llm, request
from tests.core.services import armed, core, drop
from tests.e2e.programs import Service

from .conftest import Command

NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["sessions", "--help"], ["--version"]], ids=str)
def test_asking_for_help_is_a_success(overcurrent: Command, arguments: list[str]) -> None:
    ran = overcurrent(*arguments)
    assert ran.status == (0 if arguments else 2)
    assert "overcurrent" in (ran.out + ran.err).lower()


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["sessions", "--limit", "0"], ["show"], ["halt", "a", "b"], ["replay"], ["sessions", "--state", "x"]],
    ids=str,
)
def test_wrong_usage_is_2(overcurrent: Command, arguments: list[str]) -> None:
    ran = overcurrent(*arguments)
    assert ran.status == 2
    assert "Traceback" not in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("arguments", [["sessions"], ["show", "s"], ["findings"], ["halt", "s"], ["release", "s"]], ids=str)
def test_no_service_is_one_line_that_says_what_to_do(overcurrent: Command, tmp_path: Path, arguments: list[str]) -> None:
    ran = overcurrent(*arguments, "--url", NOWHERE, "--data-dir", tmp_path)
    assert ran.status == 1
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert "overcurrent serve" in ran.err


def test_an_error_of_our_own_is_70(overcurrent: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("never seen before")

    monkeypatch.setattr("collector.cli.sessions.connect", broken)
    ran = overcurrent("sessions")
    assert ran.status == 70
    assert ran.err.splitlines() == [
        "overcurrent: internal error: RuntimeError: never seen before; please report it with the command you ran"
    ]


def test_a_reader_that_goes_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("collector.cli.sessions.connect", gone)
    monkeypatch.setattr(sys, "stderr", open("/dev/null", "w"))  # noqa: PTH123, SIM115 — `main` closes it
    with pytest.raises(SystemExit) as stopped:
        entry(["sessions"])
    assert stopped.value.code == 0


# check-config


def test_a_good_configuration_says_what_it_arms(overcurrent: Command, tmp_path: Path) -> None:
    file = tmp_path / "overcurrent.yaml"
    file.write_text("detectors: {exact_loop: {mode: halt}}\n")
    ran = overcurrent("check-config", file)
    assert (ran.status, ran.err) == (0, "")
    assert "armed: exact_loop" in ran.out
    assert "delivered to nobody" in ran.out
    shown = overcurrent("check-config", "--format", "json", file).json
    assert set(shown) == {"file", "valid", "policy", "modes", "without_effect"}
    assert shown["without_effect"] == []
    assert "no effect" not in ran.out
    assert (shown["valid"], shown["modes"]["exact_loop"], shown["modes"]["soft_loop"]) == (True, "halt", "shadow")


def test_keys_that_nothing_reads_yet_are_named(overcurrent: Command, tmp_path: Path) -> None:
    file = tmp_path / "overcurrent.yaml"
    file.write_text("security: {redact: [sk-.*]}\nagent_types: {research: {budgets: {session_usd: 3, task_usd: 1}}}\n")
    ran = overcurrent("check-config", file)
    assert ran.status == 0
    assert "note: no effect yet: agent_types.research.budgets.task_usd, security.redact\n" in ran.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("detectors: {exact_lop: {mode: halt}}", "exact_loop"),
        ("web: {listn: 1}", "listen"),
        ("web: [", "overcurrent.yaml"),
        ("sessions: {idle_timeout: soon}", "idle_timeout"),
        ("- 1", "overcurrent.yaml"),
    ],
)
def test_a_bad_configuration_is_2_and_says_the_fix(overcurrent: Command, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "overcurrent.yaml"
    file.write_text(text)
    ran = overcurrent("check-config", file)
    assert ran.status == 2
    assert says in ran.err
    assert all(line.startswith("overcurrent: ") for line in ran.err.splitlines())
    assert overcurrent("serve", "--config", file).status == 2


def test_two_mistakes_are_two_lines(overcurrent: Command, tmp_path: Path) -> None:
    file = tmp_path / "overcurrent.yaml"
    file.write_text("web: {listn: 1}\nstorage: {retention_days: -1}\n")
    assert len(overcurrent("check-config", file).err.splitlines()) == 2


def test_a_configuration_that_is_not_there(overcurrent: Command, tmp_path: Path) -> None:
    ran = overcurrent("check-config", tmp_path / "missing.yaml")
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)


# A running service


@pytest.mark.slow
def test_sessions_lists_what_agents_do(overcurrent: Command, service: Service) -> None:
    page = SessionPage.model_validate(overcurrent("sessions", "--url", service.url, "--format", "json").json)
    assert {one.session_id for one in page.sessions} >= {"healthy", "looping", "twin"}
    text = overcurrent("sessions", "--url", service.url, "--limit", "50")
    assert text.status == 0
    assert "looping" in text.out
    assert "\x1b[31m" not in text.out
    one = overcurrent("sessions", "--url", service.url, "--agent-type", "planner", "--format", "json").json
    assert [session["session_id"] for session in one["sessions"]] == ["healthy"]


@pytest.mark.slow
def test_findings_answers_no_where_one_is_critical(overcurrent: Command, service: Service) -> None:
    ran = overcurrent("findings", "--url", service.url, "--format", "json")
    page = FindingPage.model_validate(ran.json)
    assert ran.status == 1
    assert {one.session_id for one in page.findings} == {"looping"}
    assert overcurrent("findings", "--url", service.url).status == 1
    assert overcurrent("findings", "--url", service.url, "--session", "healthy").status == 0
    mild = overcurrent("findings", "--url", service.url, "--session", "looping", "--severity", "info", "--format", "json")
    assert (mild.status, mild.json["findings"]) == (0, [])
    assert overcurrent("findings", "--url", service.url, "--session", "nobody").status == 1


@pytest.mark.slow
def test_show_tells_one_session_from_others(overcurrent: Command, service: Service) -> None:
    shown = overcurrent("show", "looping", "--url", service.url, "--format", "json").json
    steps = shown.pop("steps") if isinstance(shown["steps"], list) else None
    assert steps is not None
    assert [step["step"] for step in steps] == list(range(1, 25))
    assert shown["findings"]
    text = overcurrent("show", "looping", "--steps", "3", "--url", service.url)
    assert text.status == 0
    assert "session looping" in text.out
    ambiguous = overcurrent("show", "twin", "--url", service.url)
    assert ambiguous.status == 1
    assert "default/dev/twin" in ambiguous.err
    assert len(ambiguous.err.splitlines()) == 1
    assert overcurrent("show", "default/dev/twin", "--url", service.url).status == 0
    odd = overcurrent("show", "odd \x1b[31m/id", "--url", service.url)
    assert odd.status == 0
    assert "\x1b[31m/" not in odd.out
    assert overcurrent("show", "nobody", "--url", service.url).status == 1


@pytest.mark.slow
def test_a_session_is_halted_and_released(overcurrent: Command, service: Service) -> None:
    service.send(request(llm("h", trace="h", session="to halt")))
    halt = Halt.model_validate(overcurrent("halt", "to halt", "--note", "enough", "--url", service.url, "--format", "json").json)
    assert (halt.verb, halt.note, halt.halt_reason) == ("halt", "enough", "operator")
    again = overcurrent("halt", "to halt", "--url", service.url, "--format", "json").json
    assert again["halt_id"] == halt.halt_id
    detail = overcurrent("show", "to halt", "--url", service.url, "--format", "json").json
    assert (detail["state"], detail["halt_reason"]) == ("halting", "operator")
    detail["steps"] = len(detail["steps"])
    assert SessionDetail.model_validate(detail).halts
    assert overcurrent("release", "to halt", "--url", service.url).status == 0
    refused = overcurrent("release", "healthy", "--url", service.url)
    assert refused.status == 1
    assert len(refused.err.splitlines()) == 1


@pytest.mark.slow
def test_a_session_not_seen_yet_is_halted_when_it_comes(overcurrent: Command, service: Service) -> None:
    assert overcurrent("halt", "later", "--url", service.url).status == 0
    service.send(request(llm("l", trace="l", session="later")))
    assert overcurrent("show", "later", "--url", service.url, "--format", "json").json["state"] == "halting"


# Files, where no service runs


def test_files_are_read_where_no_service_runs(overcurrent: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.cli.client.DEFAULT_URL", NOWHERE)
    running = core(tmp_path / "data", armed(detectors={}))
    running.process([request(llm("a", session="s"))])
    running.flush()
    drop(running)
    page = overcurrent("sessions", "--data-dir", tmp_path / "data", "--format", "json")
    assert (page.status, page.err) == (0, "")
    assert [one["session_id"] for one in page.json["sessions"]] == ["s"]
    assert overcurrent("show", "s", "--data-dir", tmp_path / "data").status == 0
    refused = overcurrent("halt", "s", "--data-dir", tmp_path / "data")
    assert refused.status == 1
    assert "no service is running, so nothing can be changed" in refused.err
    again = core(tmp_path / "data", armed(detectors={}))
    again.close()
