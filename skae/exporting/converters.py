"""Converters of skl2onnx: estimators of skae as steps of a Pipeline in ONNX.

`register_converters` registers with skl2onnx, where that is installed, how each class
becomes a part of a graph. The parts come from the ``to_onnx`` that is passed and have
been checked there; nothing here knows an estimator.
"""

from collections.abc import Callable, Sequence
from functools import partial

from skae.exporting.onnx_model import OLDEST_OPSET

__all__ = ["register_converters"]

_RECURRENT = "LSTM", "GRU", "RNN"
# Place of the sequences' lengths among their inputs.
_LENGTHS = 4


def register_converters(classes: Sequence[type], to_onnx: Callable) -> None:
    """Register converters for classes; does nothing where skl2onnx is not installed.

    Classes with ``predict_proba`` become classifiers, with the options of skl2onnx's
    own; those with ``decision_function`` detectors, with labels, decision values and,
    by the option ``score_samples``, scores; others have ``transform``, or
    ``score_samples`` if not even that.

    Parameters
    ----------
    classes : sequence of type
    to_onnx : callable
        ``to_onnx(estimator, method=, dtype=, opset=, with_y=)`` gives a ModelProto.
    """
    try:
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import (
            calculate_linear_classifier_output_shapes as classifier_shapes,
        )
    except ImportError:
        return
    for each in classes:
        register = partial(update_registered_converter, each, f"Skae{each.__name__}")
        if hasattr(each, "predict_proba"):
            convert = partial(_convert_classifier, to_onnx)
            options = {
                "nocl": [True, False],
                "zipmap": [True, False, "columns"],
                "output_class_labels": [False, True],
            }
            register(
                partial(_classifier_shapes, classifier_shapes),
                convert,
                parser=_parse_classifier,
                options=options,
            )
        elif hasattr(each, "decision_function"):
            methods = "predict", "decision_function", "score_samples"
            convert = partial(_convert, to_onnx, methods)
            options = {"score_samples": [True, False]}
            register(_detector_shapes, convert, parser=_parse_detector, options=options)
        else:
            method = "transform" if hasattr(each, "transform") else "score_samples"
            register(_row_shapes, partial(_convert, to_onnx, (method,)))


def _parse_classifier(scope, model, inputs, custom_parsers=None):
    """Outputs of a classifier; dictionaries have probabilities in single precision."""
    from skl2onnx._parse import _parse_sklearn_classifier
    from skl2onnx.common.data_types import FloatTensorType, SequenceType

    outputs = _parse_sklearn_classifier(scope, model, inputs, custom_parsers)
    for output in outputs:
        if isinstance(output.type, SequenceType):
            output.type.element_type.value_type = FloatTensorType()
    return outputs


def _classifier_shapes(shapes, operator) -> None:
    """As skl2onnx says; only tensors of single precision become dictionaries."""
    from skl2onnx.common.data_types import FloatTensorType

    shapes(operator)
    probabilities = operator.outputs[1]
    options = {"zipmap": True}
    options = operator.scope_inst.get_options(operator.raw_operator, options)
    if options["zipmap"] is True:
        probabilities.type = FloatTensorType(probabilities.type.shape)


def _parse_detector(scope, model, inputs, custom_parsers=None):
    """Outputs of a detector, as those of IsolationForest."""
    from skl2onnx.common.data_types import Int64TensorType, guess_tensor_type

    operator = scope.declare_local_operator(f"Skae{type(model).__name__}", model)
    operator.inputs = inputs
    names = ["label", "scores"]
    if scope.get_options(model, {"score_samples": False})["score_samples"]:
        names.append("score_samples")
    for name in names:
        is_label = name == "label"
        kind = Int64TensorType() if is_label else guess_tensor_type(inputs[0].type)
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def _detector_shapes(operator) -> None:
    n_rows = operator.inputs[0].get_first_dimension()
    for output in operator.outputs:
        output.type.shape = [n_rows]


def _row_shapes(operator) -> None:
    n_rows = operator.inputs[0].get_first_dimension()
    width = getattr(operator.raw_operator, "n_components_", None)
    has_codes = hasattr(operator.raw_operator, "transform")
    operator.outputs[0].type.shape = [n_rows, width] if has_codes else [n_rows]


def _convert(to_onnx, methods, scope, operator, container) -> None:
    """An operator of as many of the methods as it has outputs."""
    methods = methods[: len(operator.outputs)]
    _insert(to_onnx, methods, scope, operator, container, operator.outputs)


def _convert_classifier(to_onnx, scope, operator, container) -> None:
    """Labels and probabilities; numbers of classes by the option ``nocl``."""
    outputs = label, probabilities = operator.outputs
    methods: tuple[str, ...] = ("predict", "predict_proba")
    options = scope.get_options(operator.raw_operator, {"nocl": False})
    if options["nocl"]:
        methods, outputs = methods[1:], [probabilities]
        names = probabilities.onnx_name, label.onnx_name
        container.add_node("ArgMax", *names, axis=1, keepdims=0)
    _insert(to_onnx, methods, scope, operator, container, outputs)


def _insert(to_onnx, methods, scope, operator, container, outputs) -> None:
    """Put the graph of methods between an operator's inputs and some outputs."""
    from onnx import TensorProto
    from onnx.compose import add_prefix
    from skl2onnx.common.data_types import FloatTensorType, guess_proto_type

    estimator = operator.raw_operator
    if container.target_opset < OLDEST_OPSET:
        raise ValueError(
            f"target_opset must be at least {OLDEST_OPSET} for "
            f"{type(estimator).__name__}; got {container.target_opset}."
        )
    is_single = all(isinstance(each.type, FloatTensorType) for each in operator.inputs)
    model = to_onnx(
        estimator,
        method=methods,
        # Integers may have more digits than float32.
        dtype="float32" if is_single else "float64",
        opset=container.target_opset,
        with_y=False,
    )
    _name_gaps(model.graph)
    model = add_prefix(model, f"{scope.get_unique_operator_name('skae')}_")
    graph = model.graph
    names = [each.onnx_name for each in operator.inputs]
    columns = names[0]
    if len(names) > 1:
        columns = scope.get_unique_variable_name("columns")
        container.add_node("Concat", names, columns, axis=1)
    kind = TensorProto.FLOAT if is_single else TensorProto.DOUBLE
    container.add_node("Cast", columns, graph.input[0].name, to=kind)
    container.nodes.extend(graph.node)
    container.initializers.extend(graph.initializer)
    for each in model.opset_import:
        container.node_domain_version_pair_sets.add((each.domain, each.version))
    for inner, outer in zip(graph.output, outputs, strict=True):
        _connect(container, inner, outer.onnx_name, guess_proto_type(outer.type))


def _connect(container, inner, outer: str, kind: int) -> None:
    """Output a value of a graph in the type that an operator has declared."""
    if inner.type.tensor_type.elem_type == kind:
        container.add_node("Identity", inner.name, outer)
    else:
        container.add_node("Cast", inner.name, outer, to=kind)


def _name_gaps(graph) -> None:
    """Name what recurrent nodes leave out, which skl2onnx takes for missing.

    Sequences are as long as the rows say.
    """
    from onnx import TensorProto, helper

    for number, node in enumerate(list(graph.node)):
        lengths = f"lengths_{number}"
        for place, name in enumerate(node.output):
            node.output[place] = name or f"unused_{number}_{place}"
        if node.op_type not in _RECURRENT or not node.input[_LENGTHS:]:
            continue
        if node.input[_LENGTHS]:
            continue
        node.input[_LENGTHS] = lengths
        shape, n_steps, n_rows, one = (f"{lengths}_{k}" for k in range(4))
        make = helper.make_node
        graph.node.extend(
            [
                make("Shape", [node.input[0]], [shape], end=2),
                make("Split", [shape], [n_steps, n_rows], num_outputs=2),
                make("Cast", [n_steps], [one], to=TensorProto.INT32),
                make("Expand", [one, n_rows], [lengths]),
            ]
        )
