"""HTTP -> verified record batches, from whichever generators answer."""

from matstream.trainer.client.fetching import Client, Streamed, stream
from matstream.trainer.client.replicas import PATIENCE, StreamError
from matstream.trainer.client.waiting import LoggedWaiting, Waiting

__all__ = ["PATIENCE", "Client", "LoggedWaiting", "StreamError", "Streamed", "Waiting", "stream"]
