"""How an endpoint answers: JSON of what `render` made, without a second pass through the models that document it."""

from typing import Any

import orjson
from starlette.responses import Response


class Json(Response):
    """A JSON answer. Numbers that JSON has no word for (NaN) become null; a Decimal becomes its text."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encodes `content`."""
        return orjson.dumps(content, default=str, option=orjson.OPT_NON_STR_KEYS)
