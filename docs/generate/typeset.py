"""Docstrings as Markdown: their plain mathematics with Greek letters, subscripts and powers, and papers as links.

What stands in backquotes, and paragraphs that are set in, stay as they are.
"""

import re

GREEK = dict(
    zip(
        ("alpha", "beta", "gamma", "eta", "theta", "lambda", "epsilon", "sigma", "tau", "phi", "pi", "Lambda"),
        "αβγηθλεστφπΛ",
        strict=True,
    )
)
LETTER = r"[A-Za-zα-ωΛ]"
CODE = re.compile(r"(`[^`\n]+`)")
STEPS = (
    (re.compile(r"arXiv (\d{4}\.\d{4,5})"), r"[arXiv \1](https://arxiv.org/abs/\1)"),
    (re.compile(rf"(?<![\w.])({'|'.join(GREEK)})(?=(_\w{{1,2}})?(?![\w=]))"), lambda found: GREEK[found[1]]),
    (re.compile(r"\bint_(?=\w\b|\w\^)"), "∫_"),
    (re.compile(r"\b(sum)_(?=\w\b)"), "Σ_"),
    (re.compile(r"\bsqrt(?=\()"), "√"),
    (re.compile(rf"\b({LETTER})_hat\b"), "\\1\u0302"),
    (re.compile(rf"(?<![\w.])({LETTER}|Σ|∫)_(\w{{1,3}})(?!\w)"), r"\1<sub>\2</sub>"),
    (re.compile(r"\^(-?[\wα-ω]+|\([^()\s]{1,8}\))"), r"<sup>\1</sup>"),
    (re.compile(r"<- "), "← "),
    (re.compile(r"(?<= )<= "), "≤ "),
    (re.compile(r"(?<= )>= "), "≥ "),
)
ESCAPED = re.compile(r"([*|\\]|(?<!\w)_|_(?!\w)|\[(?!arXiv)|<(?!/?su[bp]>))")


def inline(text: str) -> str:
    """Words and mathematics of one paragraph."""
    return "".join(part if part.startswith("`") else _set(part) for part in CODE.split(text))


def _set(text: str) -> str:
    for pattern, replaced in STEPS:
        text = pattern.sub(replaced, text)
    return ESCAPED.sub(r"\\\1", text)


def paragraphs(docstring: str) -> list[str]:
    """A docstring's paragraphs, each as Markdown."""
    return [_paragraph(part) for part in docstring.strip("\n").split("\n\n")]


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if all(line.startswith("    ") for line in lines if line):
        return "\n".join(["```text", *(line.removeprefix("    ") for line in lines), "```"])
    return "\n".join(inline(line) for line in lines)
