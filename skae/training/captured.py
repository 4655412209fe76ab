"""Training steps that a GPU repeats from a recording.

Launching the operations of a step one by one takes longer than computing them where a
network is small. `GraphedStep` runs the first steps as usual, captures one as a CUDA
graph and replays it for all that follow, with the same results. What changes from step
to step lies on the device: batches are copied into buffers, and the numbers of the
schedule come from a table that a counter on the device reads. `Trainer` puts it in the
place of its `Step` on a device that `has_graphs`. Nothing here knows models.
"""

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from skae.training.capturable import Watcher, foreign_code, leaves_of
from skae.training.optimizer import FlatAdamW
from skae.training.schedule import UpdateNumbers
from skae.training.steps import Step, Watch

__all__ = ["GraphedStep", "StepTable", "graphed", "has_graphs"]

# Steps before the one that is captured: libraries and modules allocate what they keep
# in their first ones.
_WARM_UP = 3
# Of these, the one that is watched for what cannot be captured.
_WATCHED = 2
# Captured only if so many steps are to come.
_LEAST_STEPS = 8
# Of different shapes or phases.
_MOST_GRAPHS = 8
_TABLE_ROWS = 1024
# The kernel by which torch's own optimisers copy lists of tensors.
_copy_all = getattr(torch, "_foreach_copy_")  # noqa: B009


def has_graphs(device: torch.device) -> bool:
    """Whether work on the device can be captured and replayed."""
    if device.type == "cpu":
        return False
    return hasattr(torch.get_device_module(device), "CUDAGraph")


def graphed(step: Step, n_steps: int, generator: Generator) -> "Step | GraphedStep":
    """The step, as a `GraphedStep` where the device has graphs."""
    if has_graphs(step.updates[0].optimizer.flat.data.device):
        return GraphedStep(step, n_steps, generator)
    return step


class StepTable:
    """Numbers of the coming steps on a device, read there row by row.

    Parameters
    ----------
    numbers_of : callable
        ``numbers_of(ahead) -> list of float``, the numbers of the coming step or of one
        so many steps ahead.
    n_steps : int
        Of the training.
    like : Tensor
        Of the device and the type of the numbers.

    Attributes
    ----------
    row : list of Tensor
        Of the step that is run, scalars.
    single : list of Tensor
        The same in single precision.
    """

    def __init__(
        self,
        numbers_of: Callable[[int], Sequence[float]],
        n_steps: int,
        like: Tensor,
    ):
        self._numbers_of = numbers_of
        width = len(numbers_of(0))
        self._table = like.new_zeros(min(n_steps, _TABLE_ROWS), width)
        self._place = torch.zeros(1, dtype=torch.long, device=like.device)
        self._row = like.new_zeros(1, width)
        self._single = self._row.float()
        self._n_left = 0
        self.row = list(self._row[0].unbind())
        self.single = list(self._single[0].unbind())

    def prepare(self) -> None:
        """Before every step: fill the table where it is used up."""
        if self._n_left == 0:
            self._n_left = len(self._table)
            rows = [self._numbers_of(ahead) for ahead in range(self._n_left)]
            dtype = self._table.dtype
            self._table.copy_(torch.tensor(rows, dtype=dtype, device="cpu"))
            self._place.zero_()
        self._n_left -= 1

    def read(self) -> None:
        """On the device: go on to the next row."""
        torch.index_select(self._table, 0, self._place, out=self._row)
        self._place += 1
        if self._single is not self._row:
            self._single.copy_(self._row)

    def forget(self) -> None:
        """Fill the table anew before the next step."""
        self._n_left = 0


class GraphedStep:
    """A training step that is replayed from a recording where that is possible.

    It is called like the `Step` that it runs. All that a step leaves behind has to be
    in tensors that stay where they are, in the module's ``phase`` and in the counts of
    the optimisers.

    Parameters
    ----------
    step : Step
    n_steps : int
        Of the training.
    generator : torch.Generator
        That the module draws from, on its device.

    Attributes
    ----------
    n_replayed : int
        Steps that were replayed.
    reason : str or None
        Why steps are not captured.
    """

    def __init__(self, step: Step, n_steps: int, generator: Generator):
        self._step = step
        self._n_steps = n_steps
        self._module: Any = step.module
        optimizers = {id(u.optimizer): u.optimizer for u in step.updates}
        self._optimizers: list[FlatAdamW] = list(optimizers.values())
        like = self._optimizers[0].flat.data
        self._device = like.device
        self._table = StepTable(self._numbers_of, n_steps, like)
        self._torch: Any = torch.get_device_module(self._device)
        self._stream = self._torch.Stream(self._device)
        self._generators = {id(generator): generator}
        self.n_replayed = 0
        self.reason: str | None = None
        self.forget()

    def forget(self) -> None:
        """Drop what was captured: steps may use other memory from here on."""
        self._n_run: Counter = Counter()
        self._graphs: dict[Hashable, _Captured] = {}
        self._table.forget()
        self._is_checked = False

    def cleared(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """As of `Step`."""
        return self._step.cleared(sums)

    def close(self, *, report: bool) -> None:
        """Free the graphs' memory after the last step, and print how steps were run."""
        self.forget()
        if not report:
            return
        words = f"{self.n_replayed} training steps were replayed from a graph"
        if self.reason is not None:
            words += f"; the others were launched one by one: {self.reason}"
        print(words, file=sys.stderr)

    def __call__(
        self, batch: tuple, sums: dict[str, Tensor], watch: Watch | None = None
    ) -> Tensor | None:
        """One step; the loss of its last update where ``watch`` is there."""
        self._table.prepare()
        if not self._is_checked:
            self.reason = self.reason or foreign_code(self._module)
            self._is_checked = True
        if watch is not None or self.reason is not None:
            return self._run(batch, sums, watch)
        places = [total.data_ptr() for total in sums.values()]
        key = self._module.phase, _signature(batch), *places
        if key in self._graphs:
            self._replay(self._graphs[key], batch)
        elif self._n_run[key] < _WARM_UP or not self._is_worth_it():
            self._n_run[key] += 1
            self._warm_up(batch, sums, is_watched=self._n_run[key] == _WATCHED)
        else:
            self._capture(key, batch, sums)
        return None

    def _run(self, batch, sums, watch=None) -> Tensor:
        """One step, launched operation by operation."""
        self._table.read()
        n_numbers = 0
        for optimizer in self._optimizers:
            optimizer.coming = []
        for update in self._step.updates:
            numbers = self._table.row[n_numbers:], self._table.single[n_numbers:]
            update.optimizer.coming.append(UpdateNumbers.of(*numbers))
            n_numbers += len(UpdateNumbers._fields)
        self._module.scheduled = self._table.row[n_numbers:]
        try:
            return self._step(batch, sums, watch)
        finally:
            self._module.scheduled = ()

    def _numbers_of(self, ahead: int) -> list[float]:
        """All numbers of the coming step, or of one so many steps ahead."""
        own = [update.optimizer for update in self._step.updates]
        numbers: list[float] = []
        for place, optimizer in enumerate(own):
            n_updates = ahead * own.count(optimizer) + own[:place].count(optimizer)
            numbers += optimizer.numbers(n_updates)
        progress = self._module.progress + ahead / self._n_steps
        return numbers + list(self._module.numbers_at(min(1.0, progress)))

    @property
    def _counts(self) -> list[int]:
        return [optimizer.step_count for optimizer in self._optimizers]

    @_counts.setter
    def _counts(self, counts: list[int]) -> None:
        for optimizer, count in zip(self._optimizers, counts, strict=True):
            optimizer.step_count = count

    def _is_worth_it(self) -> bool:
        return (
            (1 - self._module.progress) * self._n_steps >= _LEAST_STEPS
            and len(self._graphs) < _MOST_GRAPHS
            and not self._torch.is_current_stream_capturing()
        )

    def _replay(self, captured: "_Captured", batch: Any) -> None:
        captured.fill(batch)
        captured.graph.replay()
        self._module.phase = captured.next_phase
        counts = zip(self._counts, captured.n_updates, strict=True)
        self._counts = [count + n for count, n in counts]
        self.n_replayed += 1

    def _warm_up(self, batch, sums, *, is_watched: bool) -> None:
        """A step on the stream of the capture."""
        with self._aside():
            if not is_watched:
                self._run(batch, sums)
                return
            with Watcher() as watch:
                self._run(batch, sums)
        self.reason = watch.reason
        self._generators |= watch.generators

    def _capture(self, key: Hashable, batch, sums) -> None:
        """Capture a step and run it, or run it as usual where that fails."""
        phase, counts = self._module.phase, self._counts
        inputs = [tensor.clone() for tensor in _tensors(batch)]
        static = _rebuilt(batch, iter(inputs))
        self._torch.synchronize(self._device)
        graph = self._new_graph()
        try:
            with self._aside():
                self._record(graph, lambda: self._run(static, sums))
        except BaseException as error:
            del graph
            self._mend()
            self._module.phase, self._counts = phase, counts
            if not isinstance(error, Exception):
                raise
            self.reason = _words_of(error)
            self._run(batch, sums)
            return
        updated = zip(self._counts, counts, strict=True)
        n_updates = [after - before for after, before in updated]
        captured = _Captured(graph, inputs, self._module.phase, n_updates)
        self._graphs[key] = captured
        # A capture counts on the host and computes nothing.
        self._module.phase, self._counts = phase, counts
        self._replay(captured, batch)

    def _new_graph(self) -> Any:
        graph = self._torch.CUDAGraph()
        for generator in self._generators.values():
            graph.register_generator_state(generator)
        return graph

    def _record(self, graph: Any, work: Callable[[], object]) -> None:
        # Graphs that are replayed in turn share memory.
        pool = [each.graph.pool() for each in self._graphs.values()][:1]
        # torch.cuda.graph would empty the allocator's cache as well.
        graph.capture_begin(*pool, capture_error_mode="thread_local")
        try:
            work()
        except BaseException:
            with suppress(Exception):
                graph.capture_end()
            raise
        graph.capture_end()

    def _mend(self) -> None:
        """End what a failed capture leaves open.

        Older versions of torch leave generators in a state in which they draw in a
        capture only, until one succeeds.
        """
        self._stream = self._torch.Stream(self._device)
        with suppress(Exception), self._aside():
            self._record(self._new_graph(), self._table.read)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Context in which work is queued on the stream of the capture."""
        current = self._torch.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with self._torch.stream(self._stream):
                yield
        finally:
            current.wait_stream(self._stream)


class _Captured(NamedTuple):
    """A step's graph, its buffers, and what it changes on the host."""

    graph: Any
    inputs: list[Tensor]
    next_phase: int
    n_updates: list[int]

    def fill(self, batch: Any) -> None:
        tensors = _tensors(batch)
        # In one launch for each type.
        for dtype in {tensor.dtype for tensor in tensors}:
            places = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
            _copy_all([self.inputs[i] for i in places], [tensors[i] for i in places])


def _signature(batch: Any) -> Hashable:
    """What the batches of one graph have in common."""
    if isinstance(batch, Tensor):
        return tuple(batch.shape), batch.dtype, batch.device
    if isinstance(batch, list | tuple):
        return tuple(map(_signature, batch))
    return batch


def _tensors(batch: Any) -> list[Tensor]:
    return [leaf for leaf in leaves_of(batch) if isinstance(leaf, Tensor)]


def _rebuilt(batch: Any, tensors: Iterator[Tensor]) -> Any:
    """The batch with other tensors."""
    if isinstance(batch, Tensor):
        return next(tensors)
    if not isinstance(batch, list | tuple):
        return batch
    parts = [_rebuilt(each, tensors) for each in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def _words_of(error: Exception) -> str:
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}"
