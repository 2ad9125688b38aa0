"""Graphs in ONNX Runtime: on its real CPU provider, and on a double of its providers for GPUs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.gpu_double import HANDLE, Runtime

import gfnet
from gfnet.runtimes.onnx import cuda_provider
from gfnet.runtimes.session import BoundSession, Port, Provider


def stateful_graph(weight: float = 2.0) -> bytes:
    """Two states of (batch, 2) and (batch,), a number for all; weight * a + c, b + 1."""
    value = helper.make_tensor_value_info
    inputs = [
        value("a", TensorProto.FLOAT, ["batch", 2]),
        value("b", TensorProto.INT64, ["batch"]),
        value("c", TensorProto.FLOAT, [1]),
    ]
    outputs = [
        value("next_a", TensorProto.FLOAT, ["batch", 2]),
        value("next_b", TensorProto.INT64, ["batch"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([weight], np.float32), "weight"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    nodes = [
        helper.make_node("Mul", ["a", "weight"], ["scaled"]),
        helper.make_node("Add", ["scaled", "c"], ["next_a"]),
        helper.make_node("Add", ["b", "one"], ["next_b"]),
    ]
    graph = helper.make_graph(nodes, "states", inputs, outputs, constants)
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def assert_states_follow(session: BoundSession) -> None:
    """By hand: one image and three, an input that stays bound, memory that is not contiguous."""
    shift = torch.tensor([0.5])
    session.bind(2, shift)
    a, b = session(torch.tensor([[1.0, 2.0]]), torch.tensor([7]))
    assert (a.tolist(), b.tolist()) == ([[2.5, 4.5]], [8])
    shift[0] = 100.0
    columns = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    a, b = session(columns.mT, torch.arange(3))
    assert a.tolist() == [[102, 108], [104, 110], [106, 112]]
    assert b.tolist() == [1, 2, 3]
    again, _ = session(columns.mT, torch.arange(3))
    assert again.data_ptr() == a.data_ptr(), "the next call writes there again"


def test_names_shapes_and_types_are_the_graphs() -> None:
    """No stage is asked; several inputs and outputs are bound by position."""
    session = BoundSession(stateful_graph(), Provider(threads=1))
    assert session.inputs == (
        Port("a", (None, 2), torch.float32),
        Port("b", (None,), torch.int64),
        Port("c", (1,), torch.float32),
    )
    assert [port.name for port in session.outputs] == ["next_a", "next_b"]
    assert_states_follow(session)
    with pytest.raises(ValueError, match=r"a is torch.float64 on cpu; this engine takes"):
        session(torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.int64))


def test_a_gpus_session_reads_and_writes_the_devices_memory(gpu: Runtime) -> None:
    """Addresses, shapes and types are checked by the double; torch's stream waits afterwards."""
    session = BoundSession(stateful_graph(), cuda_provider())
    assert_states_follow(session)
    assert gpu.waits == [(HANDLE, 0), (0, HANDLE)] * 3
    assert gpu.given == [
        {
            "device_id": "0",
            "user_compute_stream": str(HANDLE),
            "use_tf32": "0",
            "cudnn_conv_algo_search": "HEURISTIC",
        }
    ]
    names = [place[0] for place in gpu.sessions[0].bindings[0].places]
    assert names.count("c") == 1
    assert names.count("next_a") == 2, "once a number of images"


def test_memory_on_another_device_is_refused() -> None:
    """Its address would be read on this one."""
    session = BoundSession(stateful_graph(), Provider(threads=1))
    with pytest.raises(ValueError, match=r"c is torch.float32 on meta; this engine takes"):
        session.bind(2, torch.zeros(1, device="meta"))


def test_running_out_of_memory_is_recognised(gpu: Runtime) -> None:
    """Its errors are no RuntimeError, by which batches are halved."""
    session = BoundSession(stateful_graph(), cuda_provider())
    session.bind(2, torch.zeros(1))
    gpu.fault = "no memory"
    with pytest.raises(RuntimeError, match="CUDAExecutionProvider: Failed to allocate memory"):
        session(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("on the CPU", r"and onnxruntime 1\.31\.0 built CPUExecutionProvider"),
        ("a node on the CPU", r"runs parts of the graph elsewhere: Shape on CPUExecutionProvider"),
        ("refused", r"did not build it: libnvinfer\.so\.10: cannot open .*its log above names"),
    ],
)
def test_another_engine_than_asked_for_is_an_error(gpu: Runtime, fault: str, told: str) -> None:
    """A figure of it would stand under the wrong name."""
    gpu.fault = fault
    with pytest.raises(gfnet.WrongEngineError, match=f"^CUDAExecutionProvider was.*{told}"):
        BoundSession(stateful_graph(), cuda_provider())


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_the_real_wheel_for_processors_refuses_a_gpu() -> None:
    """It would build the graph on the CPU, with a warning."""
    asked = Provider("CUDAExecutionProvider", torch.device("cuda", 0), options={"device_id": "0"})
    with pytest.raises(gfnet.WrongEngineError, match=r"fallback to CPU EP has been .* disabled"):
        BoundSession(stateful_graph(), asked)
