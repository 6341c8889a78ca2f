"""The trainer: HTTP -> arrays -> tokens -> model -> scores -> checkpoint, report."""

import os

# Read when torch is first imported. Threads that wait for each other would else spin: with the generator, or
# anything, on one of two cores, training was ten times slower for it (docs/LOG.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
