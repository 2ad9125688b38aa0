"""ONNX Runtime on CUDA and TensorRT, on a double of both: a GPU shows only their speed."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support import bundles, engines
from support.gpu_double import HANDLE, Runtime

import gfnet
from gfnet.runtimes import engine_cache, tensorrt
from gfnet.runtimes.engine_cache import EngineKey, cached_engine
from gfnet.runtimes.onnx import onnx_on_cuda


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """Two exits: two stages."""
    return engines.with_exits(2)


@pytest.fixture
def engine_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpu: Runtime,  # noqa: ARG001 - the machine
) -> Path:
    """A cache of this test's own, not there yet, on a machine with TensorRT; graphs are shared."""
    graphs = engine_cache.graph_folder()
    assert graphs is not None
    folder = tmp_path / "cache" / "graphs"
    folder.parent.mkdir()
    folder.symlink_to(graphs)
    monkeypatch.setattr(engine_cache, "graph_folder", lambda: folder)
    monkeypatch.setattr(tensorrt, "_from_wheel", lambda: "10.9.0")
    return folder.with_name("engines")


def assert_answers_are_the_models(model: gfnet.GFNet, runtime: gfnet.Runtime) -> None:
    """At every exit, routed in any mixture, and at full depth."""
    for batch in (1, 5):
        engines.assert_exits_are_the_models(model, runtime, "float32", batch)
    engines.assert_images_leave_in_any_mixture(model, runtime)
    engines.assert_one_image_leaves_where_its_scores_say(model, runtime)
    engines.assert_a_score_of_nan_lets_nobody_go(model, runtime)
    images = engines.images_of(3, seed=8)
    torch.testing.assert_close(runtime(images), model(images), atol=1e-5, rtol=0)


def test_onnx_on_cuda_answers_as_the_model(model: gfnet.GFNet, gpu: Runtime) -> None:
    """One session a stage, for one image too; stage by stage, without an If."""
    assert_answers_are_the_models(model, onnx_on_cuda(model, "float32"))
    assert len(gpu.sessions) == 3, "two stages, and all blocks as one"


@pytest.mark.parametrize(("name", "module"), [("onnx", "onnx_on_cuda"), ("tensorrt", "tensorrt")])
def test_the_models_device_decides_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    """Not what is installed: a model that is not on the CPU gets no engine there."""
    built = object()
    monkeypatch.setattr(f"gfnet.runtimes.{name}.{module}", lambda *_: built)
    monkeypatch.setattr(gfnet.runtimes, "unavailable", lambda *_: None)
    elsewhere = engines.static().to("meta")
    assert gfnet.runtime(name, elsewhere, threads=1, precision="float16") is built


def test_half_precision_is_in_the_graph_that_cuda_gets(model: gfnet.GFNet, gpu: Runtime) -> None:
    """Nothing in the options says it."""
    halved = onnx_on_cuda(model, "float16")
    assert {"fp16", "half"}.isdisjoint(str(gpu.given))
    images = engines.images_of(4, seed=2)
    with torch.inference_mode():
        found, expected = halved.forward_exits(images), model.forward_exits(images)
    furthest = float((found.logits - expected.logits).abs().max())
    assert 1e-6 < furthest < 5e-3


def test_tensorrt_answers_as_the_model(
    model: gfnet.GFNet, gpu: Runtime, engine_folder: Path
) -> None:
    """An engine for one image and one for several of each stage; the next process builds none."""
    assert_answers_are_the_models(model, tensorrt.tensorrt(model, "float32"))
    # The model at full depth was asked for several images only.
    assert gpu.built == len(list(engine_folder.iterdir())) == 5
    again = tensorrt.tensorrt(engines.with_exits(2), "float32")
    engines.assert_exits_are_the_models(model, again, "float32", 5)
    assert gpu.built == 5
    assert len(gpu.given) == 7, "two stages more, loaded"


@pytest.mark.usefixtures("engine_folder")
def test_an_engine_serves_a_stated_number_of_images(
    model: gfnet.GFNet, gpu: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else TensorRT builds under the clock; more run in parts, one has an engine of its own."""
    monkeypatch.setattr(tensorrt, "MOST_IMAGES", 4)
    monkeypatch.setattr(tensorrt, "USUAL_IMAGES", 2)
    runtime = tensorrt.tensorrt(model, "float32")
    several = gpu.given[0]
    shapes = {key: value for key, value in several.items() if "shapes" in key}
    assert shapes == {
        "trt_profile_min_shapes": "entering:1x3x8x8",
        "trt_profile_opt_shapes": "entering:2x3x8x8",
        "trt_profile_max_shapes": "entering:4x3x8x8",
    }
    assert gpu.given[1]["trt_profile_max_shapes"] == "entering:4x18x8", "the second takes tokens"
    assert not {"trt_fp16_enable", "trt_bf16_enable"} & set(several)
    assert several["user_compute_stream"] == str(HANDLE)
    engines.assert_exits_are_the_models(model, runtime, "float32", 9)
    assert gpu.sessions[0].batches[:3] == [4, 4, 1]
    runtime.forward_exits(engines.images_of(1, seed=1))
    assert "trt_profile_max_shapes" not in gpu.given[-1]
    assert [size.shape[0] for size in gpu.sessions[-1].get_inputs()] == [1]


@pytest.mark.usefixtures("engine_folder")
@pytest.mark.parametrize("name", ["onnx", "tensorrt"])
def test_a_bundles_graphs_run_on_a_gpu(
    name: str, gpu: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are; TensorRT is told the numbers of images of both tensors between the stages."""
    monkeypatch.setattr("gfnet.bundle.model.unavailable", lambda *_: None)
    bundle = gfnet.load_bundle(bundles.zipped(bundles.files()))
    runtime = gfnet.BundleModel(bundle, device="cuda").runtime(name, threads=1)
    images = engines.images_of(5, seed=3, side=2)
    first, last, scores = bundles.expected(images.numpy())
    found = runtime.forward_exits(images)
    np.testing.assert_allclose(found.logits, np.stack([first, last]), atol=1e-5)
    routed = runtime.route(images, float(np.median(scores)))
    assert routed.exit_block.tolist() == np.where(scores >= np.median(scores), 2, 5).tolist()
    assert len(gpu.sessions) == 2
    if name == "tensorrt":
        assert gpu.given[1]["trt_profile_max_shapes"] == "taken:256x4,number:256x1"


def test_engines_are_told_apart_by_all_that_determines_them() -> None:
    """ONNX Runtime's own names tell neither weights nor sizes apart."""
    key = EngineKey("NVIDIA Test", (8, 7), "onnxruntime-gpu 1.31.0", "10.9.0")
    others = [
        EngineKey("NVIDIA Other", (8, 7), "onnxruntime-gpu 1.31.0", "10.9.0"),
        EngineKey("NVIDIA Test", (8, 6), "onnxruntime-gpu 1.31.0", "10.9.0"),
        EngineKey("NVIDIA Test", (8, 7), "onnxruntime-gpu 1.31.1", "10.9.0"),
        EngineKey("NVIDIA Test", (8, 7), "onnxruntime-gpu 1.31.0", "10.9.1"),
    ]
    names = {each.digest(b"graph", {"max": "4"}) for each in [key, *others]}
    names |= {key.digest(b"weights", {"max": "4"}), key.digest(b"graph", {"max": "8"})}
    assert len(names) == 7
    assert key.digest(b"graph", {"max": "4"}) in names


class Builder:
    """Builds an engine of some content, or loads what is there, and counts both."""

    def __init__(self, content: str = "engine") -> None:
        self.content = content
        self.built = self.loaded = 0

    def __call__(self, folder: Path | None) -> str:
        """As TensorRT's provider with a cache."""
        if folder is None:
            return self.content
        file = folder / "a.engine"
        if not file.exists():
            self.built += 1
            file.write_text(self.content)
            return self.content
        self.loaded += 1
        if file.read_text() != self.content:
            raise gfnet.WrongEngineError
        return self.content


def test_a_damaged_engine_is_built_again(engine_folder: Path) -> None:
    """Once; what fails then is an error, and nothing half-built is left."""
    build = Builder()
    for _ in range(2):
        assert cached_engine("a", build) == "engine"
    (engine_folder / "a" / "a.engine").write_text("torn")
    assert cached_engine("a", build) == "engine"
    assert (build.built, build.loaded) == (2, 2)

    def fail(_: Path | None) -> str:
        raise gfnet.WrongEngineError

    with pytest.raises(gfnet.WrongEngineError):
        cached_engine("b", fail)
    assert [folder.name for folder in engine_folder.iterdir()] == ["a"]


def test_without_a_folder_engines_are_built_each_time(
    engine_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its way, or no home: only time is lost."""
    build = Builder()
    engine_folder.write_text("in the way")
    assert cached_engine("a", build) == "engine"
    monkeypatch.setattr(engine_cache, "graph_folder", lambda: None)
    assert cached_engine("a", build) == "engine"
    assert build.built == 0


def test_the_least_recently_used_engine_goes_first(
    engine_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to the limit, once another is kept."""
    monkeypatch.setattr(engine_cache, "MOST_ENGINE_BYTES", 13)
    for name in ("a", "b"):
        cached_engine(name, Builder())
        engine_cache.os.utime(engine_folder / name, (ord(name), ord(name)))
    cached_engine("a", Builder())
    cached_engine("c", Builder())
    assert {folder.name for folder in engine_folder.iterdir()} == {"a", "c"}


def test_a_gpu_without_bfloat16_is_told(
    model: gfnet.GFNet, gpu: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is built."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 2))
    with pytest.raises(gfnet.UnavailableError, match=r"7\.2; for bfloat16 TensorRT needs 8\.0"):
        tensorrt.tensorrt(model, "bfloat16")
    assert not gpu.given


def not_found(*_: object) -> None:
    """As the loader of libraries."""
    raise OSError


@pytest.mark.parametrize(
    ("linked", "wheel", "told"),
    [
        (b"", None, r"needs TensorRT 11 or 10, .*found: none.* pip install 'tensorrt'"),
        (b"libnvinfer.so.10", None, r"TensorRT 10, .*found: none.*'tensorrt>=10,<11'"),
        (b"libnvinfer.so.10", "11.3.0", r"TensorRT 10, .*onnxruntime 1\.31\.0 .*found: 11\.3\.0"),
    ],
)
def test_a_missing_tensorrt_is_named_with_its_version(
    gpu: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    linked: bytes,
    wheel: str | None,
    told: str,
) -> None:
    """That which ONNX Runtime's provider links; a Jetson has JetPack's."""
    library = Path(gpu.__file__).with_name("capi") / "libonnxruntime_providers_tensorrt.so"
    library.parent.mkdir()
    library.write_bytes(b"\0" + linked + b"\0")
    monkeypatch.setattr(tensorrt, "_from_wheel", lambda: wheel)
    monkeypatch.setattr(ctypes, "CDLL", not_found)
    with pytest.raises(gfnet.UnavailableError, match=f"{told}.*apt-get install tensorrt"):
        tensorrt.tensorrt_version()


def test_tensorrts_version_is_the_librarys(gpu: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of JetPack's, which no wheel brought, or of the wheel."""
    loaded: list[str] = []

    def load(name: str, _: int) -> SimpleNamespace:
        loaded.append(name)
        if name != "libnvinfer.so.10":
            raise OSError
        return SimpleNamespace(getInferLibVersion=lambda: 100304)

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert gpu.__version__
    assert tensorrt.tensorrt_version() == "10.3.4"
    assert loaded == ["libnvinfer.so.11", "libnvinfer.so.10"]
    monkeypatch.setattr(tensorrt, "find_spec", lambda _: 1)
    wheel = SimpleNamespace(__version__="11.3.0.9")
    monkeypatch.setattr(tensorrt, "import_module", lambda _: wheel)
    assert tensorrt.tensorrt_version() == "11.3.0.9"
