"""What stands in a run's folder: recipe, checkpoints, metrics, results, the exported model."""
