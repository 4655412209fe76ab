"""Graphs of the pretended device: operations that are recorded and run again.

`pretend_device` hands every operation to the `Graph` that captures, if one does. As on
CUDA, a capture computes nothing: what its operations wrote is put back at its end. The
recording has addresses, not tensors, and what a graph of CUDA cannot hold is refused.
"""

import contextlib
import ctypes

import torch
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = [
    "Graph",
    "Stream",
    "active",
    "current_stream",
    "flattened",
    "is_capturing",
    "mapped",
    "on_stream",
]


class _Active:
    """The graph that captures, the stream, and what `pretend_device` sets."""

    graph = None
    stream = None
    # Generators that a failed capture has left in its state.
    stuck: list = []
    default_generator = note = None


active = _Active()


class Memory:
    """A tensor's place in memory, without owning it.

    Parameters
    ----------
    alias : Tensor
        Of the CPU on that memory.
    """

    def __init__(self, alias):
        self.pointer = _start(alias.untyped_storage())
        self.n_bytes = alias.untyped_storage().nbytes()
        self.layout = alias.shape, alias.stride(), alias.storage_offset()
        self.dtype = alias.dtype
        self.alias = None

    def tensor(self):
        if self.alias is None:
            shape, strides, offset = self.layout
            if not self.n_bytes:
                self.alias = torch.empty(shape, dtype=self.dtype, device="cpu")
                return self.alias
            memory = (ctypes.c_byte * self.n_bytes).from_address(self.pointer)
            flat = torch.frombuffer(memory, dtype=torch.uint8)
            whole = self.n_bytes // self.dtype.itemsize * self.dtype.itemsize
            flat = flat[:whole].view(self.dtype)
            self.alias = flat.as_strided(shape, strides, offset)
        return self.alias


class Graph:
    """What torch calls a CUDAGraph."""

    n_captures = n_replays = 0

    def __init__(self):
        self.generators = []
        self.operations = []
        # Memory that was there before the capture, views of it, and memory of its own.
        self.outside, self.views, self.inside = {}, set(), []
        self.is_captured = self.is_invalid = False

    def register_generator_state(self, generator):
        if generator.device.type == "cpu":
            raise RuntimeError("Expected a generator of the device")
        self.generators.append(generator)

    def pool(self):
        return id(self), 0

    def capture_begin(self, pool=None, capture_error_mode="global"):
        assert capture_error_mode == "thread_local"
        if active.graph is not None or self.is_captured:
            raise RuntimeError("a capture is under way, or the graph has one")
        if active.stream is None:
            raise RuntimeError("graphs must be captured on a non-default stream")
        self.generators.append(active.default_generator)
        self.states = [each.get_state() for each in self.generators]
        self.before = {}
        active.graph = self

    def capture_end(self):
        assert active.graph is self
        active.graph = None
        for generator, state in zip(self.generators, self.states, strict=True):
            generator.set_state(state)
        for memory, values in reversed(self.before.values()):
            memory.tensor().copy_(values)
        if self.is_invalid:
            # As older versions leave them.
            active.stuck = self.generators
            raise RuntimeError("operation failed due to a previous error in capture")
        active.stuck = []
        self.is_captured = True
        Graph.n_captures += 1

    def replay(self):
        if active.graph is not None or not self.is_captured:
            raise RuntimeError("this graph cannot be replayed now")
        if any(each.expired() for each in self.outside.values()):
            raise RuntimeError("memory that the graph works on was freed")
        for name, run, args, kwargs, results in self.operations:
            active.note(name)
            found = run(
                *mapped(_tensor, args),
                **{key: mapped(_tensor, value) for key, value in kwargs.items()},
            )
            for memory, value in zip(results, flattened([found]), strict=True):
                if memory is not None:
                    memory.tensor().copy_(value)
        Graph.n_replays += 1

    # Of the capture

    def refuse(self, what):
        """What would need the CPU."""
        self.is_invalid = True
        raise RuntimeError(f"operation not permitted when stream is capturing: {what}")

    def enter(self, schema, args, kwargs, own):
        """Before an operation: memory that it uses, and what it overwrites."""
        for tensor, alias in own:
            if tensor._is_zerotensor():  # Autograd's, without memory of their own.
                self.keep(alias)
                continue
            storage = tensor.untyped_storage()
            pointer, n_bytes = _start(storage), storage.nbytes()
            is_inside = any(low <= pointer < high for low, high, _ in self.inside)
            if n_bytes and not is_inside and pointer not in self.views:
                self.outside.setdefault(pointer, StorageWeakRef(storage))
            del storage
        aliases = {id(alias) for _, alias in own}
        for number, argument in enumerate(schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            for leaf in flattened([value]):
                if id(leaf) in aliases:
                    memory = Memory(leaf)
                    key = memory.pointer, memory.layout
                    if key not in self.before:
                        self.before[key] = memory, leaf.clone()

    def leave(self, name, run, args, kwargs, own, result, is_free):
        """After an operation: record it with the places of what it made."""
        aliases = {id(alias) for _, alias in own}
        bases = {_start(alias.untyped_storage()) for _, alias in own}

        def memory(leaf):
            if not isinstance(leaf, torch.Tensor):
                return leaf
            # Scalars of the CPU become part of the launch.
            return Memory(leaf) if id(leaf) in aliases else leaf.clone()

        results = []
        for value in flattened([result]):
            is_tensor = isinstance(value, torch.Tensor)
            if not is_tensor or id(value) in aliases:
                results.append(None)
            elif _start(value.untyped_storage()) in bases:
                self.views.add(value.data_ptr())
                results.append(None)
            else:
                self.keep(value)
                results.append(Memory(value))
        if not is_free:
            kwargs = {key: mapped(memory, value) for key, value in kwargs.items()}
            self.operations.append((name, run, mapped(memory, args), kwargs, results))

    def keep(self, value):
        """Memory that is the graph's."""
        start = _start(value.untyped_storage())
        self.inside.append((start, start + value.untyped_storage().nbytes(), value))


class Stream:
    """A queue of work; all of it is done at once here."""

    def __init__(self, device=None):
        self.device = device

    def wait_stream(self, other):
        if active.graph is not None:
            raise RuntimeError("operation not permitted when stream is capturing")


_DEFAULT = Stream()


@contextlib.contextmanager
def on_stream(stream):
    before, active.stream = active.stream, stream
    try:
        yield
    finally:
        active.stream = before


def current_stream(device=None):
    return active.stream or _DEFAULT


def is_capturing():
    return active.graph is not None


def _start(storage):
    """Where memory begins; that of an empty tensor nowhere."""
    return storage.data_ptr() if storage.nbytes() else 0


def _tensor(leaf):
    return leaf.tensor() if isinstance(leaf, Memory) else leaf


def flattened(values):
    """What lists inside lists hold."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from flattened(value)
        else:
            yield value


def mapped(function, value):
    """A function of all that lists inside lists hold."""
    if isinstance(value, list | tuple):
        return type(value)([mapped(function, each) for each in value])
    return function(value)
