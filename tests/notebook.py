"""Execution of `docs/search.ipynb`; run as a program, it also saves the output in the notebook for its readers."""

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parent.parent / "docs" / "search.ipynb"


def kept() -> NotebookNode:
    """Read the notebook as committed, with the output of its last run."""
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call, no-any-return]


def executed(folder: Path) -> NotebookNode:
    """Run the notebook in a folder and return it."""
    client = NotebookClient(kept(), timeout=300, record_timing=False, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def shown(notebook: NotebookNode) -> list[list[set[str]]]:
    """Return the media types of each output of each cell."""
    return [
        [set(output.data) for output in cell.outputs if output.output_type in ("display_data", "execute_result")]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        notebook = executed(Path(folder))
    for cell in notebook.cells:
        if cell.cell_type == "code":  # progress is of that run, and names places of its machine
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    nbformat.write(notebook, NOTEBOOK)  # type: ignore[no-untyped-call]
