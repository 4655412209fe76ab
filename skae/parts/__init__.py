"""What a model is made of: one small file per axis of choice.

Parts hold hyperparameters or weights and know nothing of data sets, training loops or
estimators. ``base.py`` has the base class of each axis. A new part is a file of its own
beside those that are there (an architecture beside ``dense.py``, ``conv.py`` and
``recurrent.py``, a likelihood beside ``student_t.py``); one that has a name joins the
dictionary of its axis, such as ``LIKELIHOODS``.
"""

__all__: list[str] = []
