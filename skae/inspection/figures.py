"""What displays need of matplotlib, imported when something is drawn.

New figures do not belong to pyplot: none stays open, and no window appears.
"""

__all__ = ["new_axes", "palette"]


def new_axes(n_rows=1, n_columns=1, *, figsize=None, **options):
    """Axes of a new figure.

    Parameters
    ----------
    n_rows, n_columns : int, default=1
    figsize : (float, float), optional
        Width and height in inches.
    **options
        Of ``Figure.subplots``.

    Returns
    -------
    axes : matplotlib Axes, or ndarray of them

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'Drawing needs matplotlib: pip install "skae[plot]"'
        ) from error
    figure = Figure(figsize=figsize, layout="constrained")
    return figure.subplots(n_rows, n_columns, **options)


def palette(n_colors):
    """Colours that can be told apart, 20 at most."""
    from matplotlib import colormaps

    return colormaps["tab10" if n_colors <= 10 else "tab20"].colors[:n_colors]
