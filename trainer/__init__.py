"""The trainer: HTTP -> arrays -> tokens -> model -> scores -> checkpoint, report."""

import os

# How long torch's threads spin while they wait for each other, before they sleep; read when torch is first
# imported. The default is so long that training slows many times over if another process keeps one of two
# cores busy (docs/LOG.md).
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
