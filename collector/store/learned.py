"""What was learned of agent types, in the control store."""

from collections.abc import Mapping

import msgspec

from collector.baselines import Learned
from collector.enforcement.database import Database

_decode = msgspec.json.Decoder(Learned).decode


class LearnedStore:
    """Reads and writes what baselines rest on. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> dict[str, Learned]:
        """Everything that was stored. Raises StoreUnavailable."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT agent_type, body FROM baselines").fetchall()
        return {str(name): _decode(body) for name, body in rows}

    def write(self, learned: Mapping[str, Learned]) -> None:
        """Writes these agent types in one durable transaction. Raises StoreUnavailable."""
        rows = [(name, msgspec.json.encode(each).decode()) for name, each in learned.items()]
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO baselines VALUES (?, ?)", rows)
