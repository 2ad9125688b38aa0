"""ONNX Runtime on CUDA and TensorRT, on a double of both; only a GPU shows their speed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import engines
from support.gpu_double import HANDLE, Runtime

import gfnet
from gfnet.runtimes import engine_cache, tensorrt
from gfnet.runtimes.engine_cache import EngineKey, cached_engine
from gfnet.runtimes.exported import graph_folder
from gfnet.runtimes.onnx import onnx_on_cuda
