"""Sessions are built with the options that were meant for them, and say what runs where."""

from pathlib import Path

import pytest

from models.errors import BundleError
from service.engine import native, providers
from service.engine.config import Gpu, Options


@pytest.fixture
def file(repository: Path) -> Path:
    return repository / "toy-text" / "1" / "model.fp32.onnx"


def test_cuda_searches_convolutions_briefly_and_keeps_to_its_memory():
    told = native.cuda_options(Options(gpu=Gpu(memory_mb=2048, tf32=False)), graphs=True)
    assert told == {
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
        "enable_cuda_graph": "1",
        "gpu_mem_limit": str(2 * 1024**3),
    }
    assert "gpu_mem_limit" not in native.cuda_options(Options(), graphs=False)


def test_tensorrt_has_cuda_and_the_cpu_behind_it():
    listed = native.provider_list("tensorrt", Options(), {"trt_fp16_enable": "1"}, False)
    assert listed[0] == ("TensorrtExecutionProvider", {"trt_fp16_enable": "1"})
    assert [listed[1][0], listed[2]] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert native.provider_list("cpu", Options(), {}, False) == ["CPUExecutionProvider"]


@pytest.mark.parametrize("spinning", [False, True])
def test_threads_wait_busily_only_where_it_was_asked_for(spinning: bool):
    told = native.session_options(Options(threads=2, spinning=spinning))
    assert told.intra_op_num_threads == 2
    entry = told.get_session_config_entry("session.intra_op.allow_spinning")
    assert entry == str(int(spinning))


def test_a_file_that_is_no_model_says_so(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(
        BundleError, match=r"model\.onnx cannot be loaded: .*Protobuf parsing failed"
    ):
        native.build(tmp_path / "model.onnx", "cpu", Options())


@pytest.mark.skipif(providers.why_no_cuda() is None, reason="this machine has CUDA")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_the_silent_cpu_session_is_noticed(
    file: Path, provider: str, capfd: pytest.CaptureFixture[str]
):
    """What ONNX Runtime gives where CUDA cannot be loaded: a session, and no exception."""
    with pytest.raises(providers.Misplaced, match=r"model\.fp32\.onnx"):
        native.build(file, provider, Options())
    assert capfd.readouterr() == ("", "")


class Graph:
    """What a CUDA session would tell of itself."""

    def __init__(self, on_cuda: str, on_cpu: str = "", reads: str = "Cuda") -> None:
        self._nodes = {"CUDAExecutionProvider": on_cuda, "CPUExecutionProvider": on_cpu}
        self._reads = reads

    def get_provider_graph_assignment_info(self) -> list[object]:
        return [
            Record(ep_name=name, get_nodes=lambda kinds=kinds: [Record(op_type=k) for k in kinds])
            for name, kinds in ((name, text.split()) for name, text in self._nodes.items())
        ]

    def get_inputs(self) -> list[object]:
        return [Record(name="lengths")]

    def get_input_memory_infos(self) -> list[object]:
        return [Record(name=self._reads)]


class Record:
    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)


@pytest.mark.parametrize(
    ("graph", "gpu", "says"),
    [
        (Graph("Conv Relu Gemm"), Gpu(), None),
        (Graph("Conv", on_cpu="Shape Gather Concat"), Gpu(), None),
        (Graph("Conv"), Gpu(graphs=False), "switched off"),
        (Graph("Conv"), Gpu(instances=2), "another instance"),
        (Graph("Conv If Loop"), Gpu(), "the graph has If, Loop"),
        (Graph("Conv LSTM"), Gpu(), "the graph has LSTM"),
        (Graph("Conv", on_cpu="Shape Gelu"), Gpu(), "1 nodes that compute run on the CPU: 1 Gelu"),
        (Graph("Conv", reads="Cpu"), Gpu(), "the CPU reads lengths"),
        (Graph("Conv", reads="CudaPinned"), Gpu(), "the CPU reads lengths"),
    ],
)
def test_runs_are_captured_only_where_a_replay_does_the_same(
    graph: Graph, gpu: Gpu, says: str | None
):
    reason = native.why_no_graphs(graph, Options(gpu=gpu))  # type: ignore[arg-type]
    assert (reason is None) if says is None else says in str(reason)
