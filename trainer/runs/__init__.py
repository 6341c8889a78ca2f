"""What a run's folder holds: recipe, checkpoints, metrics, results, the exported model."""
