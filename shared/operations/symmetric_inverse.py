"""A⁻¹, the inverse of a symmetric matrix: the operation `inverse` on symmetric inputs.

*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.6.
"""

from dataclasses import replace

from matstream.shared.operation import cubic
from matstream.shared.operations import inverse

OPERATION = replace(inverse.OPERATION, input_form="symmetric A (n×n)", needs="symmetric", cost=cubic(36))
