"""What a command says: on the terminal, or as the file that was asked for."""

from pathlib import Path

from ndm.errors import UserError


def output(text: str, out: Path | None) -> None:
    """Print the text, or write it and say where.

    Raises:
        UserError: it cannot be written there.
    """
    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {str(error.strerror).lower()}; choose another --out.") from None
    print(f"Written to {out}")
