"""Whether what a call is given to run changes something: a statement of SQL, or a command line. Pure functions.

A parser would have to know every dialect and every shell, at a hundred times the price; the first words of a statement or command
say what it is for. Words are told apart from prose by where they stand: where a statement or command may begin.
"""

import re
from functools import lru_cache
from typing import Final

from detectors.calls import Call
from detectors.text import reads_as_polling, reads_as_question, reads_as_write, snake

_READ_CHARS: Final = 240
"""Characters of the arguments that are read."""
_RECEIPT_WORDS: Final = 12
"""Words up to which a result does no more than acknowledge a step."""
_NAMES: Final = 4096
"""Names of tools whose reading is remembered, over all sessions."""
_TEXTS: Final = 4096
"""The same for what they are given: what is stuck repeats itself."""

_STATEMENT: Final = re.compile(
    r"""(?:^|[:;"'(`]|\\n|\*/|\bthen\b|\bbegin\b)\s*(?:
        (?:insert|merge|replace|upsert|copy|load\s+data\s+\w+)\s+into | insert\s+overwrite | update\s+\S+\s+set | delete\s+from
      | (?:create|alter|drop|truncate|comment\s+on|reindex|refresh|optimize|analyze|repair|rename|cluster|vacuum)\s+
        (?:(?:or\s+replace|or\s+alter|unique|temp|temporary|global|local|external|foreign|materialized|virtual|clustered|nonclustered
            |fulltext|spatial|recursive|transient|secure|public|if|not|exists|concurrently|verbose|full|analyze)\s+)*
        (?:table|index|view|schema|database|function|procedure|trigger|sequence|type|extension|role|user|login|group|policy|column
            |domain|publication|subscription|server|tablespace|constraint|statistics|collection|keyspace|stream|task|stage|warehouse
            |catalog|synonym|event|aggregate|operator|rule|cast)\b
      | (?:grant|revoke)\s+(?:select|insert|update|delete|all|usage|execute|connect|create|alter|references|[a-z]+_[a-z_]+)\b
      | copy\s+\S+\s+from\s+(?:'|\\"|stdin|@) | call\s+[\w.]+\s*\( | exec(?:ute)?\s+(?:sp|usp|dbo)[\w.]* | lock\s+tables?\s
      | set\s+(?:session\s+|local\s+|global\s+|@@?)?[\w.]+\s*=
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Of standard SQL (ISO/IEC 9075) and what PostgreSQL, MySQL, SQL Server and Snowflake add: rows, schema, rights, settings, upkeep."""
_LOOSE_STATEMENT: Final = re.compile(
    r"(?:^|[:;\"'])\s*(?:truncate|vacuum|reindex|cluster|analyze|begin|commit|rollback|refresh)\b", re.IGNORECASE
)
"""Statements that read like prose, except where a database is told them."""
_DATABASE: Final = re.compile(
    r"(?:^|[^a-z])(?:\w*sql|\w*database|db|\w*query|statement|warehouse|snowflake|redshift|\w*mongo\w*|postgres)(?:[^a-z]|$)"
)
_LOOKS_UP: Final = re.compile(r"(?:^|[^a-z])(?:search|find|lookup|browse|web|grep|ask|fetch|docs?|retrieve)(?:[^a-z]|$)")
"""In the name of a tool: what it is given are words to look for, unless it names a database, too."""

_COMMAND_LINE: Final = re.compile(
    r"(?:^|[^a-z])(?:bash|zsh|sh|shell|terminal|console|power_?shell|commands?|cmd|exec|execute|run)(?:[^a-z]|$)"
)
"""In the name of a tool: it runs command lines."""
_COMMAND: Final = re.compile(
    r"""(?:^|(?<!\\)"|:\s?'|-c\s'|\$\(|[;&|({]|\\n|\n|\b(?:then|do|sudo|env|time|nohup|xargs)\b)\s*(?:\w+=\S*\s+)*(?:
        (?:mv|cp|rm|rmdir|mkdir|touch|ln|chmod|chown|chgrp|truncate|tee|dd|install|patch|unzip|rsync|scp|kill|killall|pkill)\s
      | (?:sed|perl|ruff|black|prettier|eslint|gofmt)\s(?:[^;&|]*\s)?(?:-\w*i\b|-i\S*|-w|--write|--fix|--in-place)
      | tar\s+-?\w*[xc] | (?:black|isort|make\s+(?:install|build|clean|deploy)|crontab\s+-\w*[er]|user(?:add|mod|del)|passwd)\b
      | git\s(?:-\S+\s+\S+\s+)?(?:add|am|apply|bisect\s+(?:start|good|bad|skip|reset|new|old)|checkout|cherry-pick|clean|clone|commit|fetch
          |gc|init|merge|mv|pull|push|rebase|reset|restore|revert|rm|stash|submodule|switch|tag\s+\S|worktree\s+(?:add|remove))\b
      | (?:apt|apt-get|dnf|yum|apk|brew|snap|pip|pip3|pipx|uv|conda|mamba|npm|pnpm|yarn|bun|cargo|gem|go|poetry|bundle|composer
          |python3?\s+-m\s+pip|uv\s+pip)\s+(?:-\S+\s+)*(?:install|uninstall|remove|add|upgrade|update|sync|get|ci|i)\b
      | (?:kubectl|oc)\s(?:[^;&|]*?\s)?(?:apply|create|delete|edit|patch|replace|scale|autoscale|set|label|annotate|expose|run
          |drain|cordon|uncordon|taint|rollout\s+(?:restart|undo|pause|resume))\s
      | (?:docker|podman|nerdctl)(?:\s+|-)(?:compose\s+)?(?:[^;&|]*?\s)?
          (?:build|run|start|stop|restart|rm|rmi|pull|push|tag|kill|load|up|down|prune)\b
      | (?:systemctl|service|rc-service|launchctl|supervisorctl)\s[^;&|]*?
          \b(?:start|stop|restart|reload|enable|disable|mask|unmask|load|unload)\b
      | helm\s+(?:install|upgrade|uninstall|rollback)
      | (?:terraform|tofu|pulumi|cdk|ansible-playbook)\s+(?:[^;&|]*?\s)?(?:apply|destroy|import|up|deploy|\S+\.ya?ml)\b
    )""",
    re.VERBOSE,
)
"""POSIX utilities, git, package managers, containers and services: what a command that may begin here changes."""
_REDIRECTED: Final = re.compile(r"(?<![-=<>&0-9])>>?\s*(?!&|\s|/dev/)[\w./~$\"'\\{-]")

_STEPS_ON: Final = re.compile(
    r"(?:^|[^a-z])(?:scroll|swipe|(?:key_?)?press(?:_keys?)?$|send_keys?|hot_?key|next|prev(?:ious)?|page_?(?:down|up)|step|turn_(?:left|right)|rotate|pan|zoom|"
    r"advance|(?:move_|go_)?(?:forward|backward|up|down|left|right|north|south|east|west)|undo|redo|increment|decrement)(?:[^a-z]|$)"
)
_A_STEP: Final = re.compile(
    r"[\"':]\s*(?:page_?(?:down|up)|tab|(?:arrow_?)?(?:down|up|left|right)|forwards?|backwards?|north|south|east|west|next|prev(?:ious)?|"
    r"scroll(?:_?(?:down|up))?|enter|space|backspace)[\"']",
    re.IGNORECASE,
)


_PICTURE: Final = re.compile(r"(?:^|[^a-z])(?:screen_?shots?|snapshot|capture|photo|image|picture|camera)(?:[^a-z]|$)")


def shows_a_picture(tool: str, arguments: str) -> bool:
    """Whether the call is for a picture: where no text came back, it came back as something that is not captured.

    >>> shows_a_picture("computer", '{"action": "screenshot"}'), shows_a_picture("computer", '{"action": "key"}')
    (True, False)
    """
    return _PICTURE.search(snake(tool)) is not None or _PICTURE.search(arguments[:_READ_CHARS].lower()) is not None


_NO_FURTHER: Final = re.compile(
    r"\b(?:bottom|top|end|edge|last|first|limit|no (?:more|further|next|change)|nothing|already|unchanged|still|blocked)\b"
)
"""In what a step is answered with: it led nowhere."""


def steps_on(tool: str, arguments: str) -> bool:
    """Whether the call goes one step on from wherever things are, so that the same call does something else each time.

    One that names an address or a path is about that thing.

    >>> steps_on("scroll_down", "{}"), steps_on("computer", '{"action": "key", "text": "Tab"}'), steps_on("click", '{"id": 7}')
    (True, True, False)
    """
    return "/" not in arguments and (_steps_on(tool) or _a_step(arguments[:_READ_CHARS]))


@lru_cache(maxsize=_NAMES)
def _steps_on(tool: str) -> bool:
    return _STEPS_ON.search(snake(tool)) is not None


@lru_cache(maxsize=_TEXTS)
def _a_step(arguments: str) -> bool:
    return _A_STEP.search(arguments) is not None


def changes_something(tool: str, arguments: str) -> bool:
    """Whether what the call is given to run changes something.

    >>> changes_something("sql", '{"q": "CREATE INDEX a ON t (b)"}'), changes_something("sql", '{"q": "EXPLAIN SELECT 1"}')
    (True, False)
    >>> changes_something("bash", '{"command": "cd a && git commit -m x"}'), changes_something("bash", '{"command": "git log"}')
    (True, False)
    """
    return _changes(tool, arguments[:_READ_CHARS])


@lru_cache(maxsize=_TEXTS)
def _changes(tool: str, shown: str) -> bool:
    database, looks_up, command_lines = _reads(tool)
    if (database or not looks_up) and _STATEMENT.search(shown) is not None:
        return True
    if database and _LOOSE_STATEMENT.search(shown) is not None:
        return True
    return command_lines and (_COMMAND.search(shown) is not None or _REDIRECTED.search(shown) is not None)


@lru_cache(maxsize=_NAMES)
def _reads(tool: str) -> tuple[bool, bool, bool]:
    """Whether the tool's name names a database, looking for words, command lines."""
    name = snake(tool)
    return _DATABASE.search(name) is not None, _LOOKS_UP.search(name) is not None, _COMMAND_LINE.search(name) is not None


def reads_as(tool: str, arguments: str) -> tuple[bool, bool]:
    """Whether the call looks something up, and whether it changes something: by the tool's name, or by what it is given to run.

    >>> reads_as("execute_sql", '{"statement": "SELECT 1"}'), reads_as("execute_sql", '{"statement": "UPDATE t SET x = 1"}')
    ((True, False), (False, True))
    """
    changes = changes_something(tool, arguments)
    return reads_as_question(tool) and not changes, reads_as_write(tool) or changes


def polling(tool: str, call: Call, result_words: int) -> bool:
    """Whether a call made again reads as waiting for something, or as going on by a step that is only acknowledged."""
    if reads_as_polling(tool, call.result, result_words):
        return True
    if call.failed or result_words > _RECEIPT_WORDS or not steps_on(tool, call.arguments):
        return False
    return _NO_FURTHER.search(call.result.lower()) is None
