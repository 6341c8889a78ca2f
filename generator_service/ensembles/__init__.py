"""Uniforms -> random matrices: coefficients, spectra, structures."""
