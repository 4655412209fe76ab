"""
Outliers with a threshold and an explanation
============================================

`AEOutlierDetector` takes IsolationForest's place. It is trained on benign tissue
samples, flags 5% of new benign ones as stated, and says which features are unusual.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from skae import AEOutlierDetector
from skae.inspection import OutlierScoreDisplay

data = load_breast_cancer()
benign = np.random.default_rng(0).permutation(np.flatnonzero(data.target == 1))
test = np.r_[benign[178:], np.flatnonzero(data.target == 0)]
is_malignant = data.target[test] == 0

detector = AEOutlierDetector(random_state=0).fit(data.data[benign[:178]])
flagged = detector.predict(data.data[test]) == -1
area = roc_auc_score(is_malignant, -detector.score_samples(data.data[test]))
print(f"area under the ROC curve: {area:.3f}")
print(f"benign samples flagged: {flagged[~is_malignant].mean():.3f}")
print(f"malignant samples flagged: {flagged[is_malignant].mean():.3f}")

# %%
# Why the most unusual malignant sample is flagged.
scores = detector.score_samples(data.data[test])
row = data.data[[test[np.argmin(np.where(is_malignant, scores, np.inf))]]]
print(f"p-value: {detector.p_values(row)[0]:.4f}")
for entry in detector.explain(row, top=4):
    name = data.feature_names[entry.feature]
    print(
        f"{name:22}  {entry.contribution:10.2f}  observed {entry.observed:8.3f}, "
        f"expected {entry.expected:8.3f}"
    )

# %%
# Scores and the threshold.
kinds = np.where(is_malignant, "malignant", "benign")
OutlierScoreDisplay.from_estimator(detector, data.data[test], kinds)
