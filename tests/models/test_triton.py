"""Triton's configurations as they lie in real repositories: what they ask, what is not kept and said so, and what is refused."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import triton
from models.errors import BundleError
from models.modelconfig import Specific, VersionPolicy
from models.triton import TritonConfig

DENSENET = """
name: "densenet_onnx"
platform: "onnxruntime_onnx"
max_batch_size : 0
input [
  {
    name: "data_0"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
    reshape { shape: [ 1, 3, 224, 224 ] }
  }
]
output [
  {
    name: "fc6_1"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    reshape { shape: [ 1, 1000, 1, 1 ] }
    label_filename: "densenet_labels.txt"
  }
]
"""

BERT = """
# A text model behind a tokenizer.
name: "bert"
backend: "onnxruntime"
max_batch_size: 16
input: [
  { name: "input_ids"      data_type: TYPE_INT64 dims: [ -1 ] },
  { name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] optional: true }
]
output { name: "logits" data_type: TYPE_FP16 dims: 2 }
instance_group [
  { count: 2 kind: KIND_GPU gpus: [ 0 ] },
  { count: 1 kind: KIND_GPU }
]
dynamic_batching {
  preferred_batch_size: [ 4, 8, 16 ]
  max_queue_delay_microseconds: 1500
  preserve_ordering: true
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 500000 max_queue_size: 64 }
}
version_policy: { latest { num_versions: 2 } }
optimization {
  graph { level: 1 }
  execution_accelerators {
    gpu_execution_accelerator : [ {
      name : "tensorrt"
      parameters { key: "precision_mode" value: "FP16" }
      parameters { key: "max_workspace_size_bytes" value: "1073741824" }
    } ]
  }
}
model_warmup [
  {
    name: "short"
    batch_size: 4
    count: 2
    inputs { key: "input_ids" value: { data_type: TYPE_INT64 dims: [ 8 ] random_data: true } }
    inputs { key: "attention_mask" value: { data_type: TYPE_INT64 dims: [ 8 ] zero_data: true } }
  }
]
"""

TABULAR = """
backend: "onnxruntime"
max_batch_size: 8192
input [ { name: "float_input" data_type: TYPE_FP32 dims: [ 29 ] } ]
output [ { name: "label" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } } ]
instance_group [ { kind: KIND_CPU count: 4 } ]
dynamic_batching { }
default_model_filename: "trees.onnx"
version_policy { specific { versions: [1, 3] } }
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
parameters { key: "execution_mode" value: { string_value: "1" } }
"""


LABELLED = 'output { name: "y" data_type: TYPE_FP32 dims: 4 label_filename: "labels.txt" }'


def read(text: str, directory: Path, name: str = "m") -> TritonConfig:
    path = directory / name / triton.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return triton.read(path)


def said(config: TritonConfig) -> list[str]:
    """Its warnings from the file's name on."""
    return [warning.partition(triton.FILE)[2] for warning in config.warnings]


def test_an_unbatched_model_keeps_the_shapes_of_its_graph(tmp_path: Path):
    config = read(DENSENET, tmp_path, "densenet_onnx")
    assert (config.max_batch_rows, config.file) == (0, "model.onnx")
    (given,), (output,) = config.inputs, config.outputs
    assert (given.dims, given.inner) == ((3, 224, 224), (1, 3, 224, 224))
    assert (output.dims, output.inner) == ((1000,), (1, 1000, 1, 1))
    assert output.label_filename == "densenet_labels.txt"
    assert (config.instances, config.provider, config.threads) == (None, None, None)
    assert said(config) == [", line 9: 'input[0].format' is not used here"]


def test_a_batched_model_gets_its_first_axis_from_the_server(tmp_path: Path):
    config = read(BERT, tmp_path, "bert")
    assert config.max_batch_rows == 16
    assert [one.inner for one in config.inputs] == [(-1,), (-1,)]
    assert config.priorities == (2, 1)
    assert [one.optional for one in config.inputs] == [False, True]
    assert (config.max_delay_ms, config.max_queue_rows) == (1.5, 64)
    assert (config.instances, config.provider) == (3, "tensorrt")
    assert config.versions is not None
    assert config.versions.chosen([1, 2, 3]) == [2, 3]
    policy = "timeout_action default_timeout_microseconds"
    assert said(config) == [
        *(
            f", line {16 + index}: 'dynamic_batching.{name}' is not used here"
            for index, name in ((0, "preferred_batch_size"), (2, "preserve_ordering"))
        ),
        *(
            f", line 21: 'dynamic_batching.default_queue_policy.{name}' is not used here"
            for name in policy.split()
        ),
        ", line 25: 'optimization.graph' is not used here",
        ", line 29: 'optimization.execution_accelerators.gpu_execution_accelerator[0].parameters' is not used here",
    ]


def test_a_model_for_the_cpu_names_its_file_threads_and_versions(tmp_path: Path):
    config = read(TABULAR, tmp_path)
    assert (config.max_batch_rows, config.file) == (8192, "trees.onnx")
    assert (config.instances, config.threads, config.provider) == (4, 2, "cpu")
    assert (config.max_delay_ms, config.max_queue_rows) == (None, None)
    assert config.versions == VersionPolicy(specific=Specific((1, 3)))
    assert config.outputs[0].inner == ()
    assert said(config) == [", line 11: parameter 'execution_mode' = '1' is not used here"]


def test_an_empty_file_asks_for_nothing(tmp_path: Path):
    config = read("", tmp_path)
    assert config == TritonConfig()
    assert (config.max_batch_rows, config.file, config.versions) == (None, "model.onnx", None)


def test_shapes_that_are_told_without_a_batch_size_are_whole(tmp_path: Path):
    told = 'input { name: "x" data_type: TYPE_FP32 dims: 3 }'
    assert read(told, tmp_path).max_batch_rows == 0
    assert read(f"{told} max_batch_size: 8", tmp_path).max_batch_rows == 8
    assert read("max_batch_size: 8", tmp_path).max_batch_rows == 8
    assert read("max_batch_size: 0", tmp_path).max_batch_rows == 0
    assert read('name: "m"', tmp_path).max_batch_rows is None


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("version_policy { }", [7]),
        ("version_policy { latest { } }", [7]),
        ("version_policy { latest { num_versions: 2 } }", [3, 7]),
        ("version_policy { latest { num_versions: 9 } }", [1, 3, 7]),
        ("version_policy { all { } }", [1, 3, 7]),
        ("version_policy { specific { versions: [3, 1, 5] } }", [1, 3]),
        ("version_policy { specific { versions: 2 } }", []),
    ],
)
def test_a_version_policy_chooses(policy: str, chosen: list[int], tmp_path: Path):
    versions = read(policy, tmp_path).versions
    assert versions is not None
    assert versions.chosen([7, 1, 3]) == chosen
    assert triton.placement(tmp_path / "m" / triton.FILE) == triton.Placement(versions=versions)


def test_a_listing_reads_of_a_damaged_file_what_it_can_and_leaves_the_rest_to_who_loads(
    tmp_path: Path,
):
    path = tmp_path / triton.FILE
    assert triton.placement(path) == triton.Placement()
    path.write_text("input {")
    assert triton.placement(path) == triton.Placement()
    path.write_text('platform: "ensemble" default_model_filename: "a.onnx"')
    assert triton.placement(path) == triton.Placement("a.onnx")


def test_labels_are_the_lines_of_their_file(tmp_path: Path):
    (tmp_path / "labels.txt").write_text("cat\r\nGreat Dane \n\nlast")
    (tensor,) = read(LABELLED, tmp_path).outputs
    assert triton.labels(tensor, tmp_path) == ("cat", "Great Dane", "", "last")
    (tmp_path / "labels.txt").write_bytes(b"\xff")
    with pytest.raises(BundleError, match=r"labels\.txt: .*can't decode"):
        triton.labels(tensor, tmp_path)
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(BundleError, match=r"labels\.txt: No such file"):
        triton.labels(tensor, tmp_path)
    assert triton.labels(msgspec.structs.replace(tensor, label_filename=""), tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "provider", "instances"),
    [
        ("", None, None),
        ("instance_group { }", None, 1),
        ("instance_group { kind: KIND_AUTO count: 3 }", None, 3),
        ("instance_group { kind: KIND_CPU count: 2 }", "cpu", 2),
        ("instance_group { kind: KIND_GPU count: 2 }", "cuda", 2),
        ("instance_group [ { kind: KIND_CPU count: 4 }, { kind: KIND_GPU } ]", "cuda", 1),
    ],
)
def test_instance_groups_choose_provider_and_runs_at_a_time(
    text: str, provider: str | None, instances: int | None, tmp_path: Path
):
    config = read(text, tmp_path)
    assert (config.provider, config.instances) == (provider, instances)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name: "other"', "called 'm' as its directory is, not 'other'"),
        ("instance_group [ { kind: KIND_CPU }, { kind: KIND_GPU } ]", "not on a GPU are not used"),
        ("instance_group { kind: KIND_GPU gpus: [0, 1] }", "one GPU runs the model, not those in"),
        (
            'input { name: "x" data_type: TYPE_FP32 dims: 1\n allow_ragged_batch: true }',
            "line 2: 'input[0].allow_ragged_batch' is not used",
        ),
        (
            "dynamic_batching {\n priority_levels: 5 default_priority_level: 2 }",
            "line 2: 5 levels of priority become three: before 2, 2, and after it",
        ),
        ("model_transaction_policy { decoupled: true }", "'model_transaction_policy' is not used"),
        ("max_batchsize: 4", "line 1: 'max_batchsize' is not used"),
        (
            'parameters { key: "intra_op_thread_count" value { string_value: "many" } }',
            "parameter 'intra_op_thread_count' = 'many' is not used",
        ),
        (
            'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }',
            "accelerator 'openvino' is not used",
        ),
        (
            'instance_group { kind: KIND_CPU } optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }',
            "accelerator 'tensorrt' is not used",
        ),
    ],
)
def test_what_is_not_kept_is_named(text: str, says: str, tmp_path: Path):
    (warning,) = read(text, tmp_path).warnings
    assert says in warning
    assert str(tmp_path / "m" / triton.FILE) in warning


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('platform: "tensorflow_savedmodel"', "'tensorflow_savedmodel' is not served here"),
        ('platform: "ensemble"', "'ensemble' is not served here"),
        ('backend: "python"', "'python' is not served here"),
        ('default_model_filename: "../other/model.onnx"', "leaves the model's directory"),
        ('default_model_filename: "/etc/passwd"', "leaves the model's directory"),
        (
            "\nsequence_batching { oldest { } }",
            ", line 2: 'sequence_batching' is not served, requests",
        ),
        ("ensemble_scheduling { }", ", line 1: 'ensemble_scheduling' is not served"),
        (
            "dynamic_batching { priority_levels: 2 }",
            "default_priority_level is 0, it must be 1 to 2",
        ),
        (
            'input { name: "x" data_type: TYPE_FP32\n dims: [2, 3] reshape { shape: [5] } }',
            ", line 1: 'x' has dims [2, 3], its reshape [5] holds another number of elements",
        ),
        (
            'input { name: "x" data_type: TYPE_FP32 dims: [-1] reshape { shape: [-1, -1] } }',
            "its reshape [-1, -1] holds another",
        ),
        (LABELLED.replace("labels.txt", "../x"), "the file name '../x' leaves"),
        (
            'model_warmup { name: "a" inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 input_data_file: "../x" } } }',
            "the file name '../x' leaves",
        ),
        ("\n\nmax_batch_size: -1", ", line 3: max_batch_size: Expected `int` >= 0"),
        ("max_batch_size: 1e99", ", line 1: max_batch_size: Expected `int`"),
        ('input {\n name: "x"\n dims: 1\n}', ", line 1: input[0]: Object missing required field"),
        ('input { name: "x" data_type: TYPE_FP8 dims: 1 }', "Invalid enum value 'TYPE_FP8'"),
        ("input {", ", line 1: "),
        ("version_policy { latest { num_versions: 0 } }", "Expected `int` >= 1"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text: str, says: str, tmp_path: Path):
    with pytest.raises(BundleError) as caught:
        read(text, tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "m" / triton.FILE))
    assert says in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / triton.FILE
    with pytest.raises(BundleError, match="No such file"):
        triton.read(path)
    path.write_bytes(b'name: "a"\nname: "\xff"')
    with pytest.raises(BundleError, match="line 2: it is not UTF-8"):
        triton.read(path)
    path.write_bytes(b"#" * (triton.MOST_BYTES + 1))
    with pytest.raises(BundleError, match="1,048,577 bytes, the limit is 1,048,576"):
        triton.read(path)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is written again and again."""
    return tmp_path_factory.mktemp("damaged") / triton.FILE


DAMAGE = st.tuples(st.floats(0, 1), st.integers(0, 9), st.text(max_size=4))


@given(st.sampled_from((DENSENET, BERT, TABULAR)), st.lists(DAMAGE, min_size=1, max_size=4))
@settings(derandomize=True, max_examples=300)
def test_a_damaged_configuration_is_read_or_refused(
    damaged: Path, text: str, damages: list[tuple[float, int, str]]
):
    for where, length, instead in damages:
        at = int(where * len(text))
        text = text[:at] + instead + text[at + length :]
    damaged.write_text(text)
    try:
        config = triton.read(damaged)
    except BundleError as error:
        assert str(error).startswith(str(damaged))  # noqa: PT017 - some are still good
    else:
        assert (config.max_batch_rows or 0) >= 0
