"""Predictions as a table for people."""

from collections.abc import Sequence


def format_predictions(results: Sequence[dict]) -> str:
    """Formats what `predict` returned as a text table.

    Use it to show predictions on a terminal; `json.dumps(results)` is for programs.

    Args:
        results: The list of dicts from `predict`.

    Returns:
        One line per class, the name of the file on the first of its lines.

    Example:

    >>> from keras_sda.export import format_predictions
    >>> top = [{"class": "7", "score": 0.9}, {"class": "1", "score": 0.1}]
    >>> text = format_predictions([{"file": "a.png", "predictions": top}])
    >>> [line.rstrip() for line in text.splitlines()]
    ['file   class  score', 'a.png  7      0.9000', '       1      0.1000']
    """
    rows = [("file", "class", "score")]
    for result in results:
        for index, item in enumerate(result["predictions"]):
            file = result["file"] if index == 0 else ""
            rows.append((file, item["class"], f"{item['score']:.4f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(
        f"{file:<{widths[0]}}  {name:<{widths[1]}}  {score}"
        for file, name, score in rows
    )
