"""Methods of a classifier as torch modules: labels, probabilities, codes."""

from skae.estimators.classifying import Classifying
from skae.exporting.ends import CodeUnits, Labels, Scores
from skae.exporting.fitted_function import Chain, FittedFunction
from skae.exporting.functions import Likeliest, Probabilities

__all__ = ["ExportedClassifier"]


class ExportedClassifier(Classifying):
    """Methods of a classifier on pretrained layers as modules."""

    def _exports(self):
        rows, probabilities = self._row_units(), Scores(len(self.classes_))
        parts = {
            "predict": (Likeliest(self.net_), Labels(self.classes_)),
            "predict_proba": (Probabilities(self.net_), probabilities),
            "predict_log_proba": (Probabilities(self.net_, log=True), probabilities),
            "transform": (self.encoder_, CodeUnits(self.n_components_)),
        }
        functions = {name: FittedFunction(rows, *each) for name, each in parts.items()}
        if path := self._pretrained_path():
            steps = [each.to_torch("transform") for each in path]
            steps += [each.to_torch("inverse_transform") for each in reversed(path)]
            functions["reconstruct"] = Chain(steps)
        return functions

    def _pretrained_path(self):
        """Autoencoders from the rows to the code; none where one has no decoder."""
        path = [each for each in (self._first, *self.autoencoders_) if each is not None]
        return path if all(hasattr(each, "inverse_transform") for each in path) else []
