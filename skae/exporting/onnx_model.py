"""Torch modules of fitted methods as ONNX graphs.

`onnx_model` traces modules and gives the graph names, labels that are strings, and
metadata. Whether the graph computes the right numbers is tested in `onnx_check`.
Nothing here imports ONNX before it is called; exports run inside `quiet`, which
restores loggers and warning filters.
"""

import json
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from sklearn.base import is_classifier, is_outlier_detector
from torch import Tensor, nn

from skae.exporting.detection import Detection
from skae.exporting.ends import Labels
from skae.rows.extras import importing
from skae.rows.isolation import isolated

__all__ = [
    "FROM_CODES",
    "OLDEST_OPSET",
    "OUTPUT_NAMES",
    "ExportError",
    "default_methods",
    "describe",
    "onnx_model",
    "quiet",
    "required_packages",
]

# What the result of a method is called in the graph.
OUTPUT_NAMES = {
    "transform": "Z",
    "inverse_transform": "X",
    "sample": "X",
    "reconstruct": "X_hat",
    "denoise": "X_clean",
    "score_samples": "scores",
    "decision_function": "decision",
    "p_values": "p_values",
    "predict": "label",
    "predict_proba": "probabilities",
    "predict_log_proba": "log_probabilities",
    "discriminate": "values",
}
# Methods whose input is called Z; that of the others is X.
FROM_CODES = ("inverse_transform", "sample")
OLDEST_OPSET = 18
_OLDEST_TORCH = (2, 6)
_NOISY = ("torch.onnx", "torch.export", "onnxscript")
# Warning filters and levels of loggers belong to the process.
_lock = threading.RLock()


class ExportError(RuntimeError):
    """An exported model cannot be made, or does not compute what the estimator does."""


class _Together(nn.Module):
    """Several functions of the same samples and estimator."""

    def __init__(self, functions):
        super().__init__()
        self.functions: Any = nn.ModuleList(functions)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if all(isinstance(function, Detection) for function in self.functions):
            # Traced once, which takes most of the time of an export.
            scores, dtype = self.functions[0].score(*inputs), inputs[0].dtype
            return tuple(each.decide(scores, dtype) for each in self.functions)
        return tuple(function(*inputs) for function in self.functions)


def default_methods(estimator) -> tuple[str, ...]:
    """The methods that a model computes by default, in the order of its outputs.

    Of a Pipeline these are all that skl2onnx has for its last step.
    """
    if is_classifier(estimator):
        return "predict", "predict_proba"
    if is_outlier_detector(estimator):
        return "predict", "decision_function"
    names = "predict", "transform", "sample"
    return (next((n for n in names if hasattr(estimator, n)), "transform"),)


def required_packages() -> tuple:
    """onnx and onnxruntime, where all that an export needs is installed.

    Raises
    ------
    ImportError
        When something is missing or torch is too old.
    """
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _OLDEST_TORCH:
        raise ImportError(
            f"Exporting to ONNX needs torch>=2.6; {torch.__version__} is installed. "
            'pip install -U torch "skae[onnx]"'
        )
    # Some of what they import adds warning filters.
    with importing("onnx", "Exporting to ONNX"), quiet():
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    return onnx, onnxruntime


@isolated
def onnx_model(functions: Mapping[str, nn.Module], inputs, opset: int, class_name: str):
    """The graph of one method or several of the same inputs.

    Parameters
    ----------
    functions : mapping of str to FittedFunction
        By the names of the methods; on the CPU.
    inputs : tuple of Tensor
        Examples of the samples, and of y for graphs that take it; more than one each.
    opset : int
    class_name : str
        Of the estimator, for the metadata.

    Returns
    -------
    model : onnx.ModelProto

    Raises
    ------
    ExportError
        When a module cannot be traced for batches of any size.
    """
    onnx, _ = required_packages()
    first = next(iter(functions.values()))
    names = ["Z" if next(iter(functions)) in FROM_CODES else "X", "y"][: len(inputs)]
    results = [OUTPUT_NAMES[method] for method in functions]
    module = _Together(functions.values())
    model = _traced(module, tuple(inputs), names, results, opset)
    _clean(model)
    for function, result in zip(functions.values(), results, strict=True):
        if isinstance(function.output, Labels) and function.output.values is None:
            _name_labels(onnx, model, result, function.output.classes)
    condition = first.condition
    if len(inputs) > 1 and condition.classes is not None:
        if condition.labels.values is None:
            _take_labels(onnx, model, condition.classes)
    describe(model, functions, class_name)
    onnx.checker.check_model(model)
    return model


def _traced(module, inputs, names, results, opset):
    """The graph of a module for batches of any size."""
    module.eval()
    options = {
        "dynamo": True,
        "opset_version": opset,
        "input_names": names,
        "output_names": results,
        "verbose": False,
    }
    # Of one positional parameter that takes any number of inputs.
    batch = torch.export.Dim("batch")
    shapes = (tuple({0: batch} for _ in inputs),)
    try:
        program = torch.onnx.export(module, inputs, dynamic_shapes=shapes, **options)
        if _has_fixed_batch(program.model_proto):
            # A module that asks Python for the number of rows.
            traced = torch.export.export(
                module, inputs, dynamic_shapes=shapes, strict=True
            )
            program = torch.onnx.export(traced, **options)
    except Exception as error:
        raise ExportError(
            "torch.export cannot trace the modules of this estimator. Rewrite what "
            "depends on the values of tensors, or on the number of rows as a number "
            "of Python's: x.shape[0] for len(x), no branches by values."
        ) from error
    if _has_fixed_batch(program.model_proto):
        raise ExportError(
            "torch.export fixes the number of rows in a module of this estimator; use "
            "x.shape[0] for it, and no Python number."
        )
    _share(program.model)
    model = program.model_proto
    version = next(each.version for each in model.opset_import if not each.domain)
    if version != opset:
        raise ExportError(
            f"opset={opset} is none that the installed torch {torch.__version__} "
            f"exports; it made a model of opset {version}."
        )
    return model


def _has_fixed_batch(model) -> bool:
    shapes = [each.type.tensor_type.shape for each in model.graph.input]
    return not all(shape.dim[0].dim_param for shape in shapes)


def _clean(model) -> None:
    """Remove the origin of nodes, and call the number of rows "batch"."""
    graph = model.graph
    free = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    values = [*graph.input, *graph.output, *graph.value_info]
    for each in (model, graph, *graph.node, *graph.initializer, *values):
        del each.metadata_props[:]
        each.doc_string = ""
    for value in values:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_param = dim.dim_param.replace(free, "batch")


def _share(model) -> None:
    """Compute once what several functions have in common."""
    from onnx_ir.passes import Sequential, common

    Sequential(
        common.DeduplicateInitializersPass(size_limit=2**31),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
    )(model)


def _name_labels(onnx, model, result, classes) -> None:
    """Output strings instead of their numbers."""
    graph = model.graph
    number = f"{result}_number"
    _rename(graph, result, number)
    values = [str(label).encode() for label in classes]
    table = onnx.helper.make_tensor(
        f"{result}_classes", onnx.TensorProto.STRING, [len(values)], values
    )
    graph.initializer.append(table)
    graph.node.append(onnx.helper.make_node("Gather", [table.name, number], [result]))
    output = next(each for each in graph.output if each.name == result)
    output.type.tensor_type.elem_type = onnx.TensorProto.STRING


def _take_labels(onnx, model, classes) -> None:
    """Take strings for y instead of their numbers; -1 stands for no class."""
    graph = model.graph
    _rename(graph, "y", "y_number")
    encoder = onnx.helper.make_node(
        "LabelEncoder",
        ["y"],
        ["y_number"],
        domain="ai.onnx.ml",
        keys_strings=[str(label) for label in classes],
        values_int64s=list(range(len(classes))),
        default_int64=-1,
    )
    graph.node.insert(0, encoder)
    y = next(each for each in graph.input if each.name == "y")
    y.type.tensor_type.elem_type = onnx.TensorProto.STRING
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))


def _rename(graph, old, new) -> None:
    """Rename a value inside the graph, not among its inputs and outputs."""
    for node in graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                if name == old:
                    values[place] = new


def describe(model, functions: Mapping[str, Any], class_name: str) -> None:
    """Write the class, the methods and the labels to a model's metadata."""
    onnx, _ = required_packages()
    model.doc_string = f"{', '.join(functions)} of a fitted skae.{class_name}"
    metadata = {
        "skae_class": class_name,
        "skae_method": ",".join(functions),
    }
    for function in functions.values():
        if isinstance(function.output, Labels):
            metadata["skae_classes"] = json.dumps(function.output.classes.tolist())
    onnx.helper.set_model_props(model, metadata)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what torch's exporter logs, and warnings; one export at a time."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    with _lock:
        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
