"""Files that are for the process which `test_pretend_device` starts."""

collect_ignore = [
    "cases.py",
    "check_budgets.py",
    "check_estimators.py",
    "check_graphs.py",
    "pretend_graph.py",
    "fused_cells.py",
    "pretend_device.py",
]
