"""How many files and functions of skae a row of X passes on its way through a fit.

    python benchmarks/row_path.py

counts, with ``sys.setprofile``, what runs in
``AutoencoderTransformer().fit(X).transform(X)`` on the digits, the modules imported
before: named functions and methods, with comprehensions counted as part of the function
that they stand in.
"""

import sys
from collections import Counter
from pathlib import Path

from report import save
from sklearn.datasets import load_digits

import skae

PACKAGE = Path(skae.__file__).parent


def passed(call) -> Counter:
    """Functions of skae that run in a call, as (file, name, first line)."""
    functions: Counter = Counter()

    def note(frame, event, argument):
        code = frame.f_code
        is_named = not code.co_name.startswith("<")
        if event == "call" and is_named and code.co_filename.startswith(str(PACKAGE)):
            file = Path(code.co_filename).relative_to(PACKAGE).as_posix()
            functions[file, code.co_qualname, code.co_firstlineno] += 1

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return functions


def main():
    X = load_digits().data
    skae.AutoencoderTransformer(random_state=0, max_iter=1).fit(X)
    model = skae.AutoencoderTransformer(random_state=0)
    functions = passed(lambda: model.fit(X).transform(X))
    files = Counter(file for file, *_ in functions)
    for file, number in sorted(files.items()):
        print(f"{file:40} {number:4}")
        if "-v" in sys.argv:
            for (name_of, name, _), calls in sorted(functions.items()):
                if name_of == file:
                    print(f"    {name:60} {calls:7}")
    print(f"{len(files)} files, {len(functions)} functions")
    save("row_path", rows=[{"files": len(files), "functions": len(functions)}])


if __name__ == "__main__":
    main()
