"""The trainer: HTTP -> arrays -> tokens -> model -> scores -> checkpoint, report."""

import os

# Read when torch is first imported: how long its threads spin for each other before they sleep. By default so
# long that, where another process keeps one of two cores busy, training slows many times over (docs/LOG.md).
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
