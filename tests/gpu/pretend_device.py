"""A second torch device in Python: memory of the CPU that torch takes for a GPU's.

Importing this file gives the process the device ``pretend``. It has to come before
skae, which then finds the generators that know the device. Tensors on it are ordinary
ones with a storage of its type, so views, autograd and ``Module.to`` work as on CUDA;
the CPU runs every kernel on an alias of the same memory. What CUDA refuses is refused:
tensors of two devices in one operation, ``.numpy()``, generators of another device.
`log` counts kernels, waits of the host for the device and bytes that are copied.

`check_estimators.py` uses it, in a process of its own.
"""

import collections
import contextlib
import ctypes
import functools
import threading

import torch
from fused_cells import CELLS
from pretend_graph import (
    Graph,
    Stream,
    active,
    current_stream,
    flattened,
    is_capturing,
    mapped,
    on_stream,
)
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["NAME", "counted", "log"]

NAME = "pretend"
aten = torch.ops.aten

# Nothing is launched for these.
_FREE = {
    "_reshape_alias",
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "empty",
    "empty_strided",
    "is_set_to",
    "record_stream",
    "resize_",
    "set_",
    "unfold",
    "view",
}
# The host waits: the shape or the value of the result is needed.
_WAITING = {
    "_linalg_check_errors",
    "_local_scalar_dense",
    "_unique2",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
    "unique_dim_consecutive",
}
_INDEXING = {"_index_put_impl_", "_unsafe_index", "index", "index_put", "index_put_"}
# Without a generator of their own they draw from the device's.
_RANDOM = {"bernoulli_", "exponential_", "normal_", "random_", "uniform_"}
# What may differ between two launches.
_DATA = torch.Tensor, torch.Generator
# Of DLPack, for devices that are an extension.
_EXTENSION = 12


class Log:
    """What the device had to do.

    Attributes
    ----------
    kernels, waits, n_bytes : Counter
        By operation, by reason and by direction.
    trace : list or None
        Where it is a list, it gets every operation with its arguments that are no
        tensors: what a captured graph would hold.
    refuses_double : bool
        Whether float64 is refused, as by Apple's devices.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.trace = None
        self.refuses_double = False
        self.reset()

    def reset(self):
        self.kernels = collections.Counter()
        self.waits = collections.Counter()
        self.n_bytes = collections.Counter()

    def note(self, name, leaves=()):
        if name in _FREE:
            return
        with self.lock:
            self.kernels[name] += 1
            if name in _WAITING:
                self.waits[name] += 1
            if self.trace is not None:
                # Scalars of the CPU become part of the launch, as numbers do.
                fixed = [v for v in leaves if not isinstance(v, _DATA)]
                fixed += [t.item() for t in leaves if _is_host_scalar(t)]
                self.trace.append((name, repr(fixed)))

    def note_copy(self, direction, n_bytes):
        if active.graph is not None:
            active.graph.refuse(f"copy {direction}")
        with self.lock:
            self.waits[direction] += 1
            self.n_bytes[direction] += n_bytes
            if self.trace is not None:
                self.trace.append((f"copy {direction}", ""))

    def check_dtype(self, *dtypes):
        if self.refuses_double and torch.float64 in dtypes:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")


log = Log()


class DeviceGenerator(torch._C.Generator):
    """torch.Generator, also of the device; there it draws the CPU's numbers."""

    def __new__(cls, device="cpu"):
        device = torch.device(device)
        is_own = device.type == NAME
        self = super().__new__(cls, device="cpu" if is_own else device)
        self.place = torch.device(NAME, 0) if is_own else device
        return self

    def __init__(self, device="cpu"):
        pass

    @property
    def device(self):
        return self.place


def _checked(draw):
    """A function that refuses the device's generators for tensors elsewhere."""

    @functools.wraps(draw)
    def drawn(*args, generator=None, **options):
        if generator is not None:
            values = [a.device for a in args if isinstance(a, torch.Tensor)]
            place = torch.device(options.get("device") or (*values, "cpu")[0])
            if place.type != generator.device.type:
                raise RuntimeError(
                    f"Expected a '{place.type}' device type for generator but found "
                    f"'{generator.device.type}'"
                )
            options["generator"] = generator
        return draw(*args, **options)

    return drawn


@contextlib.contextmanager
def counted():
    """The log of what happens inside a with block."""
    log.reset()
    yield log


# Memory that both devices see


class _TensorHeader(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("type", ctypes.c_int), ("id", ctypes.c_int)]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _is_own(value):
    return value.device.type == NAME


def _is_host_scalar(value):
    return isinstance(value, torch.Tensor) and not value.ndim and not _is_own(value)


def _solid(value):
    """Autograd's zeros have no memory."""
    if isinstance(value, torch.Tensor) and value._is_zerotensor():
        return torch.zeros(value.shape, dtype=value.dtype, device="cpu")
    return value


def _on_device(tensor):
    """A tensor of the device on the memory of one of the CPU."""
    tensor = _solid(tensor)
    capsule = torch._C._to_dlpack(tensor.detach())
    _TensorHeader.from_address(_pointer(capsule, b"dltensor")).type = _EXTENSION
    return torch._C._from_dlpack(capsule)


def _on_cpu(tensor):
    """A tensor of the CPU on the memory of one of the device."""
    storage = tensor.untyped_storage()
    if not tensor.numel() or not storage.nbytes():
        return torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu"
        )
    flat = _bytes_of(storage, tensor)
    if tensor.dtype == torch.bool:
        flat = flat.view(torch.bool)
    else:
        whole = storage.nbytes() // tensor.itemsize * tensor.itemsize
        flat = flat[:whole].view(tensor.dtype)
    return flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _bytes_of(storage, owner):
    memory = (ctypes.c_byte * storage.nbytes()).from_address(storage.data_ptr())
    memory.owner = owner
    return torch.frombuffer(memory, dtype=torch.uint8)


def _cloned(storage, clone=torch.UntypedStorage.clone):
    if storage.device.type != NAME:
        return clone(storage)
    if not storage.nbytes():
        nothing = torch.empty(0, dtype=torch.uint8, device="cpu")
        return _on_device(nothing).untyped_storage()
    return _on_device(_bytes_of(storage, storage).clone()).untyped_storage()


def _deep_copied(tensor, memo, deepcopy=torch.Tensor.__deepcopy__):
    if not _is_own(tensor) or id(tensor) in memo:
        return deepcopy(tensor, memo)
    source = _on_cpu(tensor.detach())
    made = torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu"
    ).copy_(source)
    made = _on_device(made)
    if isinstance(tensor, torch.nn.Parameter):
        made = torch.nn.Parameter(made)
    memo[id(tensor)] = made.requires_grad_(tensor.requires_grad)
    return made


# Operations


def _run(operation, *args, **kwargs):
    """Run an operation of the device on the CPU."""
    name = _name_of(operation)
    leaves = list(flattened((args, [*kwargs.values()])))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    _check(operation, name, args, leaves, tensors)
    if active.graph is None:
        log.note(name, leaves)
    if name in _RANDOM and kwargs.get("generator") is None:
        kwargs["generator"] = default_generator
    _check_capture(name, [*leaves, kwargs.get("generator")])
    kwargs.pop("pin_memory", None)
    own = {}

    def to_cpu(leaf):
        if isinstance(leaf, torch.Tensor) and _is_own(leaf):
            alias = _on_cpu(leaf)
            own[id(alias)] = leaf, alias, alias.shape
            return alias
        is_device = isinstance(leaf, torch.device) and leaf.type == NAME
        return torch.device("cpu") if is_device else leaf

    def to_device(leaf):
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return own[id(leaf)][0] if id(leaf) in own else _on_device(leaf)

    args = mapped(to_cpu, args)
    kwargs = {key: mapped(to_cpu, value) for key, value in kwargs.items()}
    kernel, graph = _kernel(operation, name), active.graph
    pairs = [(tensor, alias) for tensor, alias, _ in own.values()]
    if graph is not None:
        graph.enter(operation._schema, args, kwargs, pairs)
    result = mapped(_solid, kernel(*args, **kwargs))
    for tensor, alias, shape in own.values():
        if alias.shape != shape:  # It came empty, for the kernel to resize.
            tensor.data = _on_device(alias)
            if graph is not None:
                graph.keep(alias)
    if graph is not None:
        graph.leave(name, kernel, args, kwargs, pairs, result, name in _FREE)
    return mapped(to_device, result)


@functools.cache
def _name_of(operation):
    return operation._schema.name.split("::")[1]


def _check(operation, name, args, leaves, tensors):
    devices = {t.device.type for t in tensors if t.ndim or _is_own(t)}
    if len(devices) > 1:
        if name not in _INDEXING or not _is_own(args[0]):
            places = [f"{tuple(t.shape)} on {t.device}" for t in tensors]
            raise RuntimeError(
                "Expected all tensors to be on the same device, but "
                f"{operation} got {places}"
            )
        log.note_copy("to device", sum(t.nbytes for t in tensors if not _is_own(t)))
    if name in _INDEXING:
        masks = [t for t in args[1] or () if t is not None and t.dtype == torch.bool]
        if masks and active.graph is not None:
            active.graph.refuse("an index that is a mask")
        if masks:
            log.waits["mask"] += 1
    for leaf in leaves:
        if isinstance(leaf, torch.Generator) and not _is_own(leaf):
            raise RuntimeError(
                f"Expected a '{NAME}' device type for generator but found "
                f"'{leaf.device.type}' ({operation})"
            )
    log.check_dtype(*(t.dtype for t in tensors if _is_own(t)))
    log.check_dtype(*(leaf for leaf in leaves if isinstance(leaf, torch.dtype)))


def _check_capture(name, leaves):
    """What a graph of CUDA cannot hold, and generators that a capture has spoilt."""
    graph = active.graph
    if graph is not None and name in {*_WAITING, "resize_", "set_"}:
        graph.refuse(name)
    for generator in leaves:
        if not isinstance(generator, torch._C.Generator):
            continue
        if graph is None and _is_among(generator, active.stuck):
            raise RuntimeError("Offset increment outside graph capture encountered")
        if graph is not None and not _is_among(generator, graph.generators):
            graph.refuse("a generator that is not registered")


def _is_among(generator, others):
    """By their states: operations get other objects of the same generators."""
    state = generator.get_state() if others else None
    return any(torch.equal(state, other.get_state()) for other in others)


def _kernel(operation, name):
    if name == "convolution_overrideable":
        return aten.convolution.default
    if name == "convolution_backward_overrideable":
        return _convolution_backward
    if name == "native_dropout":
        return functools.partial(_dropout, operation)
    return CELLS.get(name, operation)


def _convolution_backward(slope, x, weight, *settings):
    transposed, groups = settings[3], settings[-2]
    width = weight.shape[1] * groups if transposed else weight.shape[0]
    return aten.convolution_backward.default(slope, x, weight, [width], *settings)


def _dropout(operation, *args):
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(default_generator.get_state())
        result = operation(*args)
        default_generator.set_state(torch.get_rng_state())
    return result


def _copy(target, source, non_blocking=False):
    # Copies to the host are converted on the device.
    log.check_dtype(
        *(t.dtype for t in (target, source) if _is_own(source) or _is_own(t))
    )
    if _is_own(target) == _is_own(source):
        if active.graph is None:
            log.note("copy_")
    else:
        direction = "to device" if _is_own(target) else "to host"
        log.note_copy(direction, source.numel() * target.itemsize)
    own = _on_cpu(target) if _is_own(target) else target
    values = _on_cpu(source) if _is_own(source) else source
    graph = active.graph
    if graph is None:
        own.copy_(values)
        return target
    pairs = [(target, own), (source, values)]
    graph.enter(aten.copy_.default._schema, (own, values), {}, pairs)
    run = torch.Tensor.copy_
    graph.leave("copy_", run, (own, values), {}, pairs, run(own, values), False)
    return target


def _foreach_copy(targets, sources, non_blocking=False):
    """As on CUDA, one launch for tensors of the same type."""
    assert active.graph is None
    assert all(map(_is_own, [*targets, *sources]))
    assert len({tensor.dtype for tensor in [*targets, *sources]}) == 1
    log.note("_foreach_copy_")
    for target, source in zip(targets, sources, strict=True):
        _on_cpu(target).copy_(_on_cpu(source))


_setup_privateuseone_for_python_backend(NAME)
torch.Generator = DeviceGenerator
for _name in ("bernoulli", "multinomial", "normal", "rand", "randint", "randn"):
    setattr(torch, _name, _checked(getattr(torch, _name)))
torch.randperm = _checked(torch.randperm)
torch.UntypedStorage.clone = _cloned
torch.Tensor.__deepcopy__ = _deep_copied
default_generator = DeviceGenerator(NAME)
_module = torch.get_device_module(NAME)
_module.get_rng_state = lambda device=None: default_generator.get_state()
_module.set_rng_state = lambda state, device=None: default_generator.set_state(state)
# What torch.cuda has for graphs.
_module.CUDAGraph, _module.Stream, _module.stream = Graph, Stream, on_stream
_module.current_stream, _module.synchronize = current_stream, lambda device=None: None
_module.is_current_stream_capturing = is_capturing
active.default_generator, active.note = default_generator, log.note
_everything = torch.library.Library("_", "IMPL")
_everything.fallback(_run, "PrivateUse1")
_aten = torch.library.Library("aten", "IMPL")
_aten.impl("copy_", _copy, "PrivateUse1")
_aten.impl("_foreach_copy_", _foreach_copy, "PrivateUse1")
# Their own fallback in C++ would come first.
for _operation in (
    aten.convolution_overrideable.default,
    aten.convolution_backward_overrideable.default,
):
    _aten.impl(_operation, functools.partial(_run, _operation), "PrivateUse1")
