"""The double of a GPU, for the tests of the engines on one."""

from support.gpu_double import gpu

__all__ = ["gpu"]
