"""
PCA and an autoencoder in one grid search
=========================================

`AutoencoderTransformer` takes PCA's place in a pipeline, so a grid search can compare
the two: digits are scaled, reduced and classified by their five nearest neighbours.
"""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skae import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

pipeline = Pipeline(
    [
        ("scale", MinMaxScaler()),
        ("reduce", PCA()),
        ("classify", KNeighborsClassifier()),
    ]
)
search = GridSearchCV(
    pipeline,
    {
        "reduce": [PCA(random_state=0), AutoencoderTransformer(random_state=0)],
        "reduce__n_components": [2, 8],
    },
    cv=3,
).fit(X_train, y_train)

# %%
# Accuracy on held-out folds, and of the best pipeline on rows that the search did not
# use.
for parameters, accuracy in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    name = type(parameters["reduce"]).__name__
    print(f"{name:22}  {parameters['reduce__n_components']:2}  {accuracy:.3f}")
print(f"best on new rows: {search.score(X_test, y_test):.3f}")
