"""
=====================================
Swap PCA for an autoencoder in a grid
=====================================

One pipeline, scale, reduce and 5 nearest neighbours, in which a grid search compares
:class:`~sklearn.decomposition.PCA` with :class:`~skae.AutoencoderTransformer`.
"""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skae import AutoencoderTransformer

X_train, X_test, y_train, y_test = train_test_split(
    *load_digits(return_X_y=True), random_state=0
)
pipeline = Pipeline(
    [
        ("scale", MinMaxScaler()),
        ("reduce", PCA()),
        ("classify", KNeighborsClassifier()),
    ]
)
grid = {
    "reduce": [PCA(random_state=0), AutoencoderTransformer(random_state=0)],
    "reduce__n_components": [2, 8],
}
search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X_train, y_train)

# %%
# Mean accuracy over the folds.
results = search.cv_results_
for params, accuracy in zip(results["params"], results["mean_test_score"], strict=True):
    name = type(params["reduce"]).__name__
    print(f"{name:24}{params['reduce__n_components']:3}{accuracy:8.3f}")
print(f"accuracy of the best on held-out digits: {search.score(X_test, y_test):.3f}")
