"""LAPACK over batches, norms, and what rounding cannot tell from 0."""
