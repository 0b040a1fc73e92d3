"""What a person sees on the terminal: lines, a live progress line, a table."""

import sys
import time
from collections.abc import Callable, Sequence

QUIET_SECONDS = 10.0


class Terminal:
    """Writes to standard output; a terminal shows the progress line in place, anything else gets it now and then."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._width = 0
        self._last = 0.0

    def say(self, line: str) -> None:
        """A line that stays."""
        print(self._erase() + line, flush=True)

    def warn(self, line: str) -> None:
        """A line that stays, on standard error."""
        if self._live:
            print(self._erase(), end="", flush=True)
        print(line, file=sys.stderr, flush=True)

    def progress(self, line: str, done: bool = False) -> None:
        """The state of something under way."""
        now = time.monotonic()
        if self._live:
            print(self._erase() + line, end="\n" if done else "", flush=True)
            self._width = 0 if done else len(line)
        elif done or now - self._last >= QUIET_SECONDS:
            print(line, flush=True)
            self._last = now

    def count(self, what: str) -> Callable[[int, int], None]:
        """A progress callback, (done, of all), that shows `what` is being counted."""
        return lambda done, total: self.progress(f"{what}: {done} of {total}", done == total)

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Two columns."""
        width = max(len(label) for label, _ in rows)
        self.say("")
        for label, value in rows:
            self.say(f"  {label:<{width}}  {value}")
        self.say("")

    def _erase(self) -> str:
        blank = f"\r{' ' * self._width}\r" if self._live and self._width else ""
        self._width = 0
        return blank


def duration(seconds: float) -> str:
    """75 -> "1 min 15 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
