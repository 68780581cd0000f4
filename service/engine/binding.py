"""Who runs a batch on ONNX Runtime: any thread on the CPU, one thread at a time with buffers that stay on a device.

    Shared   requests -> join -> session.run                                        (CPU)
    Pool     requests -> a free Bench -> its Bound of (bucket, rows) -> copy in, run or replay, copy out    (CUDA, TensorRT)

It must not know variants, providers' options or what outputs mean.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Protocol

import numpy as np
import onnxruntime as ort
from onnxruntime import OrtValue

from service.engine import native
from service.engine.latency import Bucket
from service.engine.layout import Layout, Shape, Tensors

NO_GRAPH = -1
"""ONNX Runtime's number for: neither capture nor replay."""

CAPTURING_RUNS = 3
"""Two runs in which ONNX Runtime allocates (it may allow one to stand for all), one that it captures."""

Example = Callable[[Bucket, int], Tensors]


class Runner(Protocol):
    """Runs batches. Threads may call it at the same time."""

    def run(
        self, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> Sequence[np.ndarray]:
        """The outputs `names` of the batch that `requests` (`rows` rows) make; ONNX Runtime's exceptions."""
        ...

    def length(self, requests: Sequence[Tensors]) -> int:
        """What rows of these requests, all of one bucket, are padded to."""
        ...

    def sizes(self, most: int) -> list[int]:
        """The numbers of rows that must have run before no batch of up to `most` is the first of its kind."""
        ...

    def close(self) -> int:
        """Loading is over: prepare nothing more. The number of captured graphs."""
        ...


class Shared:
    """One session for all threads: on the CPU as fast as one for each, and without their copies of the weights."""

    def __init__(self, session: ort.InferenceSession, layout: Layout) -> None:
        self._session = session
        self._layout = layout

    def run(
        self, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> Sequence[np.ndarray]:
        """See `Runner`."""
        batch = self._layout.join(requests, self.length(requests))
        outputs: Sequence[np.ndarray] = self._session.run(names, batch)
        return outputs

    def length(self, requests: Sequence[Tensors]) -> int:
        """The longest of them: here a new shape costs nothing, and elements that nobody sent cost as much as any."""
        return self._layout.longest(requests)

    def sizes(self, most: int) -> list[int]:
        """Alone and full: what lies between runs the same code."""
        return sorted({1, most})

    def close(self) -> int:
        """Nothing was prepared."""
        return 0


class Bound:
    """One bucket and number of rows with buffers that stay: what a captured graph needs, and nothing to allocate in a run."""

    def __init__(
        self,
        session: ort.InferenceSession,
        layout: Layout,
        device: str,
        place: tuple[Bucket, int],
        graph: int = NO_GRAPH,
    ) -> None:
        self._session = session
        self._layout = layout
        self._options = run_options(graph)
        self._host: Tensors = {}
        self._inputs: dict[str, OrtValue] = {}
        self._binding = session.io_binding()
        for name, shape in layout.input_shapes(*place).items():
            if shape is None:
                raise ValueError(f"the shape of input '{name}' is not known")
            self._host[name] = np.empty(shape, layout.dtypes[name])
            where = native.device_of(session, name)
            self._inputs[name] = room(shape, layout.dtypes[name], where)
            self._binding.bind_ortvalue_input(name, self._inputs[name])
        for name, shape in layout.output_shapes(*place).items():
            if shape is None:
                self._binding.bind_output(name, device)  # ONNX Runtime allocates it in each run
            else:
                value = room(shape, layout.dtypes[name], device)
                self._binding.bind_ortvalue_output(name, value)

    def run(self, requests: Sequence[Tensors], rows: int, names: Sequence[str]) -> list[np.ndarray]:
        """Copy in, run (or replay), copy out."""
        self._layout.fill(self._host, requests)
        for name, value in self._inputs.items():
            value.update_inplace(self._host[name])
        self._binding.synchronize_inputs()  # a replay does not wait for copies on another stream
        self._session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()
        outputs = dict(zip(self._layout.outputs, self._binding.copy_outputs_to_cpu(), strict=True))
        return [outputs[name][:rows] for name in names]


class Bench:
    """A device session with its buffers. One caller at a time; rows are rounded up to a power of two.

    ONNX Runtime keeps captured graphs in a context of the thread that captured them, so with graphs all runs are on one thread.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        layout: Layout,
        device: str,
        example: Example,
        graphs: bool = False,
    ) -> None:
        self.captured = 0
        self.loading = True
        self._session = session
        self._layout = layout
        self._device = device
        self._example = example
        self._graphs = graphs
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graphs") if graphs else None
        self._bound: dict[tuple[Bucket, int], Bound] = {}
        self._plain = run_options(NO_GRAPH)

    def run(
        self, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> Sequence[np.ndarray]:
        """See `Runner`."""
        if self._thread is None:
            return self._run(requests, rows, names)
        return self._thread.submit(self._run, requests, rows, names).result()

    def _run(
        self, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> Sequence[np.ndarray]:
        """What was not prepared while loading runs on memory that ONNX Runtime allocates."""
        place = (self._layout.bucket(requests[0]), rounded(rows))
        bound = self._bound.get(place)
        if bound is None and self.loading and self._layout.bindable(*place):
            bound = self._bound[place] = self._prepare(place)
        if bound is not None:
            return bound.run(requests, rows, names)
        outputs: Sequence[np.ndarray] = self._session.run(
            names, self._layout.join(requests, self.length(requests)), self._plain
        )
        return outputs

    def length(self, requests: Sequence[Tensors]) -> int:
        """Their bucket's: few shapes, all of them seen while loading."""
        return self._layout.padded(requests)

    def _prepare(self, place: tuple[Bucket, int]) -> Bound:
        """Buffers for `place`, with a captured graph where a replay on other rows gives their answer."""
        if self._graphs:
            captured = Bound(self._session, self._layout, self._device, place, self.captured + 1)
            if self._replays(captured, place):
                self.captured += 1
                return captured
            self._graphs = False  # the number may hold a graph by now: it is not used again
        return Bound(self._session, self._layout, self._device, place)

    def _replays(self, bound: Bound, place: tuple[Bucket, int]) -> bool:
        bucket, rows = place
        example = self._example(bucket, rows + 1)
        first = {name: array[:-1] for name, array in example.items()}
        other = {name: np.ascontiguousarray(array[1:]) for name, array in example.items()}
        names = self._layout.outputs
        expected = self._session.run(names, other, self._plain)
        for _ in range(CAPTURING_RUNS):
            bound.run([first], rows, names)
        answers = bound.run([other], rows, names)
        return all(
            np.allclose(answer, right, rtol=1e-3, atol=1e-3)
            for answer, right in zip(answers, expected, strict=True)
        )


class Pool:
    """Benches for as many threads as there are; each waits for a free one."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self._benches = benches
        self._free: SimpleQueue[Bench] = SimpleQueue()
        for bench in benches:
            self._free.put(bench)

    def run(
        self, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> Sequence[np.ndarray]:
        """See `Runner`."""
        bench = self._free.get()
        try:
            return bench.run(requests, rows, names)
        finally:
            self._free.put(bench)

    def length(self, requests: Sequence[Tensors]) -> int:
        """See `Runner`."""
        return self._benches[0].length(requests)

    def sizes(self, most: int) -> list[int]:
        """Every power of two up to `most`, as often as there are benches: one run after the other takes them in turn."""
        powers = range(rounded(most).bit_length())
        return [1 << power for power in powers for _ in self._benches]

    def close(self) -> int:
        """See `Runner`."""
        for bench in self._benches:
            bench.loading = False
        return sum(bench.captured for bench in self._benches)


def rounded(rows: int) -> int:
    """The next power of two: few shapes, all of them seen before the first caller's."""
    return 1 << (rows - 1).bit_length()


def room(shape: Shape, dtype: np.dtype[np.generic], device: str) -> OrtValue:
    """Memory on `device` that stays where it is."""
    return OrtValue.ortvalue_from_shape_and_type(shape, dtype.type, device, 0)


def run_options(graph: int) -> ort.RunOptions:
    """Of runs that capture and replay the graph of this number."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
