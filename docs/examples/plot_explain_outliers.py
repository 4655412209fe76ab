"""
===================
Explain an outlier
===================

:class:`~skae.AEOutlierDetector` is trained on benign samples, flags malignant ones and
says which features made a sample unusual and what it expected there.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer

from skae import AEOutlierDetector
from skae.inspection import OutlierScoreDisplay

data = load_breast_cancer()
benign, malignant = data.data[data.target == 1], data.data[data.target == 0]
detector = AEOutlierDetector(random_state=0).fit(benign[:200])

row = malignant[:1]
print(f"score {detector.score_samples(row)[0]:.2f}, threshold {detector.offset_:.2f}")
print(f"p-value {detector.p_values(row)[0]:.4f}")
for entry in detector.explain(row, top=4):
    print(
        f"{data.feature_names[entry.feature]:24}{entry.contribution:10.2f}"
        f"{entry.observed:10.3f}{entry.expected:10.3f}"
    )

# %%
# Scores of samples that were not in the training set, and the threshold.
X = np.concatenate([benign[200:], malignant])
classes = np.repeat(["benign", "malignant"], [len(benign) - 200, len(malignant)])
display = OutlierScoreDisplay.from_estimator(detector, X, classes)
display.figure_.savefig("outlier_scores.png")
