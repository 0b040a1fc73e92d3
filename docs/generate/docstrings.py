"""For mkdocstrings: docstrings of the reference are set as those of the variants are."""

from typing import Any

import griffe
import typeset


class Typeset(griffe.Extension):
    """Every docstring, before it is read; headings of its sections (Args, Raises) stay."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        del kwargs
        if obj.docstring:
            obj.docstring.value = "\n".join(typeset.inline(line) for line in obj.docstring.value.split("\n"))
