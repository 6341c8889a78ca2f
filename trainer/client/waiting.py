"""What the client reports while no generator answers."""

import logging
from typing import NamedTuple

LONG_WAIT = 2.0  # seconds that are worth a line

logger = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """What the client waits for: the trouble with the generators, how long it has lasted, and how many more
    seconds it may."""

    reason: str
    waited: float
    left: float


class LoggedWaiting:
    """Logs a wait: a line after LONG_WAIT seconds, one each time it has doubled, and one at its end."""

    def __init__(self) -> None:
        self._next = LONG_WAIT

    def __call__(self, waiting: Waiting | None) -> None:
        if waiting is None:
            if self._next > LONG_WAIT:
                logger.warning("samples arrive again")
            self._next = LONG_WAIT
        elif waiting.waited >= self._next:
            self._next = 2 * waiting.waited
            logger.warning("%s; waiting up to %.0f s more", waiting.reason, waiting.left)
