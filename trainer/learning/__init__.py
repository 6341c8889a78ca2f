"""Batches -> steps of learning: loading, the optimiser, the training loop."""
