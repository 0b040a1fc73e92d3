"""What a person sees: lines that stay, a progress line that is rewritten on a terminal and rare elsewhere."""

import io
import re
import sys

import pytest

from ndm import terminal
from ndm.terminal import Terminal, duration


class Screen(io.StringIO):
    """Output that says it is a terminal, and what a terminal would show of it."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> list[str]:
        lines = []
        for line in self.getvalue().split("\n"):
            cells: list[str] = []
            for piece in line.split("\r"):
                cells[: len(piece)] = piece
            lines.append("".join(cells).rstrip())
        return lines


def on_screen(monkeypatch: pytest.MonkeyPatch) -> tuple[Screen, Terminal]:
    """Called inside the test: pytest gives every phase an output of its own."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    return screen, Terminal()


def test_a_terminal_shows_the_last_progress_and_the_lines_that_stay(monkeypatch):
    screen, shown = on_screen(monkeypatch)
    shown.progress("a long line of progress")
    shown.progress("short")
    assert screen.shown() == ["short"]
    shown.say("stays")
    shown.progress("more")
    shown.progress("done", done=True)
    shown.progress("next")
    assert screen.shown() == ["stays", "done", "next"]


def test_a_warning_replaces_the_progress_line(monkeypatch, capsys):
    screen, shown = on_screen(monkeypatch)
    shown.progress("progress")
    shown.warn("careful")
    assert screen.shown() == [""]
    assert capsys.readouterr().err == "careful\n"
    shown.progress("again")
    assert screen.shown() == ["again"]


def test_elsewhere_progress_is_printed_now_and_then_and_at_the_end(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    shown = Terminal()
    for second in range(25):
        now[0] = 100.0 + second
        shown.progress(f"at {second}")
    shown.progress("end", done=True)
    shown.warn("careful")
    printed = capsys.readouterr()
    assert printed.out == "at 0\nat 10\nat 20\nend\n"
    assert printed.err == "careful\n"
    assert "\r" not in printed.out


def test_a_count_is_done_when_all_are(capsys):
    shown = Terminal()
    count = shown.count("scoring images")
    for done in (1, 2, 3):
        count(done, 3)
    assert capsys.readouterr().out == "scoring images: 1 of 3\nscoring images: 3 of 3\n"


def test_a_table_has_its_values_under_each_other(capsys):
    Terminal().table([("run", "digits"), ("bits per dimension", "2.1"), ("", "x")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[-1] == ""
    assert [line.rstrip() for line in lines[1:-1]] == [
        "  run                 digits",
        "  bits per dimension  2.1",
        "                      x",
    ]
    assert len({re.search(r"(digits|2\.1|x)$", line).start() for line in lines[1:-1]}) == 1


def test_durations():
    expected = {0: "0 s", 0.4: "0 s", 59.4: "59 s", 59.6: "1 min 00 s", 75: "1 min 15 s", 3599.6: "1 h 00 min"}
    expected |= {3600: "1 h 00 min", 3661: "1 h 01 min", 90061: "25 h 01 min"}
    assert {seconds: duration(seconds) for seconds in expected} == expected
