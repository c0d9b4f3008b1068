"""Operators of Fisher approximations: one folder per operator, its plain reference beside its fast implementations."""

from kfc_kernels.block_fisher import block_fisher, mini_block_fisher
from kfc_kernels.damped_inverse import damped_inverse
from kfc_kernels.diagonal_fisher import diagonal_fisher
from kfc_kernels.dispatch import UnsupportedError
from kfc_kernels.eigenvalue_correction import eigenvalue_correction
from kfc_kernels.exact_fisher import exact_fisher
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor import input_factor
from kfc_kernels.output_factor import output_factor
from kfc_kernels.precondition import precondition, precondition_dense, precondition_diagonal
from kfc_kernels.reduced_input_factor import reduced_input_factor
from kfc_kernels.reduced_output_factor import reduced_output_factor

__all__ = [
    "ConvGeometry",
    "UnsupportedError",
    "block_fisher",
    "damped_inverse",
    "diagonal_fisher",
    "eigenvalue_correction",
    "exact_fisher",
    "input_factor",
    "mini_block_fisher",
    "output_factor",
    "precondition",
    "precondition_dense",
    "precondition_diagonal",
    "reduced_input_factor",
    "reduced_output_factor",
]
