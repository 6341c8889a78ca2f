"""Streams over HTTP: routes, who is let in, limits, sending, logs, metrics."""
