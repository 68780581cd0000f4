"""nvidia-pytriton, as its documentation writes a server: a function under Triton's dynamic batcher.

Triton joins requests of equal shapes only, and its batches need an axis behind the first one: a row's length is [1, 1] here.
"""

# mypy: disable-error-code="import-not-found,untyped-decorator"
# pytriton lives in an environment of its own, so its decorators are unknown here.

import numpy as np
from job import OUTPUT, TYPES, Session, job
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

session = Session(job().file)
vectors = {one.name for one in session.onnx.get_inputs() if len(one.shape) == 1}
KINDS = {"tensor(float)": "FP32", "tensor(int32)": "INT32", "tensor(int64)": "INT64"}


@batch
def infer(**feeds: np.ndarray) -> dict[str, np.ndarray]:
    """Run rows that Triton has put together."""
    return {
        OUTPUT: session.feed(
            {name: array.reshape(-1) if name in vectors else array for name, array in feeds.items()}
        )
    }


def tensors() -> list[Tensor]:
    """The graph's inputs without their first axis; a symbolic axis is -1."""
    return [
        Tensor(
            name=one.name,
            dtype=np.dtype(TYPES[KINDS[one.type]]).type,
            shape=tuple(axis if isinstance(axis, int) else -1 for axis in one.shape[1:]) or (1,),
        )
        for one in session.onnx.get_inputs()
    ]


def main() -> None:
    """Serve until SIGTERM."""
    config = TritonConfig(
        http_address="127.0.0.1", http_port=job().port, allow_grpc=False, allow_metrics=False
    )
    delay = DynamicBatcher(max_queue_delay_microseconds=int(1000 * job().wait_ms))
    with Triton(config=config) as triton:
        triton.bind(
            model_name=job().name,
            infer_func=infer,
            inputs=tensors(),
            outputs=[Tensor(name=OUTPUT, dtype=np.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=job().rows, batcher=delay),
        )
        triton.serve()


if __name__ == "__main__":
    main()
