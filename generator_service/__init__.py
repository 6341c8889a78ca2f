"""The generator: spec -> variates -> matrices -> LAPACK targets -> Arrow batches -> HTTP."""
